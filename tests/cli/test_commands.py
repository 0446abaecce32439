"""The commands: what they print for people and machines, what they refuse (DESIGN §18).

Runs are made in this process; no kernel is started. The store is that of the test (`DURABLE_HOME`).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from durable_kernel.cli.run import join_parameters
from durable_kernel.errors import JournalCorruptError
from durable_kernel.store import Store
from tests.cli.commands import Durable
from tests.runtime.notebooks import RUN_ID, Notebook

# --- ls -------------------------------------------------------------------------------------------


def test_ls_of_an_empty_store_says_so(durable: Durable) -> None:
    said = durable("ls")

    assert said.code == 0
    assert said.out.startswith("No runs in")
    assert durable("ls", "--json").document == []


def test_ls_lists_runs_for_people(durable: Durable, doubtful: Notebook) -> None:
    said = durable("ls")

    assert re.search(rf"{RUN_ID} +- +in doubt +2 +2 +\d+ kB", said.out)


def test_ls_json_has_the_shape_that_scripts_read(durable: Durable, doubtful: Notebook) -> None:
    (row,) = durable("ls", "--json").document

    assert {name: row[name] for name in ("run_id", "status", "cells", "calls", "in_doubt")} == {
        "run_id": RUN_ID,
        "status": "in doubt",
        "cells": 2,
        "calls": 2,
        "in_doubt": 1,
    }
    assert {"name", "notebook", "created_ns", "last_activity_ns", "size_bytes"} <= set(row)


def test_ls_shows_a_damaged_run_beside_the_others(durable: Durable, doubtful: Notebook) -> None:
    store = Store(doubtful.home)
    broken = store.create(run_id="broken")
    (broken.folder / "META").write_bytes(b"damaged")

    rows = {row["run_id"]: row for row in durable("ls", "--json").document}

    assert rows["broken"]["status"] == "broken"
    assert rows["broken"]["damage"] != ""
    assert rows[RUN_ID]["status"] == "in doubt"


def test_ls_says_that_a_run_is_being_written(durable: Durable, notebook: Notebook) -> None:
    with notebook.session() as session:
        session.execute("x = 1")
        (row,) = durable("ls", "--json").document

    assert row["kernel_pid"] == os.getpid()


# --- show -----------------------------------------------------------------------------------------


def test_show_json_tells_cells_and_doubts(durable: Durable, doubtful: Notebook) -> None:
    document = durable("show", RUN_ID, "--json").document

    assert document["status"] == "in doubt"
    assert document["folder"] == str(doubtful.folder)
    assert [each["position"] for each in document["cells"]] == [0, 1]
    assert [each["status"] for each in document["cells"]] == ["ok", "interrupted"]
    assert document["cells"][0]["counts"] == {"fake": 1, "os.urandom": 1}
    (doubt,) = document["acts_in_doubt"]
    assert (doubt["effect"], doubt["label"]) == ("1.0", "ask pay [now]")
    assert document["queued_decisions"] == []


def test_show_tells_people_how_to_decide(durable: Durable, doubtful: Notebook) -> None:
    """Labels are shown as they are: a bracket in one is no markup."""
    said = durable("show", RUN_ID)

    flat = " ".join(said.out.split())
    assert "in doubt: ask pay [now] (effect 1.0, announced 20" in flat
    assert f"`durable resolve {RUN_ID} 1.0` decides" in flat


def test_show_names_unrecorded_acts(durable: Durable, notebook: Notebook, tmp_path: Path) -> None:
    notebook.names["path"] = tmp_path / "out.txt"
    notebook.lived("path.write_text('')")

    (cell,) = durable("show", RUN_ID, "--json").document["cells"]

    (crossing,) = cell["unrecorded"]
    assert crossing["is_act"] is True
    assert "out.txt for writing" in crossing["what"]


def test_show_finds_a_run_by_the_beginning_of_its_id(durable: Durable, doubtful: Notebook) -> None:
    assert durable("show", RUN_ID[:4], "--json").document["run_id"] == RUN_ID


def test_show_of_an_unknown_run_is_refused_with_a_hint(
    durable: Durable, doubtful: Notebook
) -> None:
    said = durable("show", "notebok")

    assert said.code == 2
    assert said.out == ""
    assert "no run 'notebok'" in said.err
    assert f"Did you mean {RUN_ID}?" in said.err


def test_a_foreign_run_can_be_shown_and_logged(durable: Durable, doubtful: Notebook) -> None:
    """Looking executes nothing, so it needs no trust; sealed values stay sealed."""
    (doubtful.home / "key").write_bytes(b"\x01" * 32)

    assert durable("show", RUN_ID, "--json").document["cells"] != []
    assert durable("log", RUN_ID, "--json").document != []


def test_show_of_one_cell_prints_what_it_printed(durable: Durable, notebook: Notebook) -> None:
    notebook.lived("x = 1", "print('a sentence')")

    said = durable("show", RUN_ID, "--cell", "1")

    assert "print('a sentence')" in said.out
    assert "a sentence" in said.out.replace("print('a sentence')", "")


def test_show_of_a_cell_that_is_not_there_is_refused(durable: Durable, notebook: Notebook) -> None:
    notebook.lived("x = 1")

    assert durable("show", RUN_ID, "--cell", "7").code == 2


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "fifo": (os.mkfifo, "a FIFO stands where a file should be"),
    "folder": (Path.mkdir, "a folder stands where a file should be"),
    "socket": (_make_socket, "a socket stands where a file should be"),
}


@pytest.mark.parametrize(("make", "sentence"), NO_FILES.values(), ids=NO_FILES.keys())
def test_what_is_no_file_in_a_run_is_refused_and_not_waited_for(
    durable: Durable,
    doubtful: Notebook,
    make: Callable[[Path], object],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader of a FIFO would wait for ever."""
    monkeypatch.chdir(doubtful.folder)  # a socket's name has to be short
    for name in ("seg-00000001.dkj", "STATE"):
        Path(name).unlink(missing_ok=True)
        make(Path(name))

    shown, listed = durable("show", RUN_ID), durable("ls", "--json")

    assert shown.code == 5
    assert sentence in " ".join(shown.err.split())
    assert [row["status"] for row in listed.document] == ["broken"]


