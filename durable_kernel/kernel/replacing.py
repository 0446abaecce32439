"""Replacing: a kernel process starts itself anew, to come back with an earlier state.

    the run is cut at a position (`Run.branch`, by the caller) -> wait until no request comes any
    more, and what was published is with the clients -> close the run -> hand over what is not
    handled -> exec the command that started this process, in the folder and with the environment of
    then

The process keeps its id, so that no launcher sees a death; the ports are those of the connection
file and stay taken, so clients connect again by themselves, and replies find them by their
identity. The requests travel in a file of the run's folder that has no name any more when it is
written: only the process that inherits its descriptor can read it, and where that one dies, they
are gone with it.

What is lost: what a client sends within the milliseconds between the last look at the socket and
the exec, and outputs that a client did not take within seconds.

Imports nothing of Jupyter: `launch` reads a hand-over before any hook is installed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import msgpack

from durable_kernel.errors import BranchRefusedError, RunSuspendedError, UsageError
from durable_kernel.kernel.channels import published
from durable_kernel.kernel.moments import a_while
from durable_kernel.runtime import Allowed, cells_from

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["REPLACE", "Handover", "Origin", "Replacement", "take_handover"]

REPLACE = b"durable: replace"
"""The order that `Replacement.rewind` puts into the main thread's queue."""

_VARIABLE = "DURABLE_HANDOVER"
_NAME = "HANDOVER"
_QUIET_S = 0.15
_IOPUB_S = 5.0
_CHOICES = (
    "That stays done, and running those cells again may do it again. Nothing was changed. "
    "`%durable rewind {} --repeat-acts` allows it."
)
_BUSY = "a cell is running or waits; ask again when that is done."


@dataclass(frozen=True, slots=True)
class Handover:
    """What a process leaves to the one that takes its place."""

    run_id: str
    told: str
    messages: list[list[bytes]]
    is_from_the_top: bool = False
    """The requests go on with the notebook in order: none of them is answered any more."""
    ports: Sequence[int] = ()
    """Descriptors that keep the ports."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How this process was started, before anybody could change that."""

    command: tuple[str, ...]
    environ: dict[str, str]
    folder: str
    ignored: frozenset[int]
    handover: Handover | None

    @classmethod
    def of_process(cls) -> Self:
        """Read it from the process. To be called first of all."""
        handover = take_handover()
        ignored = {each for each in signal.valid_signals() if _is_ignored(each)}
        command = (sys.executable, *sys.orig_argv[1:])
        return cls(command, dict(os.environ), _folder(), frozenset(ignored), handover)


