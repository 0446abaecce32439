"""A notebook in this process: its sessions, what they show, and deaths at chosen moments.

    with notebook.session() as session:              a kernel's life: opens the run, replays
        session.execute("x = 1", "print(x)")         new cells; True when all were committed
    with notebook.session() as session: ...          the next one finds what this one left

User code finds `service` (something outside, which counts) and `die` in its namespace. Who is dead
writes nothing more: `die()` keeps the run's files as they are at that moment, and unwinds; when the
session is over they are put back. So a death costs no process, and any line can be its moment: what
`write()` took is in the file, as after a SIGKILL. Only in `notebook.died` does `die()` kill.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from durable_kernel.errors import JournalError, RunSuspendedError
from durable_kernel.journal import Disk, Inbox, RealDisk
from durable_kernel.ports import (
    CURRENT_LANE,
    REPEAT_NEVER,
    Act,
    AnswerParser,
    Call,
    Outcome,
    Repeat,
    Step,
    await_cancellation,
    reach_ending,
    suspended,
    value_of,
)
from durable_kernel.runtime import AskedResolution, Run, Settings, open_run, prepare
from durable_kernel.runtime.inbox import inbox_of, queue_resolution, queued_resolutions
from durable_kernel.store import Store
from durable_kernel.testing.driver import Driver

__all__ = ["Died", "Notebook", "Service", "Session", "interrupt_main"]

WAIT_S = 10.0
RUN_ID = "notebook"


class QuickDisk(RealDisk):
    """Does not wait for the platter: the deaths here are those of processes."""

    def sync(self, fd: int) -> None:
        """Do nothing."""

    def sync_folder(self, path: Path) -> None:
        """Do nothing."""


class Died(SystemExit):
    """The process is dead. Neither drivers nor event loops keep such an exception."""


_QUICK_DISK = QuickDisk()


def _is_done(name: str) -> str:
    return f"{name}: done"


async def _at_once(_name: str) -> None:
    return


@dataclass
class Service:
    """Something outside: it remembers what reached it, and does as it is told meanwhile.

    `answered` are those of its asynchronous callers who have their answer, on disk.
    `before` is called when a request is announced and has not left; `during` while the service has
    it, and returns the answer; `travel` on the way there and back, if that is asynchronous. All get
    the request's name.
    """

    requests: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    before: Callable[[str], object] = _is_done
    during: Callable[[str], Any] = _is_done
    travel: Callable[[str], Awaitable[None]] = _at_once
    answer: AnswerParser | None = None
    is_dead: bool = False

    def ask(
        self, name: str, *, act: Act = Act.REMOTE, repeat: Repeat = REPEAT_NEVER, **details: Any
    ) -> Any:
        """Make a request as an effect does. Its identity is its name."""
        lane = CURRENT_LANE.get()
        assert lane is not None, "only cells ask"
        call = Call("fake", f"ask {name}", {"name": name}, details, act, repeat)
        return self._carry_out(name, lane.port.begin(lane, call, self.answer))

    async def ask_async(self, name: str, *, repeat: Repeat = REPEAT_NEVER) -> Any:
        """Make a request as an asynchronous effect does."""
        lane = CURRENT_LANE.get()
        assert lane is not None, "only cells ask"
        call = Call("fake", f"ask {name}", {"name": name}, {}, Act.REMOTE, repeat)
        step = await lane.port.begin_async(lane, call, self.answer)
        if step.outcome is not None:
            await step.turn()
            await await_cancellation(step.outcome)
            return value_of(step.outcome, lambda: ConnectionError("connection lost"))
        try:
            with suspended():
                await self.travel(name)
                value = self._serve(name, step)
                await self.travel(name)
            await step.turn()
        except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:
            await reach_ending(step, error)
            step.settle(Outcome.of_error(error))
            raise
        step.settle(Outcome.of_value(value))
        if not self.is_dead:
            self.answered.append(name)
        return value

    def look(self, name: str) -> Any:
        """Make a request that changes nothing there."""
        return self.ask(name, act=Act.OBSERVATION)

    def _carry_out(self, name: str, step: Step) -> Any:
        if step.outcome is not None:
            return value_of(step.outcome, lambda: ConnectionError("connection lost"))
        try:
            with suspended():
                value = self._serve(name, step)
        except (Exception, KeyboardInterrupt) as error:
            step.settle(Outcome.of_error(error))
            raise
        step.settle(Outcome.of_value(value))
        return value

    def _serve(self, name: str, step: Step) -> Any:
        if self.is_dead:
            raise Died
        self.before(name)
        self.requests.append(name)
        self.keys.append(step.idempotency_key)
        return self.during(name)


class Session:
    """One opened run with a driver, and what it showed."""

    def __init__(self, run: Run, service: Service, *, may_die: bool) -> None:
        self.run = run
        self.may_die = may_die
        self.service = service
        self.shown: list[tuple[int, str, str]] = []
        self.driver = Driver(run, show=self._show)
        self.image: dict[Path, bytes] | None = None
        self.status = ""
        self.namespace.update(service=service, die=self.die, session=self)

    @property
    def namespace(self) -> dict[str, Any]:
        return self.driver.namespace

    def execute(self, *sources: str) -> bool:
        """Run new cells, up to the first that is not committed."""
        return all(self.driver.execute(source) for source in sources)

    def match(self, *sources: str) -> str:
        """Send cells as a runner does. Returns the status of the last one, or "stopped"."""
        return self.driver.match(*sources)

    def recover(self) -> int:
        """Replay all that is recorded, and finish the open cell. Returns how many were done."""
        return self.driver.recover()

    def text(self, position: int | None = None, kind: str = "stdout") -> str:
        """Return what was shown, of one position or of all."""
        return "".join(
            text
            for at, shown_kind, text in self.shown
            if shown_kind == kind and position in (None, at)
        )

    def die(self) -> None:
        """End the process here: nothing that follows is written or reaches the service."""
        if not self.may_die:
            return
        with suspended(), self.run.port.lock:  # all other threads die at the same moment
            if self.image is None:
                self.image = _files(self.run.place.folder)
            self.service.is_dead = True
            if threading.current_thread() is not threading.main_thread():  # nobody else dies of it
                self.run.port.set_latch(RunSuspendedError("the process is dead"))
        raise Died

    def when_parked(self, then: Callable[[], object]) -> threading.Thread:
        """Call `then` from another thread once a call is parked."""
        thread = threading.Thread(target=self._wait_and_call, args=(then,), daemon=True)
        thread.start()
        return thread

    def _wait_and_call(self, then: Callable[[], object]) -> None:
        pause = threading.Event()
        while not self.run.port.parked and self.run.latch is None:
            pause.wait(0.002)
        then()

    def _show(self, position: int, kind: str, text: str) -> None:
        if self.image is None:
            self.shown.append((position, kind, text))


class Notebook:
    """A run's home across sessions. `names` are in the namespace of each."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.service = Service()
        self.names: dict[str, Any] = {}
        self.left: list[int] = []
        self._session: Session | None = None

    @property
    def folder(self) -> Path:
        return self.home / "runs" / RUN_ID

    @contextmanager
    def session(
        self,
        *,
        wall_ns: Callable[[], int] | None = None,
        disk: Disk = _QUICK_DISK,
        may_die: bool = False,
        **settings: Any,
    ) -> Iterator[Session]:
        """Open the run; at the end close it, or leave it as it was when the process died."""
        handler = signal.getsignal(signal.SIGINT)
        self.service.is_dead = False
        surroundings = prepare(wall_ns=wall_ns)
        run = open_run(
            Settings(**{"run": RUN_ID, "home": self.home, **settings}),
            surroundings=surroundings,
            leave=self._leave,
            disk=disk,
        )
        self._session = session = Session(run, self.service, may_die=may_die)
        session.namespace.update(self.names)
        try:
            with suppress(Died):
                yield session
        finally:
            # A disk that failed on purpose fails the last sync as well; the lock is released.
            with suppress(JournalError):
                run.close()
            signal.signal(signal.SIGINT, handler)
            if session.image is not None:
                _put_back(self.folder, session.image)

    def lived(self, *sources: str, **settings: Any) -> Session:
        """Run cells in a session of their own. Returns it, closed."""
        with self.session(**settings) as session:
            assert session.execute(*sources)
        return session

    def died(self, *sources: str, **settings: Any) -> Session:
        """Go on and run cells, in a session that has to die. Returns it, closed."""
        with self.session(may_die=True, **settings) as session:
            session.recover()
            session.execute(*sources)
        assert session.image is not None, "nobody died"
        return session

    def matched(self, *sources: str, **settings: Any) -> Session:
        """Send a notebook from its top, as a runner does. Returns the session, closed."""
        with self.session(**settings) as session:
            session.status = session.match(*sources)
        return session

    def replayed(self, **settings: Any) -> Session:
        """Open the run again, replay it to its end. Returns the session, closed."""
        with self.session(**settings) as session:
            session.recover()
        return session

    def die_before(self, *names: str) -> None:
        """Let the process die, once, when one of these requests is announced and has not left."""
        self.service.before = self._dying_at(names)

    def die_during(self, *names: str) -> None:
        """Let the process die, once, when one of these requests is there and not answered."""
        self.service.during = self._dying_at(names)

    def _dying_at(self, names: tuple[str, ...]) -> Callable[[str], str]:
        waiting = set(names)

        def reach(name: str) -> str:
            if name in waiting:
                waiting.remove(name)
                assert self._session is not None
                self._session.die()
            return _is_done(name)

        return reach

    def decide(self, effect: str, choice: str, answer: bytes | None = None) -> None:
        """Put a decision into the inbox, as `durable resolve` does."""
        asked = AskedResolution(effect, choice, answer)
        assert queue_resolution(self.inbox(), f"resolve-{effect}-{choice}", asked)

    def inbox(self) -> Inbox:
        """Return the run's inbox, as its owner has it."""
        store = Store(self.home)
        return inbox_of(store, store.get(RUN_ID))

    def queued(self) -> list[AskedResolution]:
        """Return the decisions that wait."""
        store = Store(self.home)
        return queued_resolutions(store, store.get(RUN_ID))

    def journal_bytes(self) -> bytes:
        """Return the bytes of all segments, in order."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.glob("seg-*.dkj")))

    def all_bytes(self) -> bytes:
        """Return the bytes of everything that the store holds, blobs too."""
        return b"".join(_files(self.home).values())

    def _leave(self, code: int) -> None:
        self.left.append(code)


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _put_back(folder: Path, image: dict[Path, bytes]) -> None:
    for path in _files(folder):
        if path not in image:
            path.unlink()
    for path, content in image.items():
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_bytes(content)


def interrupt_main() -> None:
    """Send a real SIGINT to the main thread."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
