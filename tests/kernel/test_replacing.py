"""What one process hands to the next, without a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable_kernel.kernel import replacing
from durable_kernel.kernel.magics import without_live_line
from durable_kernel.kernel.replacing import Handover, take_handover

HANDED = Handover("nightly", "told", [[b"identity", b"\x00frame"], [b"another"]], True, (7, 9))


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    os.environ.pop("DURABLE_HANDOVER", None)


def test_what_is_handed_over_is_read_once_and_leaves_no_file(
    tmp_path: Path, named: pytest.MonkeyPatch
) -> None:
    descriptor = replacing._write(tmp_path, HANDED)
    named.setenv("DURABLE_HANDOVER", str(descriptor))

    first, second = take_handover(), take_handover()

    assert first == HANDED
    assert second is None
    assert list(tmp_path.iterdir()) == []
    assert "DURABLE_HANDOVER" not in os.environ


def test_a_file_that_has_a_name_is_no_handover(tmp_path: Path, named: pytest.MonkeyPatch) -> None:
    path = tmp_path / "made by somebody"
    path.write_bytes(b"\x94")
    descriptor = os.open(path, os.O_RDONLY)
    named.setenv("DURABLE_HANDOVER", str(descriptor))

    found = take_handover()
    os.close(descriptor)

    assert found is None


@pytest.mark.parametrize("value", ["", "none", "-1", "99999"])
def test_a_variable_that_names_no_file_is_no_handover(
    value: str, named: pytest.MonkeyPatch
) -> None:
    named.setenv("DURABLE_HANDOVER", value)

    assert take_handover() is None


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("%%live\nx = 1\n", "\nx = 1\n"),
        ("\n%%live  \nx = 1\n", "\n\nx = 1\n"),
        ("%%live\n%%time\nx = 1\n", "%%time\nx = 1\n"),
        ("x = 1\n%%live\n", "x = 1\n%%live\n"),
        ("%%lively\nx\n", "%%lively\nx\n"),
        ("", ""),
    ],
)
def test_the_line_that_makes_a_cell_live_is_no_code(cell: str, expected: str) -> None:
    assert "".join(without_live_line(cell.splitlines(keepends=True))) == expected
