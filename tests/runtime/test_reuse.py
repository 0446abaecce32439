"""Failure is the everyday crash: a cell that failed is run again on what the journal knows (§8)."""

from __future__ import annotations

import pytest

from durable_kernel.errors import (
    ActNotRepeatedError,
    BranchRefusedError,
    TaintedPositionError,
    UsageError,
)
from durable_kernel.ports import Repeat
from durable_kernel.runtime import CellRequest
from tests.runtime.notebooks import Notebook, Service, Session

PAGES = 6
FETCH = """
found = []
for n in range({start}, {pages}):
    found.append({parse}(service.look(f"page {{n}}")))
"""
PARSES = "def parse(answer): return answer.upper()"
BREAKS = """
def parse(answer):
    if answer.startswith("page 3"):
        raise ValueError(answer)
    return answer.upper()
"""


def fetch(parse: str = "parse", pages: int = PAGES, start: int = 0) -> str:
    return FETCH.format(parse=parse, pages=pages, start=start)


def pages(*numbers: int) -> list[str]:
    return [f"page {each}" for each in numbers]


# --- what is reused -------------------------------------------------------------------------------


def test_an_edited_cell_goes_on_with_the_call_behind_the_error(
    notebook: Notebook, service: Service
) -> None:
    """Page 3 was fetched before it could not be parsed: it is not fetched again."""
    failed = notebook.matched("first = 1", BREAKS + fetch())
    assert failed.status == "error"
    assert service.requests == pages(0, 1, 2, 3)

    done = notebook.matched("first = 1", PARSES + fetch())

    assert done.status == "ok"
    assert service.requests == pages(0, 1, 2, 3, 4, 5)
    assert done.namespace["found"] == [f"PAGE {n}: DONE" for n in range(PAGES)]
    assert "4 calls were reused" in " ".join(done.run.take_notices())


def test_an_unchanged_cell_makes_its_last_call_anew(notebook: Notebook, service: Service) -> None:
    """What failed on recorded answers alone would fail again; the other side may be well now."""
    notebook.matched("first = 1", BREAKS + fetch())
    service.during = lambda name: f"{name.title()}: better"

    done = notebook.matched("first = 1", BREAKS + fetch())

    assert done.status == "ok"
    assert service.requests == pages(0, 1, 2, 3, 3, 4, 5)


def test_a_cell_that_is_mended_before_it_goes_on_reuses_all(
    notebook: Notebook, service: Service
) -> None:
    """The function may stand in an earlier cell: only that one is edited."""
    notebook.matched(BREAKS, "x = 1", fetch())

    done = notebook.matched(PARSES, "x = 1", fetch())

    assert done.status == "ok"
    assert service.requests == pages(0, 1, 2, 3, 4, 5)


def test_cells_in_between_reuse_too(notebook: Notebook, service: Service) -> None:
    notebook.matched(BREAKS, "y = service.look('other')", fetch())

    notebook.matched(PARSES, "y = service.look('other')", fetch())

    assert service.requests == ["other", *pages(0, 1, 2, 3, 4, 5)]


def test_the_first_other_call_is_live_and_all_behind_it(
    notebook: Notebook, service: Service
) -> None:
    notebook.matched(BREAKS + fetch())

    notebook.matched(PARSES + fetch().replace("page {n}", "page {n if n != 1 else 'one'}"))

    assert service.requests == [*pages(0, 1, 2, 3), "page one", *pages(2, 3, 4, 5)]


def test_a_cell_without_a_call_just_runs_again(notebook: Notebook) -> None:
    notebook.names["tries"] = tries = [1]
    cell = "import time; t = time.time(); tries.append(1); assert len(tries) > 2"

    assert notebook.matched(cell).status == "error"
    again = notebook.matched(cell)

    assert again.status == "ok"
    assert len(tries) == 3


def test_the_state_is_that_before_the_cell(notebook: Notebook) -> None:
    notebook.matched("xs = []", "xs.append(1); assert False")

    done = notebook.matched("xs = []", "xs.append(2)")

    assert done.namespace["xs"] == [2]


