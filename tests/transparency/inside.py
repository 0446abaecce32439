"""What a cell holds: run a test suite in this very process, and show how each test ended.

This file is sent as the source of a cell, with a call of `run_suite` behind it; it is not imported,
because the suites bring a package `tests` of their own. So it knows nothing of ours.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from IPython.display import display

MIME_TYPE = "application/vnd.durable-transparency"


class Collector:
    """A pytest plugin: the outcome of each test by its id, and why it was none to be glad of."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst of a test's three phases."""
        outcome = _outcome(report)
        if outcome is None or self.outcomes.get(report.nodeid) in ("failed", "error"):
            return
        self._keep(report, outcome)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported counts as one test with an error."""
        if report.failed:
            self._keep(report, "error")

    def _keep(self, report: Any, outcome: str) -> None:
        self.outcomes[report.nodeid] = outcome
        if outcome in ("failed", "error"):
            self.reasons[report.nodeid] = report.longreprtext[-2000:]


def _outcome(report: pytest.TestReport) -> str | None:
    """Name the outcome of a phase; None for one that says nothing."""
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if report.when != "call":
        return None
    return "xpassed" if hasattr(report, "wasxfail") else "passed"


def run_suite(folder: str, arguments: list[str]) -> None:
    """Run pytest in `folder`; display the outcomes as one bundle.

    The kernel's own event loop is hidden meanwhile: the suites start loops, which Python refuses
    where one is running. That is the same in both kernels. The bundle is packed, because a durable
    kernel masks in outputs what the environment calls a secret, and tests have such ids.
    """
    collector = Collector()
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    before = Path.cwd()
    os.chdir(folder)
    asyncio._set_running_loop(None)
    try:
        status = pytest.main(["-p", "no:cacheprovider", *arguments], plugins=[collector])
    finally:
        asyncio._set_running_loop(loop)
        asyncio.set_event_loop(loop)
        os.chdir(before)
    found = {
        "status": int(status),
        "seconds": time.perf_counter() - started,
        "outcomes": collector.outcomes,
        "reasons": collector.reasons,
    }
    packed = base64.b64encode(zlib.compress(json.dumps(found).encode())).decode()
    display({MIME_TYPE: packed, "text/plain": f"{len(collector.outcomes)} tests"}, raw=True)
