"""`durable resolve`: who decides, and what it claims about who takes the decision."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from tests.cli.commands import Durable, Said
from tests.runtime.notebooks import RUN_ID, Notebook


def test_resolve_queues_a_decision_that_the_next_start_takes(
    durable: Durable, doubtful: Notebook
) -> None:
    said = durable("resolve", RUN_ID, "--retry")

    assert said.code == 0
    assert "effect 1.0 (ask pay [now]): retry." in said.out
    assert "goes on with it" in said.out
    assert durable("show", RUN_ID, "--json").document["queued_decisions"] == [
        {"effect": "1.0", "choice": "retry"}
    ]
    assert doubtful.replayed().namespace["y"] == "pay [now]: done"


def test_resolve_supplies_an_answer_from_a_file(
    durable: Durable, doubtful: Notebook, tmp_path: Path
) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text('{"paid": true}')

    durable("resolve", RUN_ID, "1.0", "--answer", str(answer))

    assert doubtful.replayed().namespace["y"] == {"paid": True}


def test_a_second_decision_takes_the_place_of_one_that_waits(
    durable: Durable, doubtful: Notebook
) -> None:
    durable("resolve", RUN_ID, "--fail")

    said = durable("resolve", RUN_ID, "--retry")

    assert "It replaces fail." in said.out
    assert [each.choice for each in doubtful.queued()] == ["retry"]
    assert doubtful.replayed().namespace["y"] == "pay [now]: done"


def test_resolve_does_not_claim_that_a_busy_kernel_takes_the_decision(
    durable: Durable, doubtful: Notebook
) -> None:
    with doubtful.session():
        said = durable("resolve", RUN_ID, "--retry")

    assert said.code == 0
    assert "has this run open and did not take it yet" in " ".join(said.out.split())


def test_resolve_says_that_the_waiting_kernel_took_the_decision(
    durable: Durable, doubtful: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the kernel is: how long a person waits to hear of it is not tested."""
    monkeypatch.setattr("durable_kernel.cli.resolve._LOOK_S_MAX", 120.0)
    said: list[Said] = []

    with doubtful.session() as session:
        deciding = session.when_parked(lambda: said.append(durable("resolve", RUN_ID, "--retry")))
        session.recover()
        deciding.join()

    assert session.namespace["y"] == "pay [now]: done"
    # In one process the command prints into the cell while that still runs.
    assert "The waiting kernel took it." in said[0].out + session.text()


def test_an_act_that_a_living_kernel_makes_now_is_not_in_doubt(
    durable: Durable, notebook: Notebook
) -> None:
    said: list[Said] = []
    notebook.service.during = lambda _name: said.append(durable("resolve", RUN_ID, "--retry"))

    shown = notebook.lived("x = 1", "service.ask('pay')").text(kind="stderr")

    assert said[0].code == 2
    assert "the kernel waits for its answer (1.0: ask pay)" in " ".join(shown.split())
    assert notebook.queued() == []


def test_a_run_that_was_moved_takes_no_decision(
    durable: Durable, doubtful: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H12: no kernel opens it, so nobody would take it."""
    doubtful.home.rename(tmp_path / "moved")
    monkeypatch.setenv("DURABLE_HOME", str(tmp_path / "moved"))

    said = durable("resolve", RUN_ID, "--retry")

    assert (said.code, "--moved" in said.err) == (2, True)


@pytest.mark.parametrize("endless", ["/dev/zero", "fifo"])
def test_an_answer_that_never_ends_is_refused(
    durable: Durable, doubtful: Notebook, tmp_path: Path, endless: str
) -> None:
    os.mkfifo(tmp_path / "fifo")

    said = durable("resolve", RUN_ID, "--answer", str(tmp_path / endless))

    assert said.code == 2
    assert "an answer is a file, or - for stdin" in " ".join(said.err.split())


def test_an_answer_may_come_from_standard_input(
    durable: Durable, doubtful: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"[1]")))

    assert durable("resolve", RUN_ID, "--answer", "-").code == 0

    assert doubtful.replayed().namespace["y"] == [1]


REFUSED: dict[str, tuple[list[str], str]] = {
    "no choice": ([], "say exactly one of --retry, --answer FILE and --fail"),
    "two choices": (["--retry", "--fail"], "say exactly one"),
    "another effect": (["0.0", "--retry"], "effect 0.0 is not among them"),
    "a missing file": (["--answer", "nowhere.json"], "cannot be read"),
}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_resolve_refuses_what_cannot_be_meant(
    durable: Durable, doubtful: Notebook, arguments: list[str], sentence: str
) -> None:
    said = durable("resolve", RUN_ID, *arguments)

    assert said.code == 2
    assert sentence in said.err
    assert doubtful.queued() == []


def test_resolve_checks_the_answer_while_its_author_is_there(
    durable: Durable, doubtful: Notebook, tmp_path: Path
) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text("no json")

    said = durable("resolve", RUN_ID, "--answer", str(answer))

    assert said.code == 2
    assert "The act is still in doubt" in said.err
    assert doubtful.queued() == []


def test_a_message_that_is_not_used_is_shown_and_left_where_it_is(
    durable: Durable, doubtful: Notebook
) -> None:
    """Only the run's kernel puts it aside; a reader changes nothing."""
    message = doubtful.folder / "inbox" / ("0" * 32)
    message.parent.mkdir()
    message.write_bytes(b"rubbish")

    said = durable("show", RUN_ID)

    assert "A message is not used: it is damaged" in said.out
    assert durable("show", RUN_ID, "--json").document["refused_messages"] == [
        {"path": str(message), "why": "it is damaged"}
    ]
    assert message.exists()


def test_resolve_without_a_doubt_is_refused(durable: Durable, notebook: Notebook) -> None:
    notebook.lived("x = 1")

    said = durable("resolve", RUN_ID, "--retry")

    assert (said.code, "no act of this run is in doubt" in said.err) == (2, True)


def test_resolve_of_a_foreign_run_decides_nothing(durable: Durable, doubtful: Notebook) -> None:
    """Rule 8: what is in doubt is believed only of one's own frames."""
    (doubtful.home / "key").write_bytes(b"\x01" * 32)

    said = durable("resolve", RUN_ID, "--retry")

    assert said.code == 5
    assert "was not signed with your key" in said.err
    assert doubtful.queued() == []