@pytest.mark.parametrize("name", ["META", "LOCK", "TRUST"])
def test_no_other_file_of_a_run_is_waited_for(
    durable: Durable, doubtful: Notebook, name: str
) -> None:
    (doubtful.folder / name).unlink(missing_ok=True)
    os.mkfifo(doubtful.folder / name)

    codes = {command: durable(command, RUN_ID).code for command in ("show", "log")}

    assert codes == dict.fromkeys(("show", "log"), 5 if name == "META" else 0)
    assert durable("ls").code == 0
    with pytest.raises(JournalCorruptError):
        doubtful.replayed()


def test_a_foreign_run_is_called_so(durable: Durable, doubtful: Notebook) -> None:
    assert "foreign" not in durable("show", RUN_ID).out
    (doubtful.home / "key").write_bytes(b"\x01" * 32)

    shown = durable("show", RUN_ID)

    assert "foreign: META is not signed with your key" in shown.out
    assert durable("show", RUN_ID, "--json").document["is_meta_signed"] is False


def test_outputs_keep_their_colours_and_command_no_terminal(
    durable: Durable, notebook: Notebook
) -> None:
    notebook.lived(r"print('\x1b[31mred\x1b[0m \x1b]52;c;c3RvbGVu\x07 \x1b[2J', end='')")

    shown = durable("show", RUN_ID, "--cell", "0").out.partition("outputs")[2]

    assert shown == "\n\x1b[31mred\x1b[0m \\x1b]52;c;c3RvbGVu\\x07 \\x1b[2J"


# --- log ------------------------------------------------------------------------------------------


