"""Checkup: whether kernels of this package start here, and whether what they rest on was tried.

Looks, and changes nothing; starts the interpreters that kernelspecs name, once each, to see whether
they know this package. What concerns the store is in `store.health`.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from durable_kernel.kernel.kernelspecs import found_under, is_ours
from durable_kernel.store import Store
from durable_kernel.store.health import Check, Verdict, store_checks

__all__ = ["TESTED", "checks"]

_PYTHONS = ((3, 11), (3, 13))
_STARTS_S_MAX = 30.0
_ASLR = Path("/proc/sys/kernel/randomize_va_space")
_VERSION = re.compile(r"\d+(?:\.\d+)*")

TESTED: Mapping[str, tuple[str, str]] = {
    "ipykernel": ("7.0", "7.4"),
    "ipython": ("8.0", "9.18"),
    "jupyter-client": ("8.6", "8.10"),
    "nbclient": ("0.10", "0.11"),
    "httpx": ("0.27", "0.28"),
    "httpx2": ("2.0", "2.16"),
    "urllib3": ("1.26.18", "2.8"),
    "requests": ("2.32", "2.34"),
    "aiohttp": ("3.9", "3.14"),
    "numpy": ("1.26", "2.5"),
    "papermill": ("2.6", "2.7"),
}
"""Of what is hooked or built on: the oldest version that is meant to work, and the newest tested.

The newest counts by its first two numbers.
"""

_NEEDED = frozenset({"ipykernel", "ipython", "jupyter-client", "nbclient"})


def checks(
    store: Store, now_ns: int, tell: Callable[[str], None] = lambda _sentence: None
) -> Iterator[Check]:
    """Look at everything, in the order in which it matters."""
    yield _python()
    for name in TESTED:
        yield _library(name)
    yield from _kernelspecs(tell)
    yield _addresses()
    yield from store_checks(store, now_ns, tell)


def _python() -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    oldest, newest = (".".join(map(str, each)) for each in _PYTHONS)
    if sys.version_info[:2] < _PYTHONS[0] or platform.python_implementation() != "CPython":
        return Check("Python", Verdict.FAIL, found, f"use CPython {oldest} to {newest}")
    if sys.version_info[:2] > _PYTHONS[1]:
        return Check("Python", Verdict.WARN, found, f"tested with {oldest} to {newest}")
    return Check("Python", Verdict.OK, found)


def _library(name: str) -> Check:
    oldest, newest = TESTED[name]
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if name in _NEEDED:
            return Check(name, Verdict.FAIL, "not installed", f"`pip install {name}`")
        return Check(name, Verdict.OK, "not installed; not needed unless you use it")
    if _numbers(version) < _numbers(oldest):
        advice = f"`pip install -U {name}`: {oldest} is needed; tested with {newest}"
        return Check(name, Verdict.FAIL if name in _NEEDED else Verdict.WARN, version, advice)
    if _numbers(version)[:2] > _numbers(newest)[:2]:
        return Check(name, Verdict.WARN, version, f"newer than {newest}, the last that was tested")
    return Check(name, Verdict.OK, version)


def _numbers(version: str) -> tuple[int, ...]:
    found = _VERSION.match(version)
    return tuple(map(int, found[0].split("."))) if found else ()


# --- kernelspecs ----------------------------------------------------------------------------------


def _kernelspecs(tell: Callable[[str], None]) -> Iterator[Check]:
    folder = found_under("durable")
    if folder is None:
        advice = "`durable install --user`; `durable run` needs none"
        yield Check("kernelspec durable", Verdict.WARN, "not installed", advice)
    else:
        tell("starting the interpreter of kernelspec durable")
        yield _kernelspec("durable", folder)
    stock = found_under("python3")
    if stock is None or not is_ours(stock):
        found = f"{stock or 'not installed'}: the stock kernel, not durable"
        yield Check("kernelspec python3", Verdict.OK, found)
    else:
        tell("starting the interpreter of kernelspec python3")
        yield _kernelspec("python3", stock)


def _kernelspec(name: str, folder: Path) -> Check:
    title, again = f"kernelspec {name}", f"`durable install --as {name}` writes it anew"
    try:
        spec = json.loads((folder / "kernel.json").read_bytes())
        interpreter, environ = str(spec["argv"][0]), dict(spec.get("env") or {})
        provisioner = (spec.get("metadata") or {}).get("kernel_provisioner") or {}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return Check(title, Verdict.FAIL, f"{folder}: can't be read ({error})", again)
    if not is_ours(folder):
        return Check(title, Verdict.FAIL, f"{folder}: it starts another kernel", again)
    if problem := _why_not_starting(sys.executable if interpreter == "python" else interpreter):
        return Check(title, Verdict.FAIL, f"{folder}: {interpreter} {problem}", again)
    named = provisioner.get("provisioner_name")
    if (
        named
        and named not in metadata.entry_points(group="jupyter_client.kernel_provisioners").names
    ):
        advice = "install durable-kernel there, or install the kernelspec without --provisioner"
        return Check(title, Verdict.WARN, f"{folder}: no provisioner {named!r} here", advice)
    if environ.get("PYTHONHASHSEED") in {None, "random"}:
        found = f"{folder}: it sets no PYTHONHASHSEED, so sets of text may change their order"
        return Check(title, Verdict.WARN, found, again)
    return Check(title, Verdict.OK, f"{folder}, {interpreter}")


def _why_not_starting(interpreter: str) -> str:
    command = [interpreter, "-c", "import durable_kernel"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_STARTS_S_MAX, check=False
        )
    except FileNotFoundError:
        return "is not there any more"
    except OSError as error:
        return f"can't be started ({error.strerror})"
    except subprocess.TimeoutExpired:
        return f"did not start within {_STARTS_S_MAX:.0f} s"
    last = done.stderr.strip().rpartition("\n")[2]
    return "" if done.returncode == 0 else f"can't import durable_kernel ({last})"


def _addresses() -> Check:
    """Say whether addresses differ between processes: what they order differs, too (H40)."""
    try:
        is_random = _ASLR.read_text("ascii").strip() != "0"
    except OSError:
        return Check("addresses", Verdict.OK, "not told by this system")
    found = "random, as usual: sets of objects without a hash of their own have no lasting order"
    return Check("addresses", Verdict.OK, found if is_random else "the same in each process")