def test_a_cell_whose_error_is_expected_is_not_run_again(
    notebook: Notebook, service: Service
) -> None:
    """A notebook may want its error: it is replayed like any end."""
    notebook.lived("service.look('a')")
    with notebook.session() as session:
        session.recover()
        session.execute("service.look('b'); 1 / 0")

    with notebook.session() as session:
        session.match("service.look('a')")
        execution = session.run.match_cell(
            CellRequest("service.look('b'); 1 / 0"), expects_error=True
        )

    assert execution.is_replay
    assert service.requests == ["a", "b"]


def test_a_retried_run_replays_like_any_other(notebook: Notebook, service: Service) -> None:
    notebook.matched(BREAKS + fetch())
    notebook.matched(PARSES + fetch(), "last = service.look('end')")
    made = list(service.requests)

    again = notebook.replayed()

    assert service.requests == made
    assert again.namespace["found"] == [f"PAGE {n}: DONE" for n in range(PAGES)]
    assert again.run.state == "live"


def test_reuse_reaches_through_attempts_that_failed_again(
    notebook: Notebook, service: Service
) -> None:
    """A mistyped edit, a second mistake: what was fetched once stays fetched."""
    notebook.matched(BREAKS + fetch())
    assert notebook.matched("oops\n" + PARSES + fetch()).status == "error"
    assert notebook.matched(BREAKS.replace("page 3", "page 4") + fetch()).status == "error"
    assert notebook.matched("oops\n" + PARSES + fetch()).status == "error"

    done = notebook.matched(PARSES + fetch())

    assert done.status == "ok"
    assert service.requests == pages(0, 1, 2, 3, 4, 5)
    assert notebook.replayed().namespace["found"] == done.namespace["found"]
    assert service.requests == pages(0, 1, 2, 3, 4, 5)


def test_outcomes_that_are_errors_are_reused(notebook: Notebook, service: Service) -> None:
    cell = """
for n in range(3):
    try:
        service.look(f"page {n}")
    except ConnectionError as error:
        print(error)
"""

    def fail_once(name: str) -> str:
        if name == "page 1":
            raise ConnectionError("away")
        return name

    service.during = fail_once
    notebook.matched(cell + "1 / 0")

    done = notebook.matched(cell + "1 / 1")

    assert done.text() == "away\n"
    assert service.requests == pages(0, 1, 2)


# --- draws and clocks -----------------------------------------------------------------------------


def test_calls_made_from_draws_and_clocks_stay_the_same(
    notebook: Notebook, service: Service
) -> None:
    cell = """
import os, random, time, uuid
for n in range(4):
    service.look(f"{os.urandom(4).hex()} {uuid.uuid4()} {time.time()} {random.random()}")
"""
    notebook.matched(cell + "1 / 0")
    made = list(service.requests)

    done = notebook.matched(cell + "after = os.urandom(4), time.time(), random.random()")

    assert service.requests == made
    assert notebook.replayed().namespace["after"] == done.namespace["after"]


def test_clocks_behind_the_last_reused_call_are_fresh(notebook: Notebook) -> None:
    """A deadline that has passed in the first attempt is not past for ever."""
    cell = "import time; service.look('a'); now = time.time(); assert now > limit"
    notebook.names["limit"] = float("inf")
    notebook.matched(cell)
    notebook.names["limit"] = 0.0

    assert notebook.matched(cell + "  # edited").status == "ok"


def test_monotonic_clocks_do_not_run_back_behind_what_was_reused(notebook: Notebook) -> None:
    cell = """
import time
seen = []
for n in range(5):
    seen.append(time.monotonic())
    service.look(f"page {n}")
"""
    notebook.matched(cell + "1 / 0")

    done = notebook.matched(cell + "seen.append(time.monotonic())")

    seen = done.namespace["seen"]
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen)


def test_nor_behind_an_attempt_that_never_ended(notebook: Notebook) -> None:
    """It was interrupted, and left behind: nothing but its own readings tells how late it was."""
    cell = "import time\nseen = []\nfor n in range(3):\n    seen.append(time.monotonic())\n"
    cell += "    service.look(f'page {n}')\n"
    with notebook.session(may_die=True) as session:
        session.match(cell + "time.sleep(0.05); seen.append(time.monotonic()); print(); die()")
    with notebook.session() as session:
        session.run.leave_failed(repeats_acts=False)

    done = notebook.matched(cell + "seen.append(time.monotonic())")

    assert done.namespace["seen"] == sorted(done.namespace["seen"])


