"""One cell in both kernels, and what of it a user sees.

Masked is what no two processes have alike: durations, addresses, ids, folders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kernel.live import LiveKernel, Shown

__all__ = ["KERNELS", "Both", "answered", "both_kernels", "masked", "seen", "told"]

_WAIT_S = 120.0

KERNELS = {"durable": "durable_kernel", "stock": "ipykernel_launcher"}

_MASKS = (
    (re.compile(r"The slowest run took .*\n"), ""),
    (re.compile(r"\d[\d,.]*(?:e[+-]\d+)?\s?(?:ns|μs|us|ms|s)\b"), "‹time›"),
    (re.compile(r"[\d,]+ loops? each"), "‹loops›"),
    (re.compile(r"\b(?:0x)?[0-9a-f]{12,32}\b"), "‹id›"),
    (re.compile(r"/ipykernel_[\w-]+/"), "/ipykernel/"),
)

Both = dict[str, LiveKernel]


@contextmanager
def both_kernels(folder: Path, prepare: Callable[[Path], None] | None = None) -> Iterator[Both]:
    """Start both kernels, each in a folder of its own, which `prepare` may fill before."""
    kernels: Both = {}
    try:
        for name, module in KERNELS.items():
            place = folder / name
            place.mkdir()
            if prepare is not None:
                prepare(place)
            kernels[name] = LiveKernel(place, module=module)
            kernels[name].start()
        yield kernels
    finally:
        for kernel in kernels.values():
            kernel.close()


def seen(kernel: LiveKernel, shown: Shown) -> Any:
    """Return what a request brought. Streams are joined: how they are cut depends on timing."""
    reply = {key: value for key, value in shown.reply.items() if key != "engine_info"}
    others = [each for each in shown.messages if each[0] != "stream"]
    told = shown.text("stderr").splitlines(keepends=True)
    own = "".join(line for line in told if not line.startswith("durable: "))
    return masked(kernel, (reply, others, shown.text("stdout"), own))


def told(shown: Shown) -> str:
    """Return all that a request brought, as text: what is told may come as a display."""
    return str(shown.messages)


def answered(kernel: LiveKernel, kind: str, content: dict[str, Any]) -> Any:
    """Send a request on the shell channel; return what its reply holds."""
    client = kernel.client
    message = client.session.msg(f"{kind}_request", content)
    client.shell_channel.send(message)
    while True:
        reply = client.get_shell_msg(timeout=_WAIT_S)
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            return masked(kernel, reply["content"])


def masked(kernel: LiveKernel, value: Any) -> Any:
    """Return `value` without what no two processes have alike."""
    return _masked(value, str(kernel.folder))


def _masked(value: Any, folder: str) -> Any:
    if isinstance(value, str):
        value = value.replace(folder, "‹folder›")
        for pattern, stand_in in _MASKS:
            value = pattern.sub(stand_in, value)
        return value
    if isinstance(value, dict):
        return {_masked(key, folder): _masked(each, folder) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each, folder) for each in value]
    return value
