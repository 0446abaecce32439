"""The latch: after a divergence nothing more is executed, whatever user code catches (H3, rule 6).

The cells under test ask for what `target` names; it is another name in the second session.
"""

from __future__ import annotations

import pytest

from durable_kernel.errors import DivergenceError, RunSuspendedError
from tests.runtime.notebooks import Notebook, Service, Session

ASKS = "x = service.ask(target)"


def _diverged(notebook: Notebook, *sources: str) -> Session:
    """Run cells with one target, replay them with another."""
    notebook.names["target"] = "recorded"
    notebook.lived(*sources)
    notebook.names["target"] = "asked"
    notebook.service.requests.clear()
    return notebook.replayed()


def test_a_divergence_shows_both_sides_and_the_difference(notebook: Notebook) -> None:
    """Rule 6: cell, line, what is recorded, what is asked, field by field."""
    session = _diverged(notebook, "y = 1", f"\n{ASKS}")

    latch = session.run.latch
    assert isinstance(latch, DivergenceError)
    assert str(latch).splitlines()[:2] == [
        "cell 1 (line 2): the code asks for ask asked, but the journal recorded ask recorded.",
        "  name: recorded 'recorded', asked 'asked'",
    ]
    assert "Nothing was sent and nothing is lost" in str(latch)


def test_a_divergence_in_a_committed_cell_leaves_the_journal_as_it_was(notebook: Notebook) -> None:
    """Rule 6: not one byte is written, and the next opener finds what this one found."""
    notebook.names["target"] = "recorded"
    notebook.lived(ASKS)
    notebook.names["target"] = "asked"
    with notebook.session() as session:
        before = notebook.journal_bytes()

        session.recover()

    assert session.run.state == "diverged"
    assert notebook.journal_bytes() == before
    notebook.names["target"] = "recorded"
    assert notebook.replayed().namespace["x"] == "recorded: done"


SHAPES = {
    "except BaseException": "try: service.ask(target)\nexcept BaseException: pass",
    "a bare except": "try: service.ask(target)\nexcept: pass",
    "suppress": "import contextlib\nwith contextlib.suppress(BaseException): service.ask(target)",
    "finally with return": (
        "def f():\n    try: service.ask(target)\n    finally: return 1  # noqa: B012\nf()"
    ),
    "a retry loop": (
        "for _ in range(3):\n    try: service.ask(target); break\n"
        "    except BaseException: continue"
    ),
    "an __exit__ that swallows": (
        "class Swallows:\n    def __enter__(self): pass\n    def __exit__(self, *_): return True\n"
        "with Swallows(): service.ask(target)"
    ),
    "a value among results": (
        "results = []\ntry: results.append(service.ask(target))\n"
        "except BaseException as e: results.append(e)\nprint(len(results))"
    ),
}


@pytest.mark.filterwarnings("ignore:'return' in a 'finally' block")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_swallowed_divergence_still_stops_the_run(
    notebook: Notebook, service: Service, shape: str
) -> None:
    """H3: the latch, not what propagated, decides the cell's status; no later act is made."""
    session = _diverged(notebook, f"{shape}\nservice.ask('after')", "service.ask('next cell')")

    assert isinstance(session.run.latch, DivergenceError)
    assert service.requests == []
    assert session.run.next_position == 0
    assert session.text(kind="reply") == ""


def test_every_begin_after_a_divergence_raises_the_same(notebook: Notebook) -> None:
    """H3: sync or async, act or observation."""
    notebook.names["target"] = "recorded"
    notebook.lived(
        "seen = []\n"
        "for ask in [service.ask, service.ask, service.look]:\n"
        "    try: ask(target)\n    except BaseException as e: seen.append(e)\n"
        "try: await service.ask_async(target)\nexcept BaseException as e: seen.append(e)"
    )
    notebook.names["target"] = "asked"

    session = notebook.replayed()

    assert session.namespace["seen"] == [session.run.latch] * 4


def test_what_stops_a_run_does_not_grow_with_each_raise(notebook: Notebook) -> None:
    """A loop that catches it would keep every frame, and make each traceback longer."""
    notebook.names["target"] = "recorded"
    notebook.lived(
        "import traceback\nlengths = []\n"
        "for _ in range(20):\n"
        "    try: service.ask(target)\n"
        "    except BaseException as e: lengths.append(len(traceback.extract_tb(e.__traceback__)))"
    )
    notebook.names["target"] = "asked"

    session = notebook.replayed()

    first, *_, last = session.namespace["lengths"]
    assert last <= first


def test_unwinding_code_makes_no_act(notebook: Notebook, service: Service) -> None:
    """H4: `finally` and `__exit__` run, but what they ask for raises instead of being sent."""
    session = _diverged(
        notebook, "try: service.ask(target)\nfinally: unwound = True; service.ask('unlock')"
    )

    assert session.namespace["unwound"]
    assert service.requests == []


def test_no_cell_begins_after_the_latch(notebook: Notebook) -> None:
    notebook.names["target"] = "recorded"
    notebook.lived(ASKS)
    notebook.names["target"] = "asked"
    with notebook.session() as session:
        session.recover()

        with pytest.raises(DivergenceError):
            session.execute("y = 1")


def test_the_first_reason_of_a_latch_stays(notebook: Notebook) -> None:
    with notebook.session() as session:
        first = session.run.port.set_latch(RunSuspendedError("first"))

        second = session.run.port.set_latch(RunSuspendedError("second"))

    assert second is first is session.run.latch


def test_a_call_too_few_is_a_divergence_at_the_cells_end(notebook: Notebook) -> None:
    """H31: left over hard records; the calls that were served are not blamed."""
    notebook.names["times"] = 2
    notebook.lived("for n in range(times): service.ask(str(n))")
    notebook.names["times"] = 1

    session = notebook.replayed()

    assert "the code asks for nothing more, but the journal recorded ask 1" in str(
        session.run.latch
    )


def test_a_call_too_many_is_not_made_in_a_committed_cell(
    notebook: Notebook, service: Service
) -> None:
    """H6: waiting for the switch to live exists in the open position only."""
    notebook.names["times"] = 1
    notebook.lived("for n in range(times): service.ask(str(n))", "y = 1")
    notebook.names["times"] = 2
    service.requests.clear()

    session = notebook.replayed()

    assert "asks for ask 1, but the journal recorded nothing more in this cell" in str(
        session.run.latch
    )
    assert service.requests == []


def test_an_exchanged_order_is_named_as_the_likely_cause(notebook: Notebook) -> None:
    """H40: sets of plain objects have another order in each process."""
    notebook.names["order"] = "abc"
    notebook.lived("for name in order: service.ask(name)")
    notebook.names["order"] = "bac"

    session = notebook.replayed()

    assert "sort it, or iterate a list" in str(session.run.latch)


def test_details_are_recorded_and_never_verified(notebook: Notebook, service: Service) -> None:
    """H32: headers, durations and time-outs differ from attempt to attempt."""
    notebook.names["timeout"] = 1.0
    notebook.lived("service.ask('a', timeout=timeout)")
    notebook.names["timeout"] = 2.0

    session = notebook.replayed()

    assert session.run.state == "live"
    assert service.requests == ["a"]
