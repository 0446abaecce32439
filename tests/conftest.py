"""What holds for every test: nothing of the user's is touched, and a skip is never silent.

A test that needs a program from the system says `@pytest.mark.needs_tool("name")`. Where the
program is missing the test is skipped, and the run ends with a count and the Debian packages that
would help. Under DURABLE_REQUIRE_TOOLS=1 (`.ci/run`) every skip fails, but for those whose reason
begins with "only on": they name a platform or an interpreter that no package can supply.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import hypothesis
import pytest

PACKAGES = Path(__file__).parent.parent / ".ci" / "debian-packages"
ALLOWED_REASON = "only on "
NEEDS = "needs "

# Two busy cores make any deadline a coin toss, and a change has to meet the cases its review met.
# HYPOTHESIS_PROFILE=explore draws new ones, for a machine that has a night.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))

exit_status = pytest.StashKey[int]()
THREADS_END_S = 10.0


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs_tool"):
        (tool,) = marker.args
        if shutil.which(tool) is None:
            pytest.skip(f"{NEEDS}{tool}")


def _is_required() -> bool:
    return os.environ.get("DURABLE_REQUIRE_TOOLS") == "1"


def _reasons(config: pytest.Config) -> list[str]:
    """Return why each skipped test, or whole file, was skipped; expected failures are no skips."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    return [report.longrepr[2].removeprefix("Skipped: ") for report in reports]


def _unexcused(config: pytest.Config) -> list[str]:
    return [reason for reason in _reasons(config) if not reason.startswith(ALLOWED_REASON)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _is_required() and _unexcused(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    session.config.stash[exit_status] = int(session.exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Never hang after the last test: a thread that a broken test left behind ends the process.

    The interpreter would wait for it, and whoever waits for the interpreter would see no result.
    """
    ends_at = time.monotonic() + THREADS_END_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(ends_at - time.monotonic(), 0))
            if thread.is_alive():
                sys.stdout.flush()
                print(f"a test left a thread that does not end: {thread.name}", file=sys.stderr)
                faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
                os._exit(config.stash.get(exit_status, 0) or int(pytest.ExitCode.INTERNAL_ERROR))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    skipped = _reasons(config)
    if not skipped:
        return
    terminalreporter.section("skipped")
    terminalreporter.line(
        f"skipped: {len(skipped)}, of these for want of what could be there: "
        f"{len(_unexcused(config))}"
    )
    # By their reasons, because a test may have run in another process (`-n`).
    tools = {reason.removeprefix(NEEDS) for reason in skipped if reason.startswith(NEEDS)}
    if tools:
        packages = dict(
            line.split()
            for line in PACKAGES.read_text().splitlines()
            if line and not line.startswith("#")
        )
        wanted = sorted({packages.get(tool, tool) for tool in tools})
        terminalreporter.line(f"as root: apt-get install {' '.join(wanted)}")
    if _is_required() and _unexcused(config):
        terminalreporter.line("DURABLE_REQUIRE_TOOLS=1: a skip is a failure", red=True)


@pytest.fixture(autouse=True)
def _home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a store of its own, and none of the settings of the shell that started it."""
    for name in [name for name in os.environ if name.startswith("DURABLE_")]:
        if name != "DURABLE_REQUIRE_TOOLS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("DURABLE_HOME", str(tmp_path / "durable-home"))
