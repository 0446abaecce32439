"""The kernel: ipykernel's, with a run around its cells.

What is overridden, and why:

    do_execute          a cell is a position: lane, outputs, commit (`performing`)
    dispatch_shell      the first message of the main thread restores the run (`replaying`)
    shell_channel_…     some requests are answered while the main thread is busy (`direct`)
    raw_input, getpass  what a user types is an effect
    do_shutdown         a cell that the stop interrupts stays open
    pre_handler_hook    SIGINT is the run's: it never lands inside a journal write (H5)
    kernel_info         no subshells: two cells at once have no order to replay

Everything else is the stock kernel.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from ipykernel.jsonutil import json_clean
from IPython.core.error import StdinNotImplementedError
from traitlets import Dict, Enum, Float, Int, List, Type, Unicode

from durable_kernel import runtime
from durable_kernel.effects import prompts
from durable_kernel.errors import DurableError, Stop
from durable_kernel.kernel.backlog import Backlog, as_received
from durable_kernel.kernel.beside import Beside
from durable_kernel.kernel.commands import Choice
from durable_kernel.kernel.comms import Comms
from durable_kernel.kernel.compiler import StableCompiler
from durable_kernel.kernel.control import BesideOnControl
from durable_kernel.kernel.direct import DirectAnswers
from durable_kernel.kernel.from_the_top import FromTheTop
from durable_kernel.kernel.magics import register_magic
from durable_kernel.kernel.outputs import Capture, CapturingSession, connect_thread
from durable_kernel.kernel.performing import Asked, Performer, error_content, flush_all, refusal
from durable_kernel.kernel.prompting import Receiver, ask_client, refuse_unreachable
from durable_kernel.kernel.replacing import REPLACE, Origin, Replacement
from durable_kernel.kernel.replaying import Restoration
from durable_kernel.kernel.scripts import record_scripts
from durable_kernel.kernel.storing import record_shelf
from durable_kernel.kernel.tracebacks import trim_in
from durable_kernel.ports import CURRENT_LANE

__all__ = ["DurableKernel"]

_RESTORE = b"durable: restore"


class DurableKernel(IPythonKernel):
    """A Python kernel whose runs survive the death of its process."""

    compiler_class = Type(StableCompiler)
    debugger_class = Type("durable_kernel.kernel.debugging.DurableDebugger")

    home = Unicode(help="Store of runs. The variable DURABLE_HOME wins.").tag(config=True)
    durability = Enum(
        ["", "default", "strict", "fast"],
        default_value="",
        help="How soon journal frames are synced. The variable DURABLE_DURABILITY wins.",
    ).tag(config=True)
    in_doubt = Enum(
        ["", "ask", "raise", "stop"],
        default_value="",
        help="What happens to an act in doubt. The variable DURABLE_IN_DOUBT wins.",
    ).tag(config=True)
    resume = Enum(
        ["", "eager", "match"],
        default_value="",
        help="Replay at the start, or request by request. The variable DURABLE_RESUME wins.",
    ).tag(config=True)
    repeat = List(
        Unicode(),
        help="HOST or HOST:PRESET (graphql-reads, search, oauth, llm): calls that are made again "
        "unasked after a crash. The variable DURABLE_REPEAT wins.",
    ).tag(config=True)
    inject_key = List(
        Unicode(),
        help="Hosts whose POST and PATCH requests get an Idempotency-Key from the journal. The "
        "variable DURABLE_INJECT_KEY wins.",
    ).tag(config=True)
    journal_max_bytes = Int(
        help="How large a run may become before that is told (0: 10 GB). The variable "
        "DURABLE_JOURNAL_MAX_BYTES wins.",
    ).tag(config=True)
    key_hours = Dict(
        value_trait=Float(),
        key_trait=Unicode(),
        help="Hours for which a host remembers an Idempotency-Key; 24 unless it is listed. The "
        "variable DURABLE_KEY_HOURS wins.",
    ).tag(config=True)

    session: CapturingSession
    shell: Any
    parent: Any
    io_loop: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run: runtime.Run | None = None
        self.refusal: BaseException | None = None
        self.restoration = Restoration(self)
        self.backlog = Backlog(self)
        self.from_the_top = FromTheTop(self)
        self.replacement = Replacement(self)
        self.performer = Performer(self)
        self.direct = DirectAnswers(self)
        self.beside = Beside(self)
        self.control = BesideOnControl(self)
        self.comms = Comms(self)
        self._has_asked_to_restore = False
        self.shell.events.register("pre_run_cell", lambda _info: self.performer.enter_task())
        record_scripts(self)
        record_shelf(self.shell)
        self._info = self._describe()
        trim_in(self.shell)
        register_magic(self)
        connect_thread(self.iopub_thread, self.session)
        refuse_unreachable(self.stdin_socket)
        self.has_subscriber = self.parent.has_subscriber

    # --- what the parts of this room need ---------------------------------------------------------

    @property
    def capture(self) -> Capture:
        return self.session.capture

    @property
    def run_id(self) -> str:
        assert self.run is not None, "cells are performed within a run only"
        return self.run.run_id

    @property
    def surroundings(self) -> runtime.Surroundings:
        """The hooks that were installed before IPython was imported."""
        surroundings: runtime.Surroundings = self.parent.surroundings
        return surroundings

    @property
    def origin(self) -> Origin:
        """How this process was started, and what another one left to it."""
        origin: Origin = self.parent.origin
        return origin

    @property
    def connection_file(self) -> str:
        """Path of the connection file; its name may hold the server's kernel id."""
        return str(self.parent.abs_connection_file)

    @property
    def is_restoring(self) -> bool:
        return not self.restoration.is_done

    @property
    def is_busy(self) -> bool:
        """True while the main thread restores the run or runs a cell."""
        return self.is_restoring or self.performer.execution is not None

    def busy_parent(self) -> Mapping[str, Any]:
        """Whose work the main thread does: a request's, or nobody's. Safe from any thread."""
        return {} if self.is_restoring else self.performer.parent

    def settings(self) -> runtime.Settings:
        """Read the settings: environment first, then traitlets. Raises UsageError."""
        given = {
            "DURABLE_HOME": self.home,
            "DURABLE_DURABILITY": self.durability,
            "DURABLE_IN_DOUBT": self.in_doubt,
            "DURABLE_RESUME": self.resume,
            "DURABLE_JOURNAL_MAX_BYTES": str(self.journal_max_bytes or ""),
            "DURABLE_REPEAT": ",".join(self.repeat),
            "DURABLE_INJECT_KEY": ",".join(self.inject_key),
            "DURABLE_KEY_HOURS": ",".join(f"{host}={h}" for host, h in self.key_hours.items()),
        }
        configured = {name: value for name, value in given.items() if value}
        return runtime.Settings.from_environ({**configured, **os.environ})

    def attach(self, run: runtime.Run) -> None:
        """Journal into this run from now on."""
        self.run = run
        self.shell.compile.enter_run(run.run_id)
        self.capture.attach(run)
        self.call_on_shell_thread(self.direct.watch)

    def refusal_now(self) -> BaseException | None:
        """Why no user code may run: the run did not open, its replay stopped, or it is latched."""
        if self.refusal is not None:
            return self.refusal
        return self.run.latch if self.run is not None else None

    def refuse_from_now(self, error: BaseException) -> None:
        """Execute no more cells in this process."""
        self.refusal = error

    def restore_count(self, count: int | None) -> None:
        """Let the next cell have the number that the journal gave it."""
        if count is not None:
            self.shell.execution_count = count

    def publish(
        self, kind: str, content: Mapping[str, Any], parent: Mapping[str, Any] | None = None
    ) -> None:
        """Tell the user something beside the journal; by default under the current request."""
        parent = self.get_parent("shell") if parent is None else parent
        self.session.send_past_journal(self.iopub_socket, kind, content, parent)

    def publish_state(self, state: str, parent: Mapping[str, Any]) -> None:
        """Publish busy or idle; an empty parent means the kernel itself."""
        self.session.send_past_journal(
            self.iopub_socket, "status", {"execution_state": state}, parent
        )

    def send_reply(self, idents: Any, parent: Any, reply: dict[str, Any]) -> None:
        """Send the reply to a request of an earlier process. Its sender may be gone."""
        manager = self.shell_channel_thread.manager
        metadata = self.finish_metadata(parent, self.init_metadata(parent), reply)
        self.session.send(
            manager.get_subshell_to_shell_channel_socket(None),
            "execute_reply",
            reply,
            parent,
            ident=idents,
            metadata=json_clean(metadata),
        )

    def tell_notices(self) -> None:
        """Show the sentences that the user has to know, once, under the current request."""
        told = self.run.take_notices() if self.run is not None else []
        if told:
            text = "".join(f"durable: {sentence}\n" for sentence in told)
            self.publish("stream", {"name": "stderr", "text": text})

    def drain(self) -> None:
        """Hand everything that was printed so far to the session."""
        flush_all(self._stdout, self._stderr)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let SIGINT interrupt what runs inside, as it does during a request."""
        self.pre_handler_hook()
        try:
            yield
        finally:
            self.post_handler_hook()

    # --- start, messages, stop --------------------------------------------------------------------

    def start(self) -> None:
        """Start answering, and restore the run as the first thing of the main thread."""
        super().start()
        self.call_on_shell_thread(self._ask_to_restore)

    def _ask_to_restore(self) -> None:
        """Put the first message into the main thread's queue. Runs on the shell-channel thread."""
        if not self._has_asked_to_restore:
            self._has_asked_to_restore = True
            self.post(_RESTORE)
            for message in as_received(self.origin.handover):
                if not self.direct.take(message):
                    self.post(*message)

    def restore_again(self, choice: Choice, **options: Any) -> str:
        """Go on restoring after a stop, as the user decided. Runs on the shell-channel thread."""
        sentence = self.restoration.choose(choice, **options)
        self.post(_RESTORE)
        return sentence

    def call_on_shell_thread(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function on the shell-channel thread, soon. Safe from any thread."""
        self.shell_channel_thread.io_loop.add_callback(function, *arguments)

    def post(self, *frames: Any) -> None:
        """Put a message into the main thread's queue. Only on the shell-channel thread."""
        socket = self.shell_channel_thread.manager.get_shell_channel_to_subshell_socket(None)
        self.backlog.note(frames)
        socket.send_multipart(list(frames), copy=False)

    def shell_channel_thread_main(self, msg: Any) -> Any:
        """Answer here what must not wait; forward the rest, behind the order to restore."""
        self._ask_to_restore()
        if self.direct.take(msg):
            return None
        return self.backlog.forward(msg, super().shell_channel_thread_main(msg))

    async def dispatch_shell(
        self, msg: Any, /, subshell_id: str | None = None, *, concurrent: bool = False
    ) -> None:
        """Restore the run, or handle a request. Holds the lock that keeps requests in order."""
        order = bytes(msg[0].buffer) if len(msg) == 1 else b""
        if order in {_RESTORE, REPLACE}:
            await (self.restoration.run() if order == _RESTORE else self.replacement.carry_out())
            return
        if concurrent and not self.performer.is_live:
            async with self._main_asyncio_lock:  # a message of a widget, in its turn
                await self.dispatch_shell(msg, subshell_id)
            return
        self.backlog.begin(msg, is_beside=concurrent)
        await super().dispatch_shell(msg, subshell_id, concurrent=concurrent)
        if not (concurrent or self.run is None):
            self.run.look_around()

    def pre_handler_hook(self) -> None:
        """Let SIGINT raise KeyboardInterrupt, but never inside a journal write."""
        if self.backlog.is_in_cell:
            self.performer.hold()
        self.saved_sigint_handler = signal.signal(signal.SIGINT, self._on_sigint)

    def post_handler_hook(self) -> None:
        """Between requests nothing is to interrupt."""
        signal.signal(signal.SIGINT, self.saved_sigint_handler)
        self.performer.rest()

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        if self.run is None or self.run.latch is None:  # else it is how a stop wakes the cell
            self.performer.signals += 1
        if self.run is None:
            signal.default_int_handler(number, frame)
        else:
            self.run.interrupts.handler(number, frame)

    @contextmanager
    def _cancel_on_sigint(self, future: Any) -> Iterator[None]:
        """Cancel an async cell as the stock kernel does, but at once: its loop may sleep long."""
        with super()._cancel_on_sigint(future):
            cancel = signal.getsignal(signal.SIGINT)

            def count_and_cancel(number: int, frame: FrameType | None) -> None:
                self.performer.count_cancel()
                if callable(cancel):
                    cancel(number, frame)
                self.io_loop.asyncio_loop.call_soon_threadsafe(int)  # wakes the loop, does nothing

            signal.signal(signal.SIGINT, count_and_cancel)
            yield

    def do_shutdown(self, restart: bool) -> Any:
        """Note the stop before the cell ends: what it interrupts stays open. Control thread."""
        self.restoration.stopped_by_restart = restart  # before the look: the run may open now
        if self.run is not None:
            self.run.shutdown(restart=restart)
        return super().do_shutdown(restart)

    def close_run(self) -> None:
        """Write what waits and let go of the run. The process is about to end."""
        if self.run is not None:
            self.run.close()

    def post_restore(self) -> None:
        """Let the main thread restore, before what is posted later. On the shell-channel thread."""
        self.post(_RESTORE)

    # --- cells ------------------------------------------------------------------------------------

    async def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: Mapping[str, Any] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Mapping[str, Any] | None = None,
        cell_id: str | None = None,
    ) -> dict[str, Any]:
        """Run a request as a position of the run. Returns the reply after the commit (rule 4)."""
        asked = Asked(
            code, silent, store_history, user_expressions or {}, allow_stdin, cell_meta, cell_id
        )
        if self.control.is_for_this():
            return await self.control.execute(asked)
        try:
            return await self._execute(asked)
        finally:
            self.backlog.end()  # before the reply: who has it may ask for a rewind at once

    async def _execute(self, asked: Asked) -> dict[str, Any]:
        if self.replacement.is_due:
            await self.replacement.carry_out()
        refused = self.refusal_now()
        if refused is not None:
            return self.refuse(refused, asked)
        is_cell = bool(asked.code.strip())
        is_beside = asked.silent or not asked.store_history or not is_cell
        if not (is_cell or asked.user_expressions) or (is_beside and self.run is None):
            return await self.execute_stock(asked)
        assert self.run is not None, "without a run there is a refusal"
        if is_beside:
            return await self.beside.execute(self.run, asked)
        self.run.attend(can_ask=asked.allow_stdin)
        try:
            await self.beside.replay_waiting(self.run)
            answered = await self.from_the_top.take(asked)
            if answered is not None:
                return answered
            execution = self._next_execution(self.run, asked)
        except (DurableError, Stop) as error:
            return self.refuse(error, asked)
        performance = await self.performer.perform(execution, asked, is_shown=True)
        reply = performance.reply
        if execution.is_kept and performance.is_final and self.run.latch is None:
            reply = await self.from_the_top.answer_kept(self.run, execution.position)
        self.tell_notices()
        return reply

    def _publish_execute_input(self, code: str, parent: Any, execution_count: int) -> None:
        """Show the number that a cell is going to have."""
        cell_id = (parent.get("metadata") or {}).get("cellId")
        known = self.from_the_top.number_of(code, cell_id)
        super()._publish_execute_input(code, parent, execution_count if known is None else known)

    def _next_execution(self, run: runtime.Run, asked: Asked) -> runtime.CellExecution:
        """Decide what a request is: a new position, or what `match_cell` makes of it."""
        request = self.performer.request(asked)
        if run.settings.resume is not runtime.Resume.MATCH:
            return run.start_cell(request)
        content = self.get_parent("shell").get("content") or {}
        return run.match_cell(request, expects_error=not content.get("stop_on_error", True))

    async def execute_stock(self, asked: Asked) -> dict[str, Any]:
        """Run a request as the stock kernel does."""
        reply: dict[str, Any] = await super().do_execute(
            asked.code,
            asked.silent,
            asked.store_history,
            dict(asked.user_expressions),
            asked.allow_stdin,
            cell_meta=asked.cell_meta,
            cell_id=asked.cell_id,
        )
        return reply

    def refuse(self, error: BaseException, asked: Asked) -> dict[str, Any]:
        reply = refusal(error, self.shell.execution_count - 1)
        if not asked.silent:
            self.publish("error", error_content(reply))
        return reply

    # --- what a user types ------------------------------------------------------------------------

    def raw_input(self, prompt: object = "") -> str:
        """Ask the user, or take the recorded answer."""
        read = partial(self._read_line, str(prompt), is_secret=False)
        lane = CURRENT_LANE.get()
        return read() if lane is None else prompts.ask(lane, str(prompt), read, secret=False)

    def getpass(self, prompt: str = "", stream: Any = None, **_options: Any) -> str:
        """Ask for a secret, or take the recorded answer; the journal keeps it encrypted.

        As in the stock kernel, `stream` and the options of a terminal mean nothing here.
        """
        read = partial(self._read_line, str(prompt), is_secret=True)
        lane = CURRENT_LANE.get()
        return read() if lane is None else prompts.ask(lane, str(prompt), read, secret=True)

    def _read_line(self, prompt: str, *, is_secret: bool) -> str:
        if not self._allow_stdin:
            name = "getpass" if is_secret else "raw_input"
            raise StdinNotImplementedError(
                f"{name} was called, but this frontend does not support input requests."
            )
        flush_all(self._stdout, self._stderr)
        return ask_client(self, prompt, self._receiver, is_secret=is_secret)

    def _receiver(self) -> Receiver:
        """Who is to be asked: the client that attached to the cell last, else its own."""
        member = self.restoration.audience.newest()
        if member is not None:
            return member.idents, member.message
        idents = self._get_shell_context_var(self._shell_parent_ident)
        return idents, self.get_parent("shell")

    # --- what is not offered ----------------------------------------------------------------------

    @property
    def kernel_info(self) -> dict[str, Any]:
        """Say what the stock kernel says, less subshells. Made once, before the run is opened."""
        return self._info  # the banner's tip of the day is drawn from what is the user's later (H9)

    def _describe(self) -> dict[str, Any]:
        info: dict[str, Any] = super().kernel_info
        offered = [each for each in info["supported_features"] if each != "kernel subshells"]
        return {**info, "supported_features": offered}

    async def create_subshell_request(self, socket: Any, ident: Any, parent: Any) -> None:
        """Refuse: cells of two subshells run at once, and their effects have no order to replay."""
        reply = {"status": "error", "evalue": "a durable kernel runs one cell at a time"}
        self.session.send(socket, "create_subshell_reply", reply, parent, ident)
