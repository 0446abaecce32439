"""A suite as one cell of a real kernel, stock or durable; and what that cell is worth afterwards.

Each kernel has a folder of its own: home and temporary files.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kernel.live import LiveKernel, Shown

__all__ = ["DURABLE", "KERNELS", "STOCK", "Again", "KernelLostError", "Ran", "replay", "run_suite"]

STOCK = "ipykernel_launcher"
DURABLE = "durable_kernel"
KERNELS = {"stock": STOCK, "durable": DURABLE}

_INSIDE = Path(__file__).with_name("inside.py")
_MIME_TYPE = "application/vnd.durable-transparency"
_REPLY_S = 120.0
_IDLE = ("status", {"execution_state": "idle"})


class KernelLostError(Exception):
    """The kernel died, or said nothing for too long."""

    def __init__(self, what: str, log: str) -> None:
        super().__init__(what, log)
        self.what, self.log = what, log

    def __str__(self) -> str:
        return f"{self.what}. The end of its log:\n{self.log[-2000:]}"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a suite brought in one kernel. `calls` counts what the journal holds, by kind."""

    outcomes: Mapping[str, str]
    reasons: Mapping[str, str]
    seconds: float
    calls: Mapping[str, int] = field(default_factory=dict)
    unrecorded: int = 0

    def count(self, outcome: str) -> int:
        return sum(each == outcome for each in self.outcomes.values())


@dataclass(frozen=True, slots=True)
class Again:
    """What a restarted kernel said to its first cell. `sentence` is "" if it simply went on."""

    status: str
    sentence: str
    seconds: float


def run_suite(
    module: str, folder: Path, suite: Path, arguments: Sequence[str], timeout_s: float
) -> Ran:
    """Run pytest in one cell. The kernel is killed behind it, so that it can be started again."""
    options = [*arguments, f"--basetemp={folder / 'pytest'}"]
    call = f"run_suite({str(suite)!r}, {options!r})"
    with _kernel(module, folder) as kernel:
        kernel.start()
        shown = kernel.execute(f"{_INSIDE.read_text()}\n\n{call}\n", timeout_s)
        found = [content["data"] for _, content in shown.outputs if "data" in content]
        bundles = [data[_MIME_TYPE] for data in found if _MIME_TYPE in data]
        if not bundles:
            raise KernelLostError("the cell ended without outcomes", shown.text() + kernel.log())
        kernel.kill()
        journaled = _journaled(kernel) if module == DURABLE else {}
    bundle = json.loads(zlib.decompress(base64.b64decode(bundles[-1])))
    return Ran(
        bundle["outcomes"],
        bundle["reasons"],
        bundle["seconds"],
        journaled.get("counts", {}),
        sum(each["is_act"] for each in journaled.get("unrecorded", ())),
    )


def replay(folder: Path, timeout_s: float, *, is_redone: bool) -> Again:
    """Start the durable kernel of `folder` again, and ask it for something.

    `is_redone` allows what was not recorded to happen again: the cell is then executed against its
    journal, and what it asks for is compared with what it asked for then.
    """
    with _kernel(DURABLE, folder) as kernel:
        began = time.perf_counter()
        kernel.start(**({"DURABLE_REDO": "1"} if is_redone else {}))
        shown = kernel.execute("'still here'", timeout_s)
        seconds = time.perf_counter() - began
    said = [content.get("evalue", "") for kind, content in shown.outputs if kind == "error"]
    told = [line for line in _told(shown) if "restored" in line or "executed again" in line]
    sentence = " ".join(("".join(said) or " ".join(told[-1:])).split())
    return Again(shown.status, sentence.replace(str(folder), "…"), seconds)


class _Kernel(LiveKernel):
    """A kernel whose cells may take minutes, and which may die in one."""

    def execute(self, code: str, timeout_s: float) -> Shown:
        """Run a cell. Raises KernelLostError when the process dies, or the time is over."""
        shown, asked = Shown(), self.ask(code)
        deadline = time.monotonic() + timeout_s
        while not shown.messages or shown.messages[-1] != _IDLE:
            assert self.process is not None
            if self.process.poll() is not None:
                raise KernelLostError(f"the kernel died of {self.process.returncode}", self.log())
            if time.monotonic() > deadline:
                raise KernelLostError(f"no answer within {timeout_s:.0f} s", self.log())
            message = self._next_message()
            if message is not None and message["parent_header"].get("msg_id") == asked:
                shown.messages.append((message["msg_type"], message["content"]))
        while (reply := self.client.get_shell_msg(timeout=_REPLY_S))["parent_header"].get(
            "msg_id"
        ) != asked:
            pass
        shown.reply = reply["content"]
        return shown


@contextmanager
def _kernel(module: str, folder: Path) -> Iterator[_Kernel]:
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    kernel = _Kernel(
        folder, module=module, NO_COLOR="1", PYTHONDONTWRITEBYTECODE="1", TMPDIR=str(temporary)
    )
    try:
        yield kernel
    finally:
        kernel.close()


def _journaled(kernel: _Kernel) -> dict[str, Any]:
    """Return what `durable show` says about the one cell."""
    command = "from durable_kernel.cli import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", command, "show", "nightly", "--json"],
        env=kernel.environ(),
        capture_output=True,
        check=True,
        text=True,
    )
    cell: dict[str, Any] = json.loads(shown.stdout)["cells"][0]
    return cell


def _told(shown: Shown) -> Iterator[str]:
    for _, content in shown.outputs:
        yield from content.get("data", {}).get("text/plain", "").splitlines()
