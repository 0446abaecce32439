"""Comms: messages of widgets run user code, so they are inputs of the run (H38).

    between cells                a position of its own: recorded, and replayed through the stock
                                 comm manager, to the comm of the same id
    while a cell waits for it    it runs at once, as in the stock kernel; the cell's position is
                                 tainted, since no replay can tell at which of its awaits it came
    while the run restores       it waits for its turn

Ids of comms are drawn from recorded entropy, so a replayed cell makes the same ones. Messages that
run no code of the user's pass: requests for the state of widgets, and those to comms nobody knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ipykernel.jsonutil import json_clean

from durable_kernel.errors import DurableError, Stop
from durable_kernel.history import COMM
from durable_kernel.kernel.performing import Asked, wire_header
from durable_kernel.runtime import CellRequest, Run

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["Comms"]

_KINDS = ("comm_open", "comm_msg", "comm_close")
_QUESTIONS = frozenset({"request_state", "request_states"})
_CONTROL = "jupyter.widget.control"


class Comms:
    """Takes the place of the stock handlers, and calls them."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._stock: dict[str, Callable[[Any, Any, Any], None]] = {
            kind: kernel.shell_handlers[kind] for kind in _KINDS
        }
        for kind in _KINDS:
            kernel.shell_handlers[kind] = self._handle

    async def _handle(self, stream: Any, idents: Any, message: dict[str, Any]) -> None:
        """Handle one message of a front end."""
        kernel, kind = self._kernel, message["header"]["msg_type"]
        run = kernel.run
        if run is None or not self._runs_code(kind, message["content"]):
            self._stock[kind](stream, idents, message)
            return
        if kernel.refusal_now() is not None:
            return  # as for a cell: nothing runs past the journal
        if kernel.performer.execution is not None:
            what = "ran what a widget's message asked for, while it waited"
            run.world.crossing(what, is_act=True)
            self._stock[kind](stream, idents, message)
        elif run.next_recorded() is not None:
            run.tell(
                "a widget's message came while recorded cells were still to come; what it did is "
                "not journaled, so cells that depend on it cannot be restored."
            )
            self._stock[kind](stream, idents, message)
        else:
            await self._perform(run, kind, idents, message)

    async def _perform(self, run: Run, kind: str, idents: Any, message: dict[str, Any]) -> None:
        """Run a message as an input. There is no reply; what went wrong is in the log, as ever."""
        kernel = self._kernel
        told = {each: json_clean(message.get(each) or {}) for each in ("content", "metadata")}
        request = CellRequest(
            source=json.dumps({"msg_type": kind, **told}),
            parent_header=wire_header(message["header"]),
            idents=[idents] if isinstance(idents, bytes) else list(idents),
            execution_count=kernel.shell.execution_count,
            kind=COMM,
            buffers=[bytes(each) for each in message.get("buffers") or ()],
        )
        try:
            execution = run.start_input(request)
        except (DurableError, Stop) as error:
            run.tell(str(error))
            return
        await kernel.performer.perform(execution, Asked(request.source), is_shown=True)

    def deliver(self, request: CellRequest) -> dict[str, Any]:
        """Hand a recorded message to the stock handler. Returns a reply that nobody gets."""
        told = json.loads(request.source)
        kind, content = told["msg_type"], told["content"]
        header: Mapping[str, Any] = {**request.parent_header, "msg_type": kind}
        message = {
            "header": header,
            "msg_id": header.get("msg_id"),
            "msg_type": kind,
            "parent_header": {},
            "metadata": told["metadata"],
            "content": content,
            "buffers": [memoryview(each) for each in request.buffers],
        }
        kernel = self._kernel
        if not self._runs_code(kind, content) and kernel.run is not None:
            kernel.run.tell(
                "a widget's message that is recorded found no widget: the cell that makes it came "
                "out differently."
            )
        self._stock[kind](kernel.shell_stream, request.idents, message)
        return {"status": "ok", "execution_count": kernel.shell.execution_count - 1}

    def _runs_code(self, kind: str, content: Mapping[str, Any]) -> bool:
        manager = self._kernel.comm_manager
        if kind == "comm_open":
            target = content.get("target_name")
            return target != _CONTROL and target in manager.targets
        comm = manager.comms.get(str(content.get("comm_id")))
        if comm is None or comm.target_name == _CONTROL:
            return False
        told = content.get("data")
        return not (isinstance(told, dict) and told.get("method") in _QUESTIONS)
