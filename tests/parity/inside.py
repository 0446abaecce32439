"""A pytest plugin for ipykernel's own suite: which kernel it meets, and how each test ends.

Loaded with `-p inside` and this folder on the path, because the suite brings a package `tests` of
its own. PARITY_OUTCOMES names the file that the outcomes go to. With PARITY_KERNEL=durable the
suite's own kernels and applications, made in its process, are ours: the names that it imports mean
our classes. The kernels that it starts as processes are chosen by the kernelspec that is found.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

OUTCOMES = "PARITY_OUTCOMES"
KERNEL = "PARITY_KERNEL"


class Collector:
    """The outcome of each test by its id, and why it was none to be glad of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst of a test's three phases."""
        outcome = _outcome(report)
        if outcome is not None and self.outcomes.get(report.nodeid) not in {"failed", "error"}:
            self._keep(report, outcome)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported counts as one test with an error."""
        if report.failed:
            self._keep(report, "error")

    def pytest_sessionfinish(self) -> None:
        found = {"outcomes": self.outcomes, "reasons": self.reasons}
        self._path.write_text(json.dumps(found))

    def _keep(self, report: Any, outcome: str) -> None:
        self.outcomes[report.nodeid] = outcome
        if outcome in {"failed", "error"}:
            self.reasons[report.nodeid] = str(report.longreprtext)[-2000:]


def _outcome(report: pytest.TestReport) -> str | None:
    """Name the outcome of a phase; None for one that says nothing."""
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if report.when != "call":
        return None
    return "xpassed" if hasattr(report, "wasxfail") else "passed"


def put_ours_in_place() -> list[Any]:
    """Let the names that the suite imports mean our classes. Returns the kernels made by then on.

    The hooks go first, as when a kernel starts. What makes kernels of other kinds (in-process,
    embedded) keeps the stock classes: it was imported before.
    """
    from durable_kernel import runtime

    surroundings = runtime.prepare()

    import ipykernel.embed
    import ipykernel.inprocess.ipkernel  # noqa: F401 - imported to be before ours
    import ipykernel.ipkernel as kernels
    import ipykernel.kernelapp as applications

    made: list[Any] = []
    application = _application_class(surroundings)
    embedded: Any = applications.IPKernelApp
    embedded.kernel_class.default_value = kernels.IPythonKernel
    setattr(applications, "IPKernelApp", application)  # noqa: B010 - a class, to mypy
    setattr(kernels, "IPythonKernel", _kernel_class(application, made))  # noqa: B010 - as above
    return made


def _application_class(surroundings: Any) -> Any:
    """Make our application with what `launch` gives to it.

    The suite skips the stock `initialize` by `super(IPKernelApp, app)`; so each of the two steps is
    where it would be found there.
    """
    from ipykernel.kernelapp import IPKernelApp

    from durable_kernel.kernel.app import DurableKernelApp
    from durable_kernel.kernel.replacing import Origin

    origin_of_suite = Origin.of_process()

    class Skipped(DurableKernelApp):
        def initialize(self, argv: Any = None) -> None:
            super(IPKernelApp, self).initialize(argv)

    class Application(Skipped):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.surroundings, self.origin = surroundings, origin_of_suite
            self.has_subscriber = threading.Event()
            self.has_subscriber.set()  # nobody waits below sockets that nobody connects to

        def initialize(self, argv: Any = None) -> None:
            IPKernelApp.initialize(self, argv)

    return Application


def _kernel_class(application_class: Any, made: list[Any]) -> Any:
    """Make our kernel, below an application. Its run is restored before its first message."""
    from durable_kernel.kernel.kernel import DurableKernel
    from durable_kernel.kernel.outputs import CapturingSession

    class KernelOfSuite(DurableKernel):
        def __init__(self, **given: Any) -> None:
            application = application_class()
            self.session = CapturingSession(parent=application)
            super().__init__(parent=application, **given)
            made.append(self)

        def call_on_shell_thread(self, function: Any, *arguments: Any) -> None:
            """There is no such thread below the suite's sockets; its loop does that work, too."""
            self.io_loop.add_callback(function, *arguments)

        def post(self, *frames: Any) -> None:
            self.io_loop.add_callback(self.dispatch_shell, [zmq.Frame(each) for each in frames])

        async def dispatch_shell(self, msg: Any, /, *where: Any, **how: Any) -> None:
            if not self.restoration.is_done:
                await self.restoration.run()
            await super().dispatch_shell(msg, *where, **how)

    return KernelOfSuite


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Collector(Path(os.environ[OUTCOMES])), "outcomes")


class OursInPlace:
    """Closes the runs of the kernels that a test made."""

    def __init__(self) -> None:
        self._made = put_ours_in_place()

    @pytest.fixture(autouse=True)
    def _closed(self) -> Iterator[None]:
        yield
        while self._made:
            self._made.pop().close_run()


if os.environ.get(KERNEL) == "durable":
    OURS = OursInPlace()
    _closed = OURS._closed