# --- acts -----------------------------------------------------------------------------------------


def test_completed_acts_are_not_repeated(notebook: Notebook, service: Service) -> None:
    notebook.matched("a = service.ask('pay'); b = service.ask('thank'); 1 / 0")

    done = notebook.matched("a = service.ask('pay'); b = service.ask('thank'); 1 / 1")

    assert done.status == "ok"
    assert service.requests == ["pay", "thank"]
    assert done.namespace["b"] == "thank: done"


def test_an_unchanged_cell_does_not_repeat_its_last_act(
    notebook: Notebook, service: Service
) -> None:
    """It is said, and how to have it done again."""
    cell = "a = service.ask('pay'); assert not a.startswith('pay')"
    notebook.matched(cell)

    again = notebook.matched(cell)

    assert again.status == "error"
    assert service.requests == ["pay"]
    assert "--repeat-acts" in " ".join(again.run.take_notices())

    service.during = lambda _name: "well"
    assert notebook.matched(cell, repeat_acts=True).status == "ok"
    assert service.requests == ["pay", "pay"]


def test_another_act_stops_before_it_is_done(notebook: Notebook, service: Service) -> None:
    notebook.matched("service.look('a'); service.ask('pay 5'); 1 / 0")

    stopped = notebook.matched("service.look('a'); service.ask('pay 6')")

    assert stopped.status == "stopped"
    assert isinstance(stopped.run.latch, ActNotRepeatedError)
    assert "ask pay 5" in str(stopped.run.latch)
    assert service.requests == ["a", "pay 5"]


def test_a_stopped_attempt_goes_on_once_the_user_allows_it(
    notebook: Notebook, service: Service
) -> None:
    edited = "service.look('a'); service.ask('pay 6')"
    notebook.matched("service.look('a'); service.ask('pay 5'); 1 / 0")
    notebook.matched(edited)
    assert notebook.matched(edited).status == "stopped"

    done = notebook.matched(edited, repeat_acts=True)

    assert done.status == "ok"
    assert service.requests == ["a", "pay 5", "pay 6"]
    told = " ".join(done.run.take_notices())
    assert "also did: ask pay 5" in told


def test_a_stopped_attempt_can_be_edited_back(notebook: Notebook, service: Service) -> None:
    notebook.matched("service.look('a'); service.ask('pay 5'); 1 / 0")
    notebook.matched("service.look('a'); service.ask('pay 6')")

    done = notebook.matched("service.look('a'); service.ask('pay 5')")

    assert done.status == "ok"
    assert service.requests == ["a", "pay 5"]


def test_an_act_of_another_attempt_has_another_key(notebook: Notebook, service: Service) -> None:
    """The other side must not take the edited request for the first one."""
    notebook.matched("service.ask('pay 5'); 1 / 0")

    notebook.matched("service.ask('pay 6')", repeat_acts=True)

    first, other = service.keys
    assert first != other


def test_an_act_that_may_be_repeated_stops_nobody(notebook: Notebook, service: Service) -> None:
    notebook.names["an_hour"] = Repeat(3600, "declared")
    notebook.matched("service.ask('put', repeat=an_hour); 1 / 0")

    assert notebook.matched("service.ask('other')").status == "ok"


def test_an_earlier_edit_is_refused_while_acts_stand_behind_it(
    notebook: Notebook, service: Service
) -> None:
    """H14: they might not be asked for again."""
    notebook.matched("x = 1", "service.ask('pay')", "1 / 0")

    with pytest.raises(BranchRefusedError):
        notebook.matched("x = 2", "service.ask('pay')", "1 / 1")

    assert service.requests == ["pay"]
    done = notebook.matched("x = 2", "service.ask('pay')", "1 / 1", repeat_acts=True)
    assert done.status == "ok"


def test_an_act_in_doubt_is_in_doubt_in_the_edited_cell(
    notebook: Notebook, service: Service
) -> None:
    """A process died in the call, and the cell was edited: nobody knows more than before."""
    notebook.die_during("pay")
    notebook.died("service.look('a'); x = service.ask('pay'); 1 / 0")
    notebook.decide("0.1", "answer", b"7")

    done = notebook.matched("service.look('a'); x = service.ask('pay')")

    assert done.status == "ok"
    assert done.namespace["x"] == 7
    assert service.requests == ["a", "pay"]
    assert notebook.replayed().namespace["x"] == 7


