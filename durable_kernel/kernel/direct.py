"""Direct answers: what the shell-channel thread says by itself while the main thread is busy (H35).

    kernel_info_request   while the run restores or a call is in doubt, so that a websocket opens at
                          once however long that takes; else in its turn, as in the stock kernel
    %durable lines        always: they are about the run, not the namespace, and are no positions

Everything else goes to the main thread, in order. An answer ends with status idle, as protocol and
clients need it; while the main thread works, busy is said again behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipykernel.jsonutil import json_clean

from durable_kernel.errors import DurableError, Stop
from durable_kernel.kernel.audience import Member
from durable_kernel.kernel.channels import look_for_subscribers
from durable_kernel.kernel.commands import answer, durable_lines
from durable_kernel.kernel.performing import error_content, refusal

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["DirectAnswers"]

_TICK_S = 0.25

_SUBSCRIBER_TRIES = 100
_SUBSCRIBER_RETRY_S = 0.05
"""A client that outlived a restart connects again each 0.1 s, each of its sockets for itself."""


class DirectAnswers:
    """Lives on the shell-channel thread."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._doubt = ""
        self._unheard: dict[asyncio.Task[None], tuple[Any, Any, Sequence[str]]] = {}
        self._is_watching = False

    def take(self, frames: Sequence[Any]) -> bool:
        """Answer a message, if it is one to answer here. False: it goes to the main thread.

        A message that does not verify goes there too, and is logged there.
        """
        kernel = self._kernel
        is_quiet = not kernel.is_busy and not kernel.restoration.is_unbound
        if is_quiet and not any(b"%durable" in frame.bytes for frame in frames):
            return False
        idents, parts = kernel.session.feed_identities(list(frames), copy=False)
        try:
            message = kernel.session.deserialize(parts, content=False, copy=False)
            kind = message["header"]["msg_type"]
            if kind == "kernel_info_request":
                return self._answer_info(idents, message)
            if kind != "execute_request":
                return False
            message["content"] = kernel.session.unpack(message["content"])
            lines = durable_lines(message["content"]["code"])
        except (KeyError, TypeError, ValueError):
            return False
        if lines is None:
            if kernel.restoration.is_unbound and _is_cell(message["content"]):
                kernel.restoration.bind_late()
            if kernel.restoration.is_done:
                return False
            kernel.restoration.progress.wait(message)
            return kernel.restoration.audience.join(Member(idents, message, frames))
        if kernel.has_subscriber.is_set():
            self._answer_lines(idents, message, lines)
        else:
            self._answer_soon(idents, message, lines)
        return True

    async def watch(self) -> None:
        """While the main thread is busy restoring, or parked in a call, say so: it cannot.

        Begun when the run is open: monotonic clocks go on from where the run's last process was,
        so a timer from before would be late by all the time that nobody was there (H15).
        """
        if self._is_watching:
            return
        self._is_watching, kernel = True, self._kernel
        for answering, question in list(self._unheard.items()):
            answering.cancel()
            self._answer_soon(*question)
        while True:
            await asyncio.sleep(_TICK_S)
            run = kernel.run
            if run is None or not kernel.is_busy:
                continue
            if kernel.is_restoring:
                kernel.restoration.progress.tick()
            waiting = run.status()["in_doubt"] if run.state == "in doubt" else []
            doubt = "\n".join(str(each["what"]) for each in waiting)
            if doubt == self._doubt:
                continue
            self._doubt = doubt
            kernel.restoration.progress.doubt(doubt)
            if doubt:
                told = {"name": "stderr", "text": f"durable: {doubt}\n"}
                kernel.publish("stream", told, kernel.performer.parent)

    def _answer_info(self, idents: Any, message: Any) -> bool:
        kernel = self._kernel
        is_parked = kernel.run is not None and kernel.run.state == "in doubt"
        if not kernel.is_restoring and not is_parked:
            return False
        kernel.publish_state("busy", message)
        content = {"status": "ok", **kernel.kernel_info}
        kernel.session.send(
            kernel.shell_stream, "kernel_info_reply", content, message, ident=idents
        )
        self._go_idle(message)
        return True

    def _answer_soon(self, idents: Any, message: Any, lines: Sequence[str]) -> None:
        answering = asyncio.create_task(self._answer_once_heard(idents, message, lines))
        self._unheard[answering] = idents, message, lines
        answering.add_done_callback(self._unheard.pop)

    async def _answer_once_heard(self, idents: Any, message: Any, lines: Sequence[str]) -> None:
        """Answer when somebody listens: what is published before, its end too, reaches nobody."""
        for _ in range(_SUBSCRIBER_TRIES):
            if self._kernel.has_subscriber.is_set():
                break
            look_for_subscribers(self._kernel.iopub_thread)
            await asyncio.sleep(_SUBSCRIBER_RETRY_S)
        self._answer_lines(idents, message, lines)

    def _answer_lines(self, idents: Any, message: Any, lines: Sequence[str]) -> None:
        kernel = self._kernel
        asked = message["content"]
        count = kernel.shell.execution_count - 1
        reply: dict[str, Any] = {
            "status": "ok",
            "execution_count": count,
            "user_expressions": {},
            "payload": [],
        }
        kernel.publish_state("busy", message)
        if not asked.get("silent"):
            shown = {"code": asked["code"], "execution_count": count}
            kernel.publish("execute_input", shown, message)
        for line in lines:
            try:
                content = {"data": answer(kernel, line).bundle(), "metadata": {}, "transient": {}}
                kernel.publish("display_data", content, message)
            except (DurableError, Stop) as error:
                reply = refusal(error, count)
                kernel.publish("error", error_content(reply), message)
                break
        metadata = json_clean(kernel.finish_metadata(message, kernel.init_metadata(message), reply))
        kernel.session.send(
            kernel.shell_stream, "execute_reply", reply, message, ident=idents, metadata=metadata
        )
        self._go_idle(message)

    def _go_idle(self, message: Any) -> None:
        kernel = self._kernel
        kernel.publish_state("idle", message)
        if kernel.is_busy:
            kernel.publish_state("busy", kernel.busy_parent())


def _is_cell(asked: Mapping[str, Any]) -> bool:
    """Tell whether an execute request is one of the user's cells, as `do_execute` sees it."""
    is_beside = asked.get("silent") or not asked.get("store_history", True)
    return not is_beside and bool(str(asked["code"]).strip())
