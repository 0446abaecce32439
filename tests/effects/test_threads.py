"""Threads, locks and pools behave as they do without us; alone and among others."""

from __future__ import annotations

import copy
import inspect
import pickle
import queue
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType

import pytest

from durable_kernel.effects import threads
from durable_kernel.effects.callers import LIBRARY_ROOTS
from durable_kernel.ports import CURRENT_LANE, Lane
from durable_kernel.testing.fake_port import FakePort, FakeWitness

_OUTSIDE_LOCK = threading.Lock()


@pytest.fixture(autouse=True)
def _installed() -> None:
    threads.install(FakeWitness())


@pytest.fixture(params=["alone", "among others"])
def lane(request: pytest.FixtureRequest) -> Iterator[Lane]:
    """The lane of a cell, in which the test's body runs."""
    port = FakePort()
    with port.cell() as found:
        found.root_thread = threading.get_ident()
        if request.param == "among others":
            port.spawn(found, "t")
        yield found


@pytest.mark.usefixtures("lane")
def test_a_lock_of_a_cell_looks_like_any_lock() -> None:
    lock = threading.Lock()

    assert isinstance(lock, type(_OUTSIDE_LOCK))
    assert repr(lock).startswith("<unlocked _thread.lock object at 0x")
    assert weakref.ref(lock)() is lock
    for give in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"cannot pickle '_thread.lock' object"):
            give(lock)


@pytest.mark.usefixtures("lane")
def test_a_lock_of_a_cell_works_like_any_lock() -> None:
    lock = threading.Lock()

    with lock as got:
        assert got is True
        assert lock.locked()
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.001)
    assert lock.acquire()
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()
    with pytest.raises(ValueError, match="timeout"):
        lock.acquire(blocking=False, timeout=1)


@pytest.mark.usefixtures("lane")
def test_an_rlock_of_a_cell_is_taken_again_by_who_has_it() -> None:
    lock = threading.RLock()

    with lock, lock:
        changed = threading.Condition(lock)
        assert not changed.wait(0.001)
        assert lock._is_owned()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError):
        lock.release()
    assert "_thread.RLock object" in repr(lock)


@pytest.mark.usefixtures("lane")
def test_queues_events_and_semaphores_of_a_cell_work() -> None:
    things: queue.Queue[int] = queue.Queue(1)
    simple: queue.SimpleQueue[int] = queue.SimpleQueue()

    things.put(1)
    simple.put(2)

    assert (things.full(), things.get(), things.empty()) == (True, 1, True)
    assert (simple.get(), simple.empty()) == (2, True)
    for empty in (things, simple):
        with pytest.raises(queue.Empty):
            empty.get(timeout=0.001)
    event = threading.Event()
    assert not event.wait(0.001)
    event.set()
    assert event.is_set()
    assert event.wait()
    assert not threading.Semaphore(0).acquire(timeout=0.001)


def test_a_thread_of_a_cell_has_a_lane_of_its_own(lane: Lane) -> None:
    seen: list[Lane | None] = []
    thread = threading.Thread(target=lambda: seen.append(CURRENT_LANE.get()))

    thread.start()
    thread.join()

    assert seen[0] is not None
    assert seen[0].path.startswith("/t")
    assert seen[0].has_ended
    assert "run" not in vars(thread)
    assert lane is not seen[0]


@pytest.mark.usefixtures("lane")
def test_a_subclass_keeps_its_own_run_and_start() -> None:
    class Counting(threading.Thread):
        def start(self) -> None:
            self.started_by = threading.current_thread()
            super().start()

        def run(self) -> None:
            self.found = 7

    thread = Counting()
    thread.start()
    thread.join()

    assert (thread.found, thread.started_by) == (7, threading.current_thread())


@pytest.mark.usefixtures("lane")
def test_what_a_thread_raises_goes_to_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    thread = threading.Thread(target=lambda: 1 // 0)

    thread.start()
    thread.join()

    assert [each.exc_type for each in told] == [ZeroDivisionError]


@pytest.mark.usefixtures("lane")
def test_a_task_of_a_pool_has_a_lane_named_by_its_submission() -> None:
    def path() -> str:
        found = CURRENT_LANE.get()
        return "" if found is None else found.path

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(path) for _ in range(4)]

    numbers = [int(each.result().removeprefix("/p")) for each in futures]
    assert numbers == list(range(numbers[0], numbers[0] + 4))


@pytest.mark.usefixtures("lane")
def test_futures_are_equal_to_themselves_alone_and_keep_their_order_in_sets() -> None:
    futures: list[Future[None]] = [Future() for _ in range(20)]

    assert len(set(futures)) == 20
    assert list(set(futures)) == list(set(futures[10:] + futures[:10]))
    assert futures[0] != futures[1]


def test_without_a_lane_locks_are_the_real_ones() -> None:
    assert type(threading.Lock()) is type(_OUTSIDE_LOCK)
    assert type(threading.RLock()).__module__ == "_thread"


def test_what_is_replaced_keeps_its_name_and_signature() -> None:
    assert pickle.loads(pickle.dumps(threading.Lock)) is threading.Lock
    assert str(inspect.signature(threading.Thread.join)) == "(self, timeout=None)"
    assert threading.Thread.start.__qualname__ == "Thread.start"
    assert queue.SimpleQueue.__name__ == "SimpleQueue"


@pytest.mark.usefixtures("lane")
def test_queues_of_machinery_keep_their_own_locks() -> None:
    """A pool of connections is closed by a finalizer; a display is flushed on replay, too."""
    makers = {"__name__": "urllib3.connectionpool", "queue": queue, "threading": threading}

    exec("things, event = queue.LifoQueue(), threading.Event()", makers)

    assert type(makers["things"].mutex) is type(_OUTSIDE_LOCK)  # type: ignore[attr-defined]
    assert type(makers["event"]._cond._lock) is type(_OUTSIDE_LOCK)  # type: ignore[attr-defined]


_GENERATED = """
import {maker}, threading

@{maker}.{decorator}
class Queue:
    lock: object = {maker}.{factory}=threading.RLock)

def make():
    return Queue()
"""


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize(
    "words",
    [
        {"maker": "dataclasses", "decorator": "dataclass", "factory": "field(default_factory"},
        {"maker": "attrs", "decorator": "define", "factory": "field(factory"},
    ],
    ids=lambda words: words["maker"],
)
@pytest.mark.parametrize("is_library", [True, False])
def test_a_generated_init_makes_locks_as_its_class_does(
    monkeypatch: pytest.MonkeyPatch, words: dict[str, str], is_library: bool
) -> None:
    """A library's event loop looks at the type of the lock that it made so."""
    name = "a_module"
    module = ModuleType(name)
    folder = LIBRARY_ROOTS[0] if is_library else "/somewhere/"
    path = module.__file__ = f"{folder}{name}.py"
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(_GENERATED.format(**words), path, "exec"), module.__dict__)

    made = [module.make().lock, module.Queue().lock]

    assert [type(each).__module__ == "_thread" for each in made] == [is_library] * 2


def test_a_thread_of_a_loops_own_pool_has_no_lane() -> None:
    """Whether Trio asks its pool depends on when answers come; a replay has no such thread."""
    port = FakePort()
    seen: list[Lane | None] = []

    def work() -> None:
        seen.append(CURRENT_LANE.get())

    work.__module__ = "trio._core._thread_cache"
    with port.cell() as lane:
        lane.root_thread = threading.get_ident()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    assert seen == [None]
    assert lane.spawned == 0
