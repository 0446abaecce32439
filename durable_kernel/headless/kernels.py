"""Kernels of runners: this very interpreter's, spoken to through sockets that are files.

A port of TCP is chosen by binding and letting go of it, so another process may have it by the time
the kernel binds it. A file in a folder of our own is nobody else's.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

__all__ = ["OUTPUT_S_MAX", "OwnKernelManager"]

OUTPUT_S_MAX = 600
"""How long a living kernel may take from its reply to the last output of the cell. After nbclient's
four seconds what is on its way would be missing in the notebook; a dead one is noticed anyway."""

_SOCKET_PATH_BYTES_MAX = 90
"""A socket's path has at most 104 bytes on macOS, 108 on Linux; "-5" and a spare are to fit."""


class OwnKernelManager(AsyncKernelManager):
    """Starts a kernel of this very interpreter: no kernelspec has to be installed."""

    @default("transport")
    def _files_where_they_fit(self) -> str:
        is_short = len(tempfile.gettempdir().encode()) + len("/durable-12345678/k") < (
            _SOCKET_PATH_BYTES_MAX
        )
        return "ipc" if is_short and sys.platform != "win32" else "tcp"

    @default("ip")
    def _folder_of_its_own(self) -> str:
        if self.transport != "ipc":
            return super()._ip_default()
        return str(Path(tempfile.mkdtemp(prefix="durable-")) / "k")

    @default("transport_encryption")
    def _encrypt_where_possible(self) -> str:
        return "auto"

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-m", "durable_kernel", "-f", "{connection_file}"],
            display_name="Python 3 (durable)",
            language="python",
            interrupt_mode="signal",
            metadata={"supported_encryption": ["curve"]},
        )

    def cleanup_ipc_files(self) -> None:
        """Remove the sockets, and the folder that was made for them."""
        super().cleanup_ipc_files()
        if self.transport == "ipc":
            with suppress(OSError):
                Path(self.ip).parent.rmdir()
