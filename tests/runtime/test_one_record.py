"""An observation in one record: the bytes are those of its `Called` record (ADR 0009)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from durable_kernel.codec import KnownSecrets
from durable_kernel.history import Called, Observed, RecordCodec
from durable_kernel.journal import REAL_DISK, BlobStore
from durable_kernel.ports import Call, Lane, Secret
from durable_kernel.runtime.steps import LiveStep
from durable_kernel.runtime.storing import Storing

_HEAD = {"status": 200, "headers": [[b"Server", b"x"]], "http_version": b"HTTP/1.1", "reason": None}


@pytest.fixture
def storing(tmp_path: Path) -> Storing:
    blobs = BlobStore(tmp_path, disk=REAL_DISK, is_synced=False)
    return Storing(RecordCodec(), blobs, KnownSecrets(bytes(32)))


def _step(**identity: Any) -> LiveStep:
    call = Call("http", "GET http://a/", identity or {"method": "GET"}, {"sent_bytes": 0})
    lane = Lane("", cast("Any", None), lambda _: None)
    return LiveStep(cast("Any", None), call, 5, lane, 3, ("run", 0, "", 3))


@pytest.mark.parametrize(
    ("head", "pieces", "value"),
    [
        pytest.param(_HEAD, [b"{}", b"[]"], {"elapsed_us": 7}, id="a body in two pieces"),
        pytest.param(_HEAD, [b"{}"], {"elapsed_us": 7}, id="a body in one piece"),
        pytest.param(_HEAD, [b""], {"elapsed_us": 7}, id="an empty piece"),
        pytest.param(_HEAD, [], {"elapsed_us": 7}, id="no body"),
        pytest.param(_HEAD, [], None, id="a head alone"),
        pytest.param(None, [b"{}"], None, id="a body alone"),
        pytest.param(None, [], "answer", id="a value"),
        pytest.param(None, [], None, id="nothing"),
        pytest.param(None, [], (1, 2), id="a value that is not plain"),
        pytest.param(None, [], list(range(100)), id="a value that is not small"),
    ],
)
@pytest.mark.parametrize("soft", [None, {"time.time": [1.5, 2.5]}])
def test_one_record_has_the_bytes_of_its_class(
    storing: Storing, head: Any, pieces: list[bytes], value: Any, soft: Any
) -> None:
    step = _step()
    step.told, step.pieces, step.soft = head, pieces, soft
    record = Called(
        ordinal=3,
        lane="",
        kind="http",
        label="GET http://a/",
        wall_ns=5,
        identity=step.call.identity,
        details=step.call.details,
        value=value,
        head=head,
        sizes=[len(each) for each in pieces] or None,
        content=b"".join(pieces),
        soft=soft,
    )

    packed = storing.whole(step, value)

    assert packed == storing.records.pack(record)


def test_an_observation_with_a_secret_is_not_one_record(storing: Storing) -> None:
    packed = storing.whole(_step(), {"password": Secret("hunter22")})

    assert packed is None


def test_a_column_has_the_bytes_of_its_class(storing: Storing) -> None:
    record = Observed(lane="/t1", kind="clock", values=[1.5, 2.5])

    assert storing.column("/t1", "clock", [1.5, 2.5]) == storing.records.pack(record)
