"""Provisioner: what a server saw of a kernel's end, handed to the next process. Optional.

Runs in the server, not in the kernel: it must be installed there (`durable install --provisioner`),
and it starts no hooks. A kernel does without it: it reads what its journal and its hints say.
"""

from __future__ import annotations

import os
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

__all__ = ["DurableProvisioner"]

_REASON = "DURABLE_REASON"
_EXIT = "DURABLE_PREV_EXIT"


class DurableProvisioner(LocalProvisioner):
    """Launches as the stock one does, and tells each process but the first how the last one ended.

    DURABLE_REASON is "crash", "user-restart" or "shutdown"; DURABLE_PREV_EXIT is the exit status,
    negative for a signal.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._has_launched = False
        self._asked = ""
        self._exit_status: int | None = None

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Note that the end was asked for."""
        self._asked = "user-restart" if restart else "shutdown"
        await super().shutdown_requested(restart)

    async def poll(self) -> int | None:
        """Note the exit status; the stock one forgets it."""
        status = await super().poll()
        if self.process is not None and status is not None:
            self._exit_status = status
        return status

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Put what is known into the environment of the next process, and forget it."""
        given = kwargs.get("env") or os.environ
        env = {name: value for name, value in given.items() if name not in (_REASON, _EXIT)}
        if self._has_launched:
            env[_REASON] = self._asked or "crash"
            if self._exit_status is not None:
                env[_EXIT] = str(self._exit_status)
        self._has_launched, self._asked, self._exit_status = True, "", None
        return await super().pre_launch(**{**kwargs, "env": env})
