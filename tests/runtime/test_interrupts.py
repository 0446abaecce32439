"""SIGINT: exact inside a waiting effect, inexact elsewhere, never inside port code (H5, H16)."""

from __future__ import annotations

import linecache
import signal
import sys
import threading
import time
from contextvars import Context

import pytest

from durable_kernel.effects import sleeping
from durable_kernel.effects.sleeping import _real_sleep
from durable_kernel.errors import CutPositionError
from durable_kernel.runtime.interrupts import Interrupts
from durable_kernel.runtime.patience import state_of
from tests.runtime.notebooks import Notebook, Service, interrupt_main


def _interrupts(name: str) -> str:
    if name == "slow":
        interrupt_main()
    return "too late"


def test_an_interrupt_inside_a_waiting_call_replays_exactly(
    notebook: Notebook, service: Service
) -> None:
    """H16: raised again at the same place; all that follows is as it was."""
    service.during = _interrupts
    live = notebook.lived(
        "total = 0\ntry:\n    for n in range(5): total += n; service.ask('slow')\n"
        "except KeyboardInterrupt: print('stopped at', total)"
    )

    again = notebook.replayed()

    assert (
        again.shown
        == live.shown
        == [
            (0, "stdout", "stopped at"),
            (0, "stdout", " "),
            (0, "stdout", "0"),
            (0, "stdout", "\n"),
            (0, "reply", "ok"),
        ]
    )
    assert service.requests == ["slow"]


def test_an_interrupted_cell_is_final_and_replays(notebook: Notebook, service: Service) -> None:
    service.during = _interrupts
    live = notebook.lived("x = 1; service.ask('slow'); x = 2", "y = x")

    again = notebook.replayed()

    assert again.namespace["y"] == 1
    assert again.shown == live.shown


def _interrupt_the_sleep() -> None:
    """Interrupt the main thread once it sleeps, and not before."""
    main = threading.main_thread().ident or 0
    while True:
        frame = sys._current_frames()[main]
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        # It sleeps in the system, or waits for the interpreter right before that.
        if line == "_real_sleep(left_s)" and (state_of(main) == b"S" or sys.platform != "linux"):
            interrupt_main()
            return
        _real_sleep(0.001)


def _arm() -> None:
    """Press Stop once the cell sleeps. Who does that is no thread of the cell."""
    Context().run(threading.Thread(target=_interrupt_the_sleep, daemon=True).start)


def test_an_interrupt_of_a_sleep_replays_exactly(notebook: Notebook) -> None:
    """H16: the most frequent Stop. Only the sleep that was interrupted is, after others."""
    notebook.names["arm"] = _arm
    live = notebook.lived(
        "import time\ntime.sleep(0.001)\ntry:\n    arm(); time.sleep(60); print('never')\n"
        "except KeyboardInterrupt: print('stopped')\ntime.sleep(0.001)",
        "print('on')",
    )
    notebook.names["arm"] = lambda: None

    again = notebook.replayed()

    assert live.text() == "stopped\non\n"
    assert again.shown == live.shown
    assert again.run.latch is None


def test_an_interrupt_elsewhere_makes_the_cell_inexact(notebook: Notebook) -> None:
    """H16: computing was cut anywhere; re-execution would not stop there. Recovery asks."""
    notebook.names["interrupt"] = interrupt_main
    notebook.lived(
        "try:\n    x = (n for n in 'ab'); interrupt()\nexcept KeyboardInterrupt: pass", "y = 1"
    )

    with notebook.session() as session, pytest.raises(CutPositionError, match="generator"):
        session.recover()

    assert "y" not in session.namespace


def test_an_inexact_cell_is_executed_again_where_the_user_said_so(notebook: Notebook) -> None:
    notebook.names["interrupt"] = interrupt_main
    notebook.lived("try: interrupt()\nexcept KeyboardInterrupt: pass", "y = 1")

    session = notebook.replayed(redo=True)

    assert session.namespace["y"] == 1


SHUTS_DOWN = "shut_down(); x = service.ask('slow'); print(x)"


def _is_shut_down(notebook: Notebook, source: str) -> None:
    """Run a cell that the kernel's stop interrupts in its waiting call."""
    notebook.service.during = _interrupts
    with notebook.session() as session:
        notebook.names["shut_down"] = lambda: session.run.shutdown(restart=True)
        session.namespace.update(notebook.names)
        assert not session.execute(source)
    notebook.names["shut_down"] = lambda: None
    notebook.service.during = str


