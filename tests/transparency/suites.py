"""Which suites, from where, and how they are called.

They come from the source archives on the package index, at run time, with pinned hashes. Nothing
of them is kept in this repository.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SOURCES", "SUITES", "Suite", "fetch", "pinned", "unpack"]

SOURCES = Path(__file__).with_name("sources.txt")


@dataclass(frozen=True, slots=True)
class Suite:
    """One library's own tests.

    `whole` and `slice` are arguments to pytest: everything, and some seconds of it. `left_out`
    names tests that end differently from run to run in the stock kernel itself, and why. With
    fewer than `passed_min` passing in the stock kernel the machine is at fault (port 8000 taken, a
    plugin missing), and a comparison would say nothing. `is_redone` says that its ports are the
    same each time, so that the cell can be executed against its journal; with another port the
    first request diverges, and every test behind it waits for a server in vain.
    """

    name: str
    whole: tuple[str, ...]
    slice: tuple[str, ...]
    passed_min: int
    slice_passed_min: int
    left_out: tuple[tuple[str, str], ...] = ()
    is_redone: bool = False

    def arguments(self, *, is_slice: bool) -> list[str]:
        """Return the arguments to pytest."""
        deselected = [word for test, _ in self.left_out for word in ("--deselect", test)]
        return [*(self.slice if is_slice else self.whole), *deselected]


_PROBE = "test_http2_probe_blocked_per_thread"
_PROBE_WHY = "two threads race for a lock: passes, fails or hangs, in the stock kernel too"

SUITES = (
    Suite(
        "requests",
        whole=("tests",),
        slice=(
            *("tests/test_requests.py", "tests/test_adapters.py", "tests/test_hooks.py"),
            *("-k", "not Timeout and not tls_settings and not mtls and not proxy_error"),
        ),
        passed_min=600,
        slice_passed_min=300,
    ),
    Suite(
        "httpx",
        whole=("tests",),
        slice=("tests/client", "tests/test_api.py", "tests/test_asgi.py", "tests/test_wsgi.py"),
        passed_min=1390,
        slice_passed_min=340,
        is_redone=True,
    ),
    Suite(
        "urllib3",
        whole=("test",),
        slice=(
            "test/with_dummyserver/test_chunked_transfer.py",
            "test/with_dummyserver/test_connectionpool.py",
            *("-k", "not Timeout and not RetryAfter and not retry_after"),
        ),
        passed_min=2200,
        slice_passed_min=120,
        left_out=tuple(
            (f"test/{file}::TestHTTPS_TLSv1_{minor}::{_PROBE}", _PROBE_WHY)
            for file in ("with_dummyserver/test_https.py", "contrib/test_pyopenssl.py")
            for minor in (2, 3)
        ),
    ),
)


def pinned() -> dict[str, str]:
    """Return the version of each suite."""
    lines = [line for line in SOURCES.read_text().splitlines() if line and line[0] != "#"]
    return dict(line.split()[0].split("==") for line in lines)


def fetch(folder: Path) -> None:
    """Download the archives that are missing in `folder`. Raises CalledProcessError.

    pip compares the hashes. It builds the archives' metadata on the way, as for any installation.
    """
    if all(_archive(name, folder).exists() for name in pinned()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    options = ("--quiet", "--disable-pip-version-check", "--no-binary=:all:", "--no-deps")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", *options, "--require-hashes"),
            *("--dest", str(folder), "--requirement", str(SOURCES)),
        ],
        check=True,
    )


def unpack(name: str, archives: Path, folder: Path) -> Path:
    """Unpack a suite into a folder of its own; return where its tests are run."""
    with tarfile.open(_archive(name, archives)) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"{name}-{pinned()[name]}"


def _archive(name: str, folder: Path) -> Path:
    return folder / f"{name}-{pinned()[name]}.tar.gz"
