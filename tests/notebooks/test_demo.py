"""The demo as a program, with a stand-in for `durable`: its kills, its doubt, its verdict."""

import os
import shlex
import sys
from pathlib import Path

import nbformat
import pytest

from notebooks.demo import keyboard, main

FAKE = Path(__file__).with_name("fake_durable.py")
SOURCE = """
import os
import httpx
with httpx.Client(base_url=os.environ["FLIGHTS_URL"]) as client:
    client.get("/airlines")
print("done")
"""


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of the 17 pages of 20,000 rows the kernel dies behind the 4th, the runner behind the 10th."""
    monkeypatch.setenv("FAKE_RESTS", "4,10")
    tiny = tmp_path / "tiny.ipynb"
    cell = nbformat.v4.new_code_cell(SOURCE, id="tiny")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tiny)
    durable = shlex.join([sys.executable, str(FAKE)])
    command = ["--durable", durable, "--notebook", str(tiny), "--out", str(tmp_path / "out")]
    return [*command, "--rows-per-page", "20000"]


@pytest.mark.slow
def test_three_kills_and_a_settled_doubt_leave_every_promise_held(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(arguments)

    told = capsys.readouterr().out
    assert code == 0, told
    assert told.count("kill -9 the kernel") == 2
    assert told.count("kill -9 the runner") == 1
    assert "inside the POST" in told
    assert "durable resolve --answer" in told
    assert "every promise held" in told


@pytest.mark.slow
def test_a_kernel_that_forgets_is_found_out(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FORGETS", "1")

    code = main(arguments)

    told = capsys.readouterr().out
    assert code == 1, told
    assert "BROKEN" in told
    assert "every promise held" not in told


def test_a_command_that_fails_unprovoked_stops_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = shlex.join([sys.executable, "-c", "print('no disk'); raise SystemExit(5)"])

    code = main(["--durable", failing, "--out", str(tmp_path / "out")])

    told = capsys.readouterr().out
    assert code == 1
    assert "no disk" in told
    assert "exit code 5" in told


def test_keys_are_read_one_by_one_and_the_end_is_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"kr")
    os.close(writer)
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)

        with keyboard(is_attack=True) as read_key:
            keys = [read_key(0.01) for _ in range(4)]

    assert keys == [b"k", b"r", b"", b""]
