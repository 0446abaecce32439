"""What stops in a thread stops the run (H3); what no lane answers for is told (H29)."""

from __future__ import annotations

import pytest

from durable_kernel.errors import DivergenceError, WorldClosedError
from tests.runtime.notebooks import Notebook, Service

# Each swallows, or loses, what a worker raises; `which` is another name on replay.
SWALLOWING = {
    "ThreadPool.map": (
        "from multiprocessing.pool import ThreadPool\n"
        "with ThreadPool(2) as pool: pool.map(service.ask, [which, 'b'])\nservice.ask('next')"
    ),
    "queue.join": (
        "import queue, threading\nq = queue.Queue()\n"
        "def work():\n    while True:\n        service.ask(q.get())\n        q.task_done()\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "q.put(which); q.put('b'); q.join()\nservice.ask('next')"
    ),
    "future without result": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(2) as pool: pool.submit(service.ask, which)\nservice.ask('next')"
    ),
    "Thread and join": (
        "import threading\nt = threading.Thread(target=service.ask, args=(which,))\n"
        "t.start(); t.join()\nservice.ask('next')"
    ),
    "fire and forget": (
        "import threading, time\nthreading.Thread(target=service.ask, args=(which,)).start()\n"
        "time.sleep(0.02)\nservice.ask('next')"
    ),
    "caught": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(2) as pool: error = pool.submit(service.ask, which).exception()\n"
        "service.ask('next')"
    ),
}


@pytest.mark.parametrize("source", SWALLOWING.values(), ids=SWALLOWING.keys())
def test_a_divergence_in_a_worker_stops_the_run(
    notebook: Notebook, service: Service, source: str
) -> None:
    """H3: whatever is done with what the worker raised, the main lane goes no further."""
    notebook.names["which"] = "a"
    notebook.lived(source)
    asked = list(service.requests)
    notebook.names["which"] = "edited"

    session = notebook.replayed()

    assert isinstance(session.run.latch, DivergenceError)
    assert session.run.latch.asked == "ask edited"
    assert service.requests == asked


def test_a_thread_that_asks_for_more_in_a_committed_cell_is_a_divergence(
    notebook: Notebook, service: Service
) -> None:
    """H6b: it waited for a run that is live, and the cell for the thread."""
    notebook.names["often"] = 1
    notebook.lived(
        "import threading\ndef work():\n    for n in range(often): service.ask(str(n))\n"
        "t = threading.Thread(target=work); t.start(); t.join()",
        "service.ask('later')",
    )
    notebook.names["often"] = 2

    session = notebook.replayed()

    assert isinstance(session.run.latch, DivergenceError)
    assert service.requests == ["0", "later"]


def test_a_thread_outlives_its_cell_and_is_replayed_cell_by_cell(
    notebook: Notebook, service: Service
) -> None:
    """H8: each cell sees as much of the thread as it saw then."""
    live = notebook.lived(
        "import threading, time\nfound, go_on = [], threading.Event()\n"
        "def work():\n    for n in range(6): found.append(service.ask(str(n))); time.sleep(0.003)\n"
        "t = threading.Thread(target=work, daemon=True); t.start(); print(len(found))",
        "time.sleep(0.005); print(service.ask('main'), found)",
        "t.join(); print(found)",
    )
    asked = list(service.requests)

    for _ in range(5):
        again = notebook.replayed()
        assert again.run.latch is None, str(again.run.latch)
        assert again.shown == live.shown
    assert service.requests == asked


OUTSIDE = {
    "raw thread": (
        "import _thread, time\n_thread.start_new_thread(draw, ())\n"
        "while not done: time.sleep(0.001)"
    ),
    "greenlet": "import contextvars, greenlet\ngreenlet.greenlet(draw).switch()",
    "copied context": (
        "import contextvars, threading\ncontext = contextvars.copy_context()\n"
        "t = threading.Thread(target=context.run, args=(draw,))\nt.start(); t.join()"
    ),
}


@pytest.mark.parametrize("source", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_an_act_of_a_thread_without_a_lane_is_told_and_taints(
    notebook: Notebook, source: str
) -> None:
    """H29: it is not recorded, so the cell is not executed again by itself."""
    if "greenlet" in source:
        pytest.importorskip("greenlet")
    path = notebook.home.parent / "written"

    with notebook.session() as session:
        session.namespace.update(path=str(path))
        assert session.execute(
            "done = []\ndef draw():\n    open(path, 'w').close()\n    done.append(1)\n" + source
        )
        position = session.run.read_outline().positions[0]

    assert path.exists()
    assert position.is_tainted
    with notebook.session() as again, pytest.raises(Exception, match="not executed"):
        again.recover()


def test_a_thread_makes_no_call_that_the_journal_does_not_hold(
    notebook: Notebook, service: Service
) -> None:
    """Rule 9: code that was edited to start a raw thread finds the world closed."""
    notebook.names["raw"] = False
    source = (
        "import _thread, time\ndone = []\ndef work():\n    try: open(path, 'w').close()\n"
        "    except BaseException: pass\n    done.append(1)\n"
        "if raw:\n    _thread.start_new_thread(work, ())\n    while not done: pass\n"
        "service.ask('a')"
    )
    notebook.names["path"] = str(notebook.home.parent / "written")
    notebook.lived(source)
    notebook.names["raw"] = True

    session = notebook.replayed()

    assert isinstance(session.run.latch, WorldClosedError)
    assert not (notebook.home.parent / "written").exists()
