"""Control: code that is no part of the run, because it comes another way than cells do.

on the control channel   ipykernel executes it on the control thread while a cell may be running
                         on the main one, so it has no place among the positions: nothing of it
                         is journaled, and the next cell says so, once. While the run restores,
                         or may execute nothing, it is refused as a cell would be
of the kernel itself     it starts debugpy so: a server and an adapter, which are no acts of the
                         notebook's, and which no replay needs
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from durable_kernel.errors import RunSuspendedError
from durable_kernel.kernel.performing import Asked
from durable_kernel.ports import INSIDE_EFFECT

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["BesideOnControl"]

_TOLD = (
    "code that came on the control channel ran beside the cells, which is not journaled: cells "
    "that use what it changed cannot be restored."
)


class BesideOnControl:
    """Takes what is not journaled."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._has_told = False

    def is_for_this(self) -> bool:
        """Tell whether the request that is being handled came one of these ways."""
        return threading.current_thread() is self._kernel.control_thread or self._is_own()

    def _is_own(self) -> bool:
        kernel = self._kernel
        header = kernel.get_parent("shell").get("header") or {}
        return bool(header.get("session") == kernel.session.session)

    async def execute(self, asked: Asked) -> dict[str, Any]:
        """Run a request as the stock kernel does. Returns the reply."""
        kernel = self._kernel
        if threading.current_thread() is not kernel.control_thread:
            token = INSIDE_EFFECT.set(True)
            try:
                return await kernel.execute_stock(asked)
            finally:
                INSIDE_EFFECT.reset(token)
        refused = kernel.refusal_now()
        if refused is None and kernel.is_restoring:
            refused = RunSuspendedError("the run is being restored; nothing runs beside that.")
        if refused is not None:
            return kernel.refuse(refused, asked)
        if not self._has_told and kernel.run is not None and asked.code.strip():
            self._has_told = True
            kernel.run.tell(_TOLD)
        return await kernel.execute_stock(asked)
