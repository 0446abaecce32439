"""The application: ipykernel's, with our session, streams and kernel in it.

It keeps the name and the configuration of the stock one: `ipython_kernel_config.py` applies, and
libraries that look for `IPKernelApp` in the configuration find it.
"""

from __future__ import annotations

import errno
import threading
import time
from typing import Any

import zmq
from ipykernel.kernelapp import IPKernelApp
from traitlets import DottedObjectName, Instance, List, Type, default, observe

from durable_kernel import runtime
from durable_kernel.kernel.channels import Ports
from durable_kernel.kernel.kernel import DurableKernel
from durable_kernel.kernel.outputs import CapturingSession, watch_subscribers
from durable_kernel.kernel.replacing import Origin

__all__ = ["DurableKernelApp", "launch"]

_BIND_TRIES_REPLACED = 50
_BIND_TRIES = 20
_BIND_RETRY_S = 0.1


class DurableKernelApp(IPKernelApp):
    """Starts a `DurableKernel`."""

    outstream_class = DottedObjectName(
        "durable_kernel.kernel.streams.DrainableStream",
        help="The importstring for the OutStream factory",
        allow_none=True,
    ).tag(config=True)
    kernel_class: Any = Type(
        DurableKernel, klass="ipykernel.kernelbase.Kernel", help="The kernel that is started."
    ).tag(config=True)
    session = Instance(CapturingSession)
    classes = List([*IPKernelApp.classes, DurableKernel])

    surroundings: runtime.Surroundings
    """The hooks that this process was started with; the kernel asks for them."""
    origin: Origin
    """How this process was started."""
    kept_ports = Instance(Ports, ())
    has_subscriber: threading.Event
    """Set once somebody listens to IOPub."""

    def init_sockets(self) -> None:
        """Open the sockets, and keep their ports where a launcher chose them."""
        handover = self.origin.handover
        if handover is not None:
            self.kept_ports = Ports(handover.ports)
            self.kept_ports.outlive_exec(outlives=False)
        elif self.transport == "tcp":
            named = (self.shell_port, self.iopub_port, self.stdin_port, self.control_port)
            self.kept_ports = Ports.taken(self.ip, [*named, self.hb_port])
        super().init_sockets()

    @observe("iopub_thread")
    def _watch_subscribers(self, change: Any) -> None:
        """Look who comes to IOPub before its thread starts: a client may be there at once."""
        if change["new"] is not None:
            self.has_subscriber = watch_subscribers(change["new"])

    def _try_bind_socket(self, s: Any, port: int) -> Any:
        """Bind, and try again for a while where the port is taken.

        A launcher chooses ports by binding and letting go of them, so a connection of somebody else
        may have one just now. A process that was replaced tries longer: they were its own.
        """
        tries = _BIND_TRIES if self.origin.handover is None else _BIND_TRIES_REPLACED
        while True:
            try:
                return super()._try_bind_socket(s, port)
            except zmq.ZMQError as error:
                if error.errno != errno.EADDRINUSE or not tries:
                    raise
            tries -= 1
            time.sleep(_BIND_RETRY_S)

    @default("session")
    def _default_session(self) -> CapturingSession:
        return CapturingSession(parent=self)

    def start(self) -> Any:
        """Run until the kernel is asked to stop, then let go of its run."""
        try:
            return super().start()
        finally:
            if isinstance(self.kernel, DurableKernel):
                self.kernel.close_run()


def launch(argv: list[str], surroundings: runtime.Surroundings, origin: Origin) -> None:
    """Run the kernel that `argv` describes; returns when it stops."""
    app = DurableKernelApp.instance()
    app.surroundings = surroundings
    app.origin = origin
    app.initialize(argv)
    app.start()