def test_log_json_tells_each_call(durable: Durable, doubtful: Notebook) -> None:
    looked, paid = durable("log", RUN_ID, "--json").document

    assert (looked["effect"], looked["act"], looked["ending"]) == ("0.0", "observation", "value")
    assert (paid["effect"], paid["act"], paid["ending"]) == ("1.0", "remote", "in doubt")
    assert paid["identity"] == {"name": "pay [now]"}


def test_log_of_one_cell_and_of_the_last_calls(durable: Durable, doubtful: Notebook) -> None:
    by_cell = durable("log", RUN_ID, "--cell", "0", "--json").document
    last = durable("log", RUN_ID, "--limit", "1", "--json").document

    assert [each["effect"] for each in by_cell] == ["0.0"]
    assert [each["effect"] for each in last] == ["1.0"]


def test_log_without_calls_says_so(durable: Durable, notebook: Notebook) -> None:
    notebook.lived("x = 1")

    assert durable("log", RUN_ID).out == "No calls are recorded.\n"


# --- run, install, and the frame around them ------------------------------------------------------


def test_run_of_a_missing_notebook_is_refused(durable: Durable, tmp_path: Path) -> None:
    said = durable("run", str(tmp_path / "none.ipynb"))

    assert (said.code, "there is no such notebook" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--fresh", "--resume"], "--fresh and --resume exclude each other"),
        (["-f", "nowhere.json"], "no JSON object could be read"),
        (["-p", "day"], "-p day: NAME=VALUE or NAME VALUE is needed"),
    ],
)
def test_run_refuses_what_cannot_be_meant(
    durable: Durable, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    said = durable("run", str(tmp_path / "none.ipynb"), *arguments)

    assert said.code == 2
    assert sentence in said.err


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        (["-p", "a=1"], ["-p", "a=1"]),
        (["-p", "a", "1"], ["-p", "a=1"]),
        (["-p", "a", "-1", "-o", "x"], ["-p", "a=-1", "-o", "x"]),
        (["-p", "a", "b=c"], ["-p", "a=b=c"]),
        (["-p", "a"], ["-p", "a"]),
        (["-p"], ["-p", ""]),
        (["nb.ipynb", "-p", "a", "1", "-p", "b", "2"], ["nb.ipynb", "-p", "a=1", "-p", "b=2"]),
    ],
)
def test_parameters_may_stand_as_papermill_has_them(given: list[str], joined: list[str]) -> None:
    assert join_parameters(given) == joined


def test_a_parameter_file_that_is_no_object_is_refused(durable: Durable, tmp_path: Path) -> None:
    file = tmp_path / "parameters.json"
    file.write_text("[1]")

    said = durable("run", str(tmp_path / "none.ipynb"), "-f", str(file))

    assert (said.code, "this is a list" in said.err) == (2, True)


def test_install_refuses_two_places(durable: Durable) -> None:
    assert durable("install", "--user", "--sys-prefix").code == 2


def test_install_puts_the_kernelspec_under_a_prefix(durable: Durable, tmp_path: Path) -> None:
    said = durable("install", "--prefix", str(tmp_path))

    assert said.code == 0
    assert (tmp_path / "share/jupyter/kernels/durable/kernel.json").exists()


def test_an_unknown_command_is_a_usage_error(durable: Durable) -> None:
    assert durable("frobnicate").code == 2


@pytest.mark.parametrize("command", ["run", "ls", "show", "log", "resolve", "trust", "install"])
def test_each_command_explains_itself(durable: Durable, command: str) -> None:
    said = durable(command, "--help")

    assert said.code == 0
    assert "Usage" in said.out


def test_an_interrupted_command_exits_as_interrupted(
    durable: Durable, doubtful: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt  # what a signal raises wherever it is noticed

    monkeypatch.setattr("durable_kernel.cli.ls.known_summary", interrupted)

    assert durable("ls").code == 130


def test_errors_go_to_stderr_and_documents_to_stdout(durable: Durable, doubtful: Notebook) -> None:
    """`durable show … --json | jq` must get JSON or nothing."""
    refused = durable("show", "nobody", "--json")
    shown = durable("show", RUN_ID, "--json")

    assert (refused.out, shown.err) == ("", "")