class Replacement:
    """Carries the replacement out. `is_due` once nothing more may be executed here."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._told = ""
        self._run_id = ""
        self._is_from_the_top = False
        self._failure: BaseException | None = None
        self._failed = threading.Event()
        self.is_due = False

    def rewind(self, position: int, allowed: Allowed) -> str:
        """Cut the run before `position` as the user asks; the process is to end next.

        On the shell-channel thread: no request gets past it meanwhile. Returns a sentence.
        Raises UsageError, or BranchRefusedError with the acts that would be left behind.
        """
        self.require_possible()
        run = self._kernel.run
        assert run is not None, "a command without a run is refused before"
        left = cells_from(run.read_outline(), position)
        try:
            run.branch(position, "rewound by the user", reuses=True, allowed=allowed)
        except BranchRefusedError as error:
            raise BranchRefusedError(position, error.acts, _CHOICES.format(position)) from None
        self.start_anew(run.run_id, f"this is the state before cell {position}, as you asked.")
        cells = "1 cell is" if len(left) == 1 else f"{len(left):,} cells are"
        return (
            f"{cells} left behind, and nothing of them is deleted. The kernel goes back to the "
            f"state before cell {position}, in a new process. What is run from there on takes what "
            "it asks for again from the journal; `%%live` on top of a cell makes its calls anew."
        )

    @property
    def is_possible(self) -> bool:
        """True while nothing that runs code is handled or waits: there is nothing to be lost."""
        kernel = self._kernel
        return not kernel.is_busy and kernel.backlog.is_empty and not self.is_due

    def require_possible(self) -> None:
        """Raise UsageError while a cell runs or waits."""
        if not self.is_possible:
            raise UsageError(_BUSY)

    def start_anew(self, run_id: str, told: str) -> None:
        """End this process next, in favour of one that goes on with a run. Shell-channel thread."""
        self.plan(run_id, told)
        self._kernel.post(REPLACE)

    def plan(self, run_id: str, told: str, *, is_from_the_top: bool = False) -> None:
        """Decide that this process ends, and what the next one goes on with. From any thread."""
        self._run_id, self._told, self._is_from_the_top = run_id, told, is_from_the_top
        self.is_due = True

    async def carry_out(self) -> None:
        """End this process in favour of another one. On the main thread.

        Returns only if the system does not let it; then nothing more is executed here.
        """
        kernel = self._kernel
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what waits is not to be lost now
        await kernel._progressively_terminate_all_children()  # as at a restart
        _reap_children()
        kernel.drain()
        history = kernel.shell.history_manager
        if history is not None:
            history.writeout_cache()
        for each in signal.valid_signals():
            if _is_ignored(each) and each not in kernel.origin.ignored and each != signal.SIGINT:
                signal.signal(each, signal.SIG_DFL)
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        kernel.call_on_shell_thread(self._leave_when_quiet)
        while not self._failed.is_set():  # noqa: ASYNC110 - set by another thread, if ever
            await asyncio.sleep(_QUIET_S)
        error = RunSuspendedError(
            f"this process could not start itself anew ({self._failure}); restart the kernel: the "
            "next one begins with the state that you asked for."
        )
        kernel.refuse_from_now(error)

    async def _leave_when_quiet(self) -> None:
        """Wait until requests that come in a row are here; then leave. Shell-channel thread."""
        kernel, seen = self._kernel, -1
        while seen != kernel.backlog.count:
            seen = kernel.backlog.count
            await a_while(_QUIET_S)
        await published(kernel.iopub_thread, kernel.session, _IOPUB_S)
        arrived: list[list[bytes]] = []
        try:
            self._leave(arrived)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._failure = error
            kernel.run = None  # it is closed, and this process can still be asked to stop
            self._failed.set()
            for frames in arrived:  # their senders wait: they get the refusal
                kernel.post(*frames)

    def _leave(self, arrived: list[list[bytes]]) -> NoReturn:
        """Close the run, and exec. What comes until then is noted in `arrived`."""
        kernel = self._kernel
        run, origin, ports = kernel.run, kernel.origin, kernel.parent.kept_ports
        assert run is not None, "only a run is cut"
        folder = run.place.folder
        run.shutdown(restart=False)
        kernel.close_run()
        for stream in (kernel._stdout, kernel._stderr):
            _put_back(stream)
        os.chdir(origin.folder)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        arrived += kernel.backlog.drain_socket()  # last of all: what comes later is lost
        messages = [*kernel.backlog.unfinished(), *arrived]
        told = (self._told, messages, self._is_from_the_top, ports.descriptors)
        descriptor = _write(folder, Handover(self._run_id, *told))
        environ = {**origin.environ, _VARIABLE: str(descriptor)}
        ports.outlive_exec(outlives=True)
        try:
            os.execve(origin.command[0], origin.command, environ)  # noqa: S606 - who we are
        finally:
            ports.outlive_exec(outlives=False)


def _write(folder: Path, handover: Handover) -> int:
    """Write a file without a name. Returns its descriptor, at the start, for a child to inherit."""
    path = folder / _NAME
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    path.unlink()
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(msgpack.packb(_fields_of(handover)))
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)
    return descriptor


def _fields_of(handover: Handover) -> list[Any]:
    whole = [handover.run_id, handover.told, handover.messages, handover.is_from_the_top]
    return [*whole, list(handover.ports)]


def take_handover() -> Handover | None:
    """Read what the process before left, and let go of it. None where there is nothing."""
    named = os.environ.pop(_VARIABLE, "")
    if not named.isdecimal():
        return None
    try:
        found = os.fstat(int(named))
        if not stat.S_ISREG(found.st_mode) or found.st_nlink or found.st_uid != os.geteuid():
            return None
        with os.fdopen(int(named), "rb") as file:
            run_id, told, messages, is_from_the_top, ports = msgpack.unpackb(file.read())
    except (OSError, TypeError, ValueError):
        return None
    return Handover(run_id, told, messages, is_from_the_top, tuple(ports))


def _folder() -> str:
    """Return the working folder; empty where it is gone, and then nobody can go back to it."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def _reap_children() -> None:
    with suppress(OSError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _is_ignored(number: int) -> bool:
    try:
        return signal.getsignal(number) is signal.SIG_IGN
    except ValueError:
        return False


def _put_back(stream: Any) -> None:
    """Let a descriptor mean what it did before ipykernel put a pipe in its place."""
    original = getattr(stream, "_original_stdstream_copy", None)
    if original is not None:
        os.dup2(original, stream._original_stdstream_fd)
