"""How outcomes are packed: the short way of a plain value gives the bytes of its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from durable_kernel.codec import KnownSecrets
from durable_kernel.history import RecordCodec, Settled
from durable_kernel.journal import BlobStore
from durable_kernel.ports import Ending, Outcome
from durable_kernel.runtime.storing import Storing

VALUES = [None, True, 0, -5, 2**63, 2**70, 1.5, float("inf"), "", "text", "\ud800", b"", b"bytes"]


@pytest.fixture
def storing(tmp_path: Path) -> Storing:
    return Storing(RecordCodec(), BlobStore(tmp_path), KnownSecrets(bytes(32)))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_plain_value_is_packed_as_its_record_is(storing: Storing, value: Any) -> None:
    record = Settled(lane="/t1", ordinal=3, value=value)

    packed = storing.settled("/t1", 3, Outcome.of_value(value), None)

    assert packed == RecordCodec().pack(record)


@pytest.mark.parametrize("ending", [Ending.FAILED, Ending.CARRIED, Ending.INTERRUPTED])
def test_an_ending_without_a_value_keeps_its_name(storing: Storing, ending: Ending) -> None:
    packed = storing.settled("", 0, Outcome(ending), None)

    assert packed == RecordCodec().pack(Settled(lane="", ordinal=0, ending=int(ending)))


def test_a_pace_is_not_forgotten(storing: Storing) -> None:
    packed = storing.settled("", 0, Outcome.of_value(1), None, 5)

    assert packed == RecordCodec().pack(Settled(lane="", ordinal=0, value=1, pace=5))


def test_a_large_plain_value_is_a_blob(storing: Storing) -> None:
    packed = storing.settled("", 0, Outcome.of_value("x" * 200_000), None)

    assert len(packed[1]) < 200
