"""Run ipykernel's own test-suite against the stock kernel and against the durable one.

`make parity`, or `python -m tests.parity.suite`. The suite is that of the installed version; pip
brings its source archive, and nothing of it is kept in this repository. Each test has to end with
the durable kernel as it ends with the stock one, but for those in `expected.toml`, each with its
reason. What seems to differ is run again: only what differs each time counts. The exit status is 1
on any finding, and 2 where the suite could not be run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from durable_kernel.kernel.install import install
from tests.parity import inside
from tests.parity.expected import expected_of, read_listed
from tests.transparency.compare import Difference, Verdict, differences, judge

__all__ = ["Compared", "NotRunError", "Ran", "compare", "fetch", "main", "run", "unpack"]

EXPECTED = Path(__file__).with_name("expected.toml")
KERNELS = ("stock", "durable")
LOOKS = 3
"""So often something has to differ before it counts."""

SLICE = (
    "tests/test_async.py",
    "tests/test_ipkernel_direct.py",
    "tests/test_kernel_direct.py",
    "tests/test_kernelapp.py",
    "tests/test_message_spec.py",
    "tests/test_start_kernel.py",
)
PASSED_MIN = {True: 70, False: 200}
"""With fewer passing in the stock kernel, by whether it is a slice, this machine can't tell."""

_SUITE_S = 900.0
_OPTIONS = (
    *("-q", "-p", "inside", "-p", "no:cacheprovider", "--color=no", "--tb=short"),
    *("--no-showlocals", "-o", "log_cli=false"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),
)


class NotRunError(Exception):
    """The suite could not be had, or pytest could not be started with it."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What the suite brought with one kernel."""

    outcomes: Mapping[str, str]
    reasons: Mapping[str, str]
    seconds: float

    def count(self, outcome: str) -> int:
        return sum(each == outcome for each in self.outcomes.values())


@dataclass(frozen=True, slots=True)
class Compared:
    """The suite with both kernels."""

    ran: Mapping[str, Ran]
    verdict: Verdict
    unsteady: tuple[Difference, ...]
    passed_min: int

    def findings(self) -> list[str]:
        """Return what is wrong, a sentence each."""
        found = [f"unexpected: {each}" for each in self.verdict.unexpected]
        found += [f"listed, but gone: {each}" for each in self.verdict.gone]
        passed = self.ran["stock"].count("passed")
        if passed < self.passed_min:
            found.append(f"only {passed} of at least {self.passed_min} tests pass in stock")
        return found


def main(argv: Sequence[str]) -> int:
    """Run what was asked for. Returns the exit status."""
    asked = _parser().parse_args(argv)
    try:
        archive = fetch(asked.archives)
        with tempfile.TemporaryDirectory(prefix="durable-parity-") as scratch:
            found = compare(archive, Path(scratch), is_slice=asked.slice)
    except NotRunError as error:
        print(error, file=sys.stderr)
        return 2
    for kernel, ran in found.ran.items():
        counts = ", ".join(
            f"{ran.count(each)} {each}"
            for each in ("passed", "failed", "error", "skipped")
            if ran.count(each)
        )
        print(f"ipykernel {version('ipykernel')}, {kernel}: {counts} in {ran.seconds:.0f} s")
    print(f"  expected differences: {len(found.verdict.expected)}")
    for each in found.unsteady:
        print(f"  unsteady: {each}")
    for finding in found.findings():
        print(finding)
    for each in found.verdict.unexpected:
        print(f"--- {each.test}\n{found.ran['durable'].reasons.get(each.test, '')}")
    return 1 if found.findings() else 0