def test_a_cell_that_acted_past_the_journal_is_not_run_again(
    notebook: Notebook, tmp_path: object
) -> None:
    cell = f"open({str(tmp_path)!r} + '/out.txt', 'w').close(); 1 / 0"
    notebook.matched(cell)

    with pytest.raises(TaintedPositionError):
        notebook.matched(cell)

    assert notebook.matched(cell, redo=True).status == "error"


# --- deaths in the middle -------------------------------------------------------------------------

STORY = """
import os, time
found = []
for n in range(6):
    stamp = os.urandom(2).hex()
    time.monotonic()
    found.append(service.look(f"page {n}"))
    if n % 2:
        found.append(service.ask(f"pay {n}"))
        print(n)
"""
NAMES = [each for n in range(6) for each in ([f"page {n}", f"pay {n}"] if n % 2 else [f"page {n}"])]


def broken(at: int) -> str:
    return STORY.replace("    stamp", f"    if n == {at}: raise ValueError(n)\n    stamp")


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("name", NAMES[4:])
def test_a_death_in_the_second_attempt_repeats_nothing(
    notebook: Notebook, service: Service, name: str, when: str
) -> None:
    """At each of its live calls; a call that was cut is repeated at most once, as in any cell."""
    notebook.matched("x = 1", broken(at=3))
    assert service.requests == NAMES[:4]
    (notebook.die_before if when == "before" else notebook.die_during)(name)

    with notebook.session(may_die=True) as session:
        session.match("x = 1", STORY)
    assert session.image is not None
    service.before = service.during = lambda each: f"{each}: done"
    with notebook.session() as session:
        if name.startswith("pay"):
            session.when_parked(lambda: session.run.resolve(None, "retry", None))
        status = session.match("x = 1", STORY)

    assert status == "ok"
    expected = list(NAMES)
    if when == "during":
        expected.insert(expected.index(name), name)
    assert service.requests == expected
    assert session.namespace["found"] == [f"{each}: done" for each in NAMES]


@pytest.mark.parametrize("at", range(6))
def test_a_death_while_reusing_repeats_nothing(
    notebook: Notebook, service: Service, at: int
) -> None:
    """Between the reused calls: whether their records were written by then or not."""
    notebook.matched("x = 1", broken(at=5))
    dying = STORY.replace("    stamp", f"    die() if n == {at} else None\n    stamp")
    with notebook.session(may_die=True) as session:
        session.match("x = 1", dying)
    assert session.image is not None

    status = notebook.matched("x = 1", dying).status

    assert status == "ok"
    assert service.requests == NAMES


def test_a_death_between_leaving_and_beginning_loses_no_donor(
    notebook: Notebook, service: Service
) -> None:
    notebook.matched("x = 1", broken(at=5))
    with notebook.session() as session:
        session.match("x = 1")
        session.run.leave_failed(repeats_acts=False)

    done = notebook.matched("x = 1", STORY)

    assert done.status == "ok"
    assert service.requests == NAMES


def test_a_retry_asked_for_by_hand_waits_for_the_cell(notebook: Notebook, service: Service) -> None:
    """Interactively, another cell may come first: the failed one is known by its id."""

    def send(session: Session, source: str, cell_id: str) -> None:
        request = CellRequest(source, cell_id=cell_id)
        session.driver._execute(session.run.start_cell(request))

    with notebook.session() as session:
        send(session, broken(at=5), "a")
        session.run.leave_failed(repeats_acts=False)

    with notebook.session() as session:
        assert "7 recorded calls at hand" in str(session.run.plan)
        session.recover()
        send(session, "y = service.look('inspected')", "b")
        send(session, STORY, "a")

    assert service.requests == [*NAMES[:7], "inspected", *NAMES[7:]]


def test_nothing_is_to_be_tried_again_where_nothing_failed(notebook: Notebook) -> None:
    with notebook.session() as session:
        session.execute("x = 1")
        with pytest.raises(UsageError, match="did not fail"):
            session.run.leave_failed(repeats_acts=False)