def test_a_stop_of_the_kernel_leaves_the_cell_open_and_in_doubt(
    notebook: Notebook, service: Service
) -> None:
    """A graceful stop is a KeyboardInterrupt and a message: as after a crash, the cell goes on."""
    _is_shut_down(notebook, SHUTS_DOWN)

    with notebook.session() as session:
        assert session.run.read_outline().status == "in doubt"
        session.when_parked(lambda: session.run.resolve(None, "retry", None))
        session.recover()

    assert session.text() == "slow\n"
    assert service.requests == ["slow", "slow"]


def test_a_sleep_that_a_stop_of_the_kernel_cut_is_finished(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop interrupts the sleep, but nobody wished that: the cell goes on behind it."""
    notebook.names["arm"] = _arm
    begun_at = time.time()
    _is_shut_down(notebook, "import time; shut_down(); arm(); time.sleep(3600); print('slept')")
    notebook.names["arm"] = lambda: None
    monkeypatch.setattr(sleeping, "_wall", lambda: begun_at + 3599.9)  # an hour later, almost

    session = notebook.replayed()
    again = notebook.replayed()

    assert session.text() == "slept\n"
    assert again.text() == "slept\n"


def test_a_stop_of_the_kernel_keeps_what_finally_did(notebook: Notebook, service: Service) -> None:
    """An act that was made while unwinding is not made again; the cell ends as it did."""
    _is_shut_down(notebook, "shut_down()\ntry: service.ask('slow')\nfinally: service.ask('unlock')")

    session = notebook.replayed()

    assert service.requests == ["slow", "unlock"]
    assert session.text(kind="error").startswith("KeyboardInterrupt")


def test_a_signal_during_port_code_waits_for_its_end(notebook: Notebook, service: Service) -> None:
    """H5: sent while the announcement is written; raised once it stands, nothing is torn."""
    notebook.names["seen"] = []
    with notebook.session() as session:
        journal = session.run._journal
        append = journal.append

        def interrupted_append(*args: object, **kwargs: object) -> int:
            if kwargs.get("sync") and not notebook.names["seen"]:
                interrupt_main()
                notebook.names["seen"].append("written all the same")
            return append(*args, **kwargs)  # type: ignore[arg-type]

        journal.append = interrupted_append  # type: ignore[method-assign]
        session.execute(
            "try: service.ask('a')\nexcept KeyboardInterrupt: seen.append('then raised')"
        )

    assert notebook.names["seen"][:2] == ["written all the same", "then raised"]
    assert service.requests == []
    outline = session.run.read_outline()
    assert [each.label for each in outline.positions[0].announced] == ["ask a"]
    assert outline.positions[0].pending == {}


@pytest.fixture
def interrupts() -> Interrupts:
    return Interrupts()


def _fails_interrupted(interrupts: Interrupts, error: BaseException) -> None:
    with interrupts:
        interrupts.handler(signal.SIGINT, None)
        raise error


def test_a_deferred_interrupt_is_raised_at_the_exit_of_the_outermost(
    interrupts: Interrupts,
) -> None:
    """H5: port code calls port code."""
    reached = []

    def work() -> None:
        with interrupts:
            with interrupts:
                interrupts.handler(signal.SIGINT, None)
                reached.append("inner")
            reached.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()

    assert reached == ["inner", "outer"]
    assert interrupts.raised_count == 1


def test_an_interrupt_that_meets_an_error_is_raised_too(interrupts: Interrupts) -> None:
    """H5: a retry loop that swallows the error must not swallow the user's Stop."""
    with pytest.raises(KeyboardInterrupt) as caught:
        _fails_interrupted(interrupts, ValueError("the disk is full"))

    assert isinstance(caught.value.__context__, ValueError)
    assert interrupts.raised_count == 1


def test_an_interrupt_that_meets_a_stop_is_dropped(interrupts: Interrupts) -> None:
    """The latch ends the cell anyway; a count without a raise would call it inexact."""
    with pytest.raises(SystemExit):
        _fails_interrupted(interrupts, SystemExit())

    assert interrupts.raised_count == 0
    with interrupts:
        pass


def test_port_code_of_another_thread_defers_nothing(interrupts: Interrupts) -> None:
    """Signals land in the main thread only; a flush elsewhere must not hold them back."""
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with interrupts:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait(60)
    with pytest.raises(KeyboardInterrupt):
        interrupts.handler(signal.SIGINT, None)
    leave.set()
    thread.join()
