"""Hard records match one by one and decide when the run is live; soft ones may be more or fewer."""

from __future__ import annotations

import pytest

from durable_kernel.errors import DivergenceError
from tests.runtime.notebooks import Notebook, Service

# What a cell does is chosen by the service's process, as if a library had been upgraded.
READS_CLOCKS = "import time\nread = [time.{clock}() for _ in range(session.reads)]\nprint(read)"


def _reading(notebook: Notebook, times: int, *, clock: str = "time") -> list[float]:
    """Replay, or run, a cell that reads a clock so many times. Returns what it read."""
    with notebook.session() as session:
        session.namespace["session"].reads = times
        if session.recover() == 0:
            session.execute(READS_CLOCKS.format(clock=clock))
    assert session.run.latch is None
    found: list[float] = session.namespace["read"]
    return found


def test_an_extra_clock_read_gets_the_last_recorded_value(notebook: Notebook) -> None:
    """H31: the code reads a clock more often than it did."""
    recorded = _reading(notebook, 3)

    read = _reading(notebook, 5)

    assert read[:3] == recorded
    assert recorded[-1] < read[3] < read[4] < recorded[-1] + 0.001


def test_an_extra_monotonic_read_never_runs_back(notebook: Notebook) -> None:
    """H31, H15: one nanosecond for each further read."""
    recorded = _reading(notebook, 2, clock="monotonic_ns")

    read = _reading(notebook, 4, clock="monotonic_ns")

    assert read == [*recorded, recorded[-1] + 1, recorded[-1] + 2]


def test_fewer_clock_reads_are_no_divergence(notebook: Notebook) -> None:
    """H31: what is left over is dropped at the position's end."""
    recorded = _reading(notebook, 3)

    assert _reading(notebook, 1) == recorded[:1]


def test_more_and_fewer_clock_reads_are_counted_and_told_once(notebook: Notebook) -> None:
    """H31: dropped and repeated readings are said, in one sentence."""
    notebook.lived(
        "import time\nsession.reads = getattr(session, 'reads', 2)",
        "[time.time() for _ in range(session.reads)]",
        "[time.monotonic() for _ in range(3 - session.reads)]",
    )

    with notebook.session() as session:
        session.namespace["session"].reads = 1
        session.recover()

    notices = session.run.take_notices()
    assert len(notices) == 2
    assert "cell 1 read clocks 1 time less than recorded" in notices[0]
    assert "cell 2 read clocks 1 time more than recorded" in notices[1]


def test_a_run_is_live_when_all_hard_records_are_consumed(
    notebook: Notebook, service: Service
) -> None:
    """H31: soft values that nobody asked for do not keep it replaying."""
    notebook.died(
        "import time\nservice.ask('a')\nfor _ in range(session.may_die * 9): time.time()\n"
        "session.run.port.flush()\ndie()\nservice.ask('b')"
    )
    states: list[str] = []
    service.before = lambda _name: states.append(session.run.state)

    with notebook.session() as session:
        session.recover()

    assert states == ["live"]
    assert service.requests == ["a", "b"]


def test_soft_values_after_the_last_hard_record_are_kept_on_resume(notebook: Notebook) -> None:
    """H31: a person saw them before the crash; the cell that goes on must not show others."""
    died = notebook.died(
        "import time\nservice.ask('a')\nfor _ in range(3): print(time.time_ns())\ndie()"
    )

    with notebook.session() as session:
        session.recover()

    assert session.text().splitlines()[:3] == died.text().splitlines()


def test_clocks_read_the_world_once_the_recorded_values_are_used_up(notebook: Notebook) -> None:
    died = notebook.died("import time\nprint(time.time_ns())\ndie()\nprint(time.time_ns())")

    with notebook.session() as session:
        session.recover()
    first, second = map(int, session.text().split())

    again = notebook.replayed()
    assert first == int(died.text())
    assert second > first
    assert again.text() == session.text()


def test_one_draw_more_is_a_divergence_in_a_committed_cell(notebook: Notebook) -> None:
    """H31: entropy is hard; one more would shift the user's uuids."""
    notebook.lived("import os, uuid\nuuid.uuid4()")

    with notebook.session() as session:
        session.driver.namespace["uuid"] = None
        history = session.run.next_recorded()
        assert history is not None
        execution = session.run.replay_cell(history)
        with execution, pytest.raises(DivergenceError, match="nothing more in this cell"):
            exec("import uuid\nuuid.uuid4(); uuid.uuid4()", {"__name__": "__main__"})


def test_one_draw_less_is_a_divergence_at_the_cells_end(notebook: Notebook) -> None:
    notebook.lived("import os\n[os.urandom(4) for _ in range(getattr(session, 'draws', 2))]")

    with notebook.session() as session:
        session.draws = 1  # type: ignore[attr-defined]
        done = session.recover()

    assert done == 0
    assert session.run.state == "diverged"
    assert "a draw of os.urandom/4" in str(session.run.latch)
