"""`%durable` lines: what is one, and what each answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from durable_kernel.errors import RunLockedError, UsageError
from durable_kernel.history import PositionOutline
from durable_kernel.kernel.commands import Choice, answer, durable_lines
from durable_kernel.runtime import Allowed
from tests.history.folding import act, cell


class FakeRun:
    """Answers with what it was asked."""

    run_id = "nightly"
    state = "live"

    def __init__(self) -> None:
        self.resolved: list[tuple[Any, ...]] = []
        self.was_archived = False
        self.before = ""
        self.failed: PositionOutline | None = None
        self.is_left = self.repeats_acts = False

    def status(self) -> dict[str, Any]:
        return {"run": "nightly", "state": "live", "positions": 2, "in_doubt": [], "size_s": 1.5}

    def plan_now(self) -> str:
        return "2 cells to compute"

    def log(self, limit: int, position: int | None) -> list[dict[str, Any]]:
        calls = [{"effect": "0.0", "label": "GET <a>"}, {"effect": "0.1", "label": "GET <b>"}]
        return [] if position == 9 else calls[-limit:]

    def resolve(self, effect: str | None, choice: str, content: bytes | None) -> str:
        self.resolved.append((effect, choice, content))
        return "The cell goes on."

    def leave_failed(self, *, repeats_acts: bool) -> PositionOutline:
        if self.failed is None:
            raise UsageError("the last cell did not fail")
        self.is_left, self.repeats_acts = True, repeats_acts
        return self.failed

    def bring_back(self) -> str:
        return self.before

    def begin_anew(self) -> str:
        self.was_archived = True
        return "nightly-2"


class FakeReplacement:
    """Notes what would be started anew."""

    def __init__(self) -> None:
        self.is_possible = True
        self.asked: tuple[Any, ...] = ()

    def require_possible(self) -> None:
        if not self.is_possible:
            raise UsageError("a cell is running")

    def start_anew(self, run_id: str, told: str) -> None:
        self.asked = (run_id, told)

    def rewind(self, position: int, allowed: Allowed) -> str:
        self.asked = (position, allowed)
        return "going back"


class FakeKernel:
    """A kernel as far as a command sees it."""

    def __init__(self, refusal: BaseException | None = None, *, has_run: bool = True) -> None:
        self.run: Any = FakeRun() if has_run else None
        self.refusal = refusal
        self.is_restoring = False
        self.chosen: Choice | None = None
        self.asked: tuple[Any, ...] = ()
        self.replacement = FakeReplacement()

    def refusal_now(self) -> BaseException | None:
        return self.refusal

    def refuse_from_now(self, error: BaseException) -> None:
        self.refusal = error

    def restore_again(
        self, choice: Choice, *, to: int | None = None, allowed: Allowed = Allowed.NONE
    ) -> str:
        self.chosen, self.asked = choice, (to, allowed)
        return "restoring goes on"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("%durable", [""]),
        ("%durable status", ["status"]),
        ("\n  %durable log -n 3  \n# a comment\n%durable plan\n", ["log -n 3", "plan"]),
        ("%durable status\nx = 1", None),
        ("%durablestatus", None),
        ("print('%durable')", None),
        ("", None),
        ("# only a comment", None),
    ],
)
def test_a_cell_of_nothing_but_durable_lines_is_told_from_others(
    code: str, expected: list[str] | None
) -> None:
    assert durable_lines(code) == expected


def test_status_is_what_an_empty_line_asks_for() -> None:
    shown = answer(FakeKernel(), "")

    assert shown.text.splitlines() == [
        "run        nightly",
        "state      live",
        "positions  2",
        "size_s     1.5",
    ]
    assert "<th" in shown.markup


def test_status_says_why_nothing_runs() -> None:
    shown = answer(FakeKernel(RunLockedError("runs/nightly", "pid 7"), has_run=False), "status")

    assert shown.text.startswith("state  stopped\nwhy    RunLockedError: runs/nightly: another")


def test_a_log_is_a_table_whose_html_is_escaped() -> None:
    shown = answer(FakeKernel(), "log -n 1")

    assert shown.text == "effect  label\n0.1     GET <b>"
    assert "GET &lt;b&gt;" in shown.markup


def test_an_empty_log_says_so() -> None:
    assert answer(FakeKernel(), "log --position 9").text == "no call is recorded yet"


def test_the_plan_is_a_sentence() -> None:
    assert answer(FakeKernel(), "plan").text == "2 cells to compute"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("resolve --retry", (None, "retry", None)),
        ("resolve 8.0 --fail", ("8.0", "fail", None)),
        ("resolve 8.0 --answer '{folder}/the answer.json'", ("8.0", "answer", b'{"id": 7}')),
    ],
)
def test_resolve_hands_the_decision_to_the_run(
    line: str, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    kernel = FakeKernel()
    (tmp_path / "the answer.json").write_bytes(b'{"id": 7}')

    shown = answer(kernel, line.format(folder=tmp_path))

    assert kernel.run.resolved == [expected]
    assert shown.text == "The cell goes on."


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "resolve",
        "resolve --retry --fail",
        "resolve --answer",
        "resolve --answer /no/such/file",
        "log -n many",
        "status surplus",
        "plan 'unclosed",
    ],
)
def test_what_cannot_be_meant_is_a_usage_error_with_a_sentence(line: str) -> None:
    with pytest.raises(UsageError, match=r"\w"):
        answer(FakeKernel(), line)


@pytest.mark.parametrize(
    ("line", "choice"),
    [
        ("restore", Choice.GO_ON),
        ("restore --redo", Choice.REDO),
        ("restore --without", Choice.WITHOUT),
    ],
)
def test_restore_goes_on_as_the_user_chose(line: str, choice: Choice) -> None:
    kernel = FakeKernel()

    answer(kernel, line)

    assert kernel.chosen is choice


def test_fresh_archives_the_run_and_goes_on_with_a_new_one() -> None:
    kernel = FakeKernel()

    shown = answer(kernel, "fresh")

    assert kernel.run.was_archived
    assert kernel.replacement.asked[0] == "nightly-2"
    assert "%durable fresh --undo" in shown.text
    assert kernel.refusal is None


def test_fresh_waits_for_nothing_that_runs_but_then_asks_for_a_restart() -> None:
    kernel = FakeKernel()
    kernel.replacement.is_possible = False

    shown = answer(kernel, "fresh")

    assert kernel.run.was_archived
    assert kernel.replacement.asked == ()
    assert "Restart the kernel" in shown.text
    assert isinstance(kernel.refusal, UsageError)


def test_fresh_can_be_undone_in_place() -> None:
    kernel = FakeKernel()
    kernel.run.before = "weekly"

    shown = answer(kernel, "fresh --undo")

    assert "run weekly is back. Run nightly is archived in its place." in shown.text
    assert kernel.replacement.asked[0] == "weekly"


@pytest.mark.parametrize("line", ["fresh --undo", "retry", "restore --edited"])
def test_going_back_waits_for_no_running_cell(line: str) -> None:
    kernel = FakeKernel()
    kernel.replacement.is_possible = False

    with pytest.raises(UsageError, match="is running"):
        answer(kernel, line)

    assert not kernel.run.is_left


def test_without_an_archived_run_there_is_nothing_to_undo() -> None:
    kernel = FakeKernel()

    with pytest.raises(UsageError, match="nothing to bring back"):
        answer(kernel, "fresh --undo")

    assert kernel.refusal is None


def test_while_the_run_is_being_opened_commands_say_so() -> None:
    """Right after an automatic restart: nothing is wrong, and a moment later it is there."""
    opening = FakeKernel(None, has_run=False)
    opening.is_restoring = True

    assert "has just started and is opening its run" in answer(opening, "status").text
    with pytest.raises(UsageError, match="has just started and is opening its run"):
        answer(opening, "plan")


def test_a_kernel_that_knows_no_notebook_yet_says_when_its_run_begins() -> None:
    unbound = FakeKernel(None, has_run=False)

    assert "its run begins with the first cell" in answer(unbound, "status").text


@pytest.mark.parametrize("path", ["/dev/zero", "-"])
def test_an_answer_of_a_kernel_is_a_file(path: str) -> None:
    with pytest.raises(UsageError, match=r"an answer is a file|name a file"):
        answer(FakeKernel(), f"resolve --answer {path}")


def test_without_a_run_commands_say_why_there_is_none() -> None:
    refusal = RunLockedError("runs/nightly", "")

    with pytest.raises(RunLockedError):
        answer(FakeKernel(refusal, has_run=False), "plan")


def failed(*labels: str) -> PositionOutline:
    acts = [act(n, label) for n, label in enumerate(labels)]
    return PositionOutline(5, cell(5), calls=8310, announced=acts)


def test_retry_leaves_the_failed_cell_behind_and_goes_back_in_place() -> None:
    kernel = FakeKernel()
    kernel.run.failed = failed("POST <a>")

    shown = answer(kernel, "retry")

    assert kernel.run.is_left
    assert not kernel.run.repeats_acts
    assert "8,310 recorded calls are at hand" in shown.text
    assert "What it did is not done again: POST <a>." in shown.text
    assert "POST &lt;a&gt;" in shown.markup
    assert kernel.replacement.asked[0] == "nightly"


def test_retry_may_repeat_acts_where_the_user_says_so() -> None:
    kernel = FakeKernel()
    kernel.run.failed = failed("POST a")

    shown = answer(kernel, "retry --repeat-acts")

    assert kernel.run.repeats_acts
    assert "may be done again" in shown.text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("restore", (None, Allowed.NONE)),
        ("restore --to 3", (3, Allowed.NONE)),
        ("restore --to 3 --repeat-acts", (3, Allowed.ALL)),
        ("rewind 2", (2, Allowed.NONE)),
        ("rewind 2 --repeat-acts", (2, Allowed.ALL)),
    ],
)
def test_restore_and_rewind_name_a_place(line: str, expected: tuple[Any, ...]) -> None:
    kernel = FakeKernel()

    answer(kernel, line)

    assert (kernel.asked or kernel.replacement.asked) == expected


@pytest.mark.parametrize("line", ["rewind", "rewind here", "restore --to", "restore --to 1 --redo"])
def test_a_place_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(UsageError):
        answer(FakeKernel(), line)


def test_nothing_is_tried_again_where_nothing_failed_or_the_run_is_restored() -> None:
    kernel = FakeKernel()
    with pytest.raises(UsageError, match="did not fail"):
        answer(kernel, "retry")

    kernel.is_restoring = True
    with pytest.raises(UsageError, match="being restored"):
        answer(kernel, "retry")

    assert kernel.refusal is None