def compare(archive: Path, scratch: Path, *, is_slice: bool) -> Compared:
    """Run the suite with both kernels, then look again at what differs otherwise than listed."""
    ran = _run_both(archive, scratch / "1", SLICE if is_slice else ("tests",))
    outcomes = {kernel: dict(each.outcomes) for kernel, each in ran.items()}
    listed = read_listed(EXPECTED)
    expected = expected_of(listed, ran["stock"].outcomes, is_slice=is_slice)
    verdict = judge(differences(outcomes["stock"], outcomes["durable"]), expected)
    first = (*verdict.unexpected, *verdict.gone)
    for look in range(2, LOOKS + 1):
        doubtful = [each for each in verdict.doubtful if each in ran["stock"].outcomes]
        if not doubtful:
            break
        for kernel, closer in _run_both(archive, scratch / str(look), doubtful).items():
            outcomes[kernel].update(closer.outcomes)
        verdict = judge(differences(outcomes["stock"], outcomes["durable"]), expected)
    unsteady = tuple(each for each in first if each.test not in verdict.doubtful)
    return Compared(ran, verdict, unsteady, PASSED_MIN[is_slice])


def _run_both(archive: Path, folder: Path, arguments: Sequence[str]) -> dict[str, Ran]:
    """Side by side: the suite takes ports that are free, and folders of its own."""
    with ThreadPoolExecutor() as pool:
        runs = {
            kernel: pool.submit(run, kernel, archive, folder / kernel, arguments)
            for kernel in KERNELS
        }
        return {kernel: each.result() for kernel, each in runs.items()}


def run(kernel: str, archive: Path, folder: Path, arguments: Sequence[str]) -> Ran:
    """Run the suite with one kernel. Raises NotRunError if pytest brought no outcomes."""
    suite = unpack(archive, folder / "suite")
    outcomes = folder / "outcomes.json"
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        try:
            subprocess.run(
                [sys.executable, "-m", "pytest", *_OPTIONS, *arguments],
                cwd=suite,
                env=_environ(kernel, folder, outcomes),
                stdout=log,
                stderr=log,
                check=False,
                timeout=_SUITE_S,
            )
        except subprocess.TimeoutExpired:
            raise NotRunError(f"{kernel}: the suite did not end in {_SUITE_S:.0f} s") from None
    if not outcomes.exists():
        told = (folder / "log").read_text(errors="replace")
        raise NotRunError(f"{kernel}: pytest ended without outcomes.\n{told[-2000:]}")
    found = json.loads(outcomes.read_text())
    return Ran(found["outcomes"], found["reasons"], time.monotonic() - began)


def _environ(kernel: str, folder: Path, outcomes: Path) -> dict[str, str]:
    """Return the environment of one run: nothing of the user's, and `python3` means the kernel."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DURABLE_", "JPY_", "JUPYTER_", "PYTEST_"))
    }
    environ = {
        **inherited,
        inside.KERNEL: kernel,
        inside.OUTCOMES: str(outcomes),
        "DURABLE_HOME": str(folder / "home"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONPATH": str(Path(inside.__file__).parent),
    }
    if kernel == "durable":
        install(prefix=str(folder / "prefix"), name="python3")
        environ["JUPYTER_PATH"] = str(folder / "prefix" / "share" / "jupyter")
    return environ


def fetch(folder: Path) -> Path:
    """Return the source archive of the installed ipykernel, downloaded if it is not there yet.

    pip asks the archive for its metadata on the way, with what is installed: building its wheel,
    which is not done, would need more.
    """
    wanted = f"ipykernel-{version('ipykernel')}"
    archive = folder / f"{wanted}.tar.gz"
    if not archive.exists():
        options = ("--quiet", "--disable-pip-version-check", "--no-binary=:all:", "--no-deps")
        command = ("pip", "download", *options, "--no-build-isolation", "--dest", str(folder))
        name = wanted.replace("-", "==", 1)
        try:
            subprocess.run([sys.executable, "-m", *command, name], check=True)
        except subprocess.CalledProcessError:
            raise NotRunError(f"pip did not bring the source archive of {name}") from None
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the tests and their settings alone: the package that is tested is installed."""
    with tarfile.open(archive) as opened:
        wanted = [
            member
            for member in opened.getmembers()
            if member.name.partition("/")[2].partition("/")[0] in {"pyproject.toml", "tests"}
        ]
        opened.extractall(folder, members=wanted, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parity", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--slice", action="store_true", help="what says most in little time")
    parser.add_argument(
        "--archives",
        type=Path,
        default=Path(sys.prefix) / "parity",
        help="where the source archive is kept (default: in the environment)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
