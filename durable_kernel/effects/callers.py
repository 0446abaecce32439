"""Who calls a hooked function: the cell, or machinery that happens to run while a cell does.

A lane says that a cell runs; it does not say that the cell asked. Loops, loggers and kernels read
clocks as often as the scheduler lets them, so what they read can't be matched on replay: their
calls pass. The judgement needs the name of one module, and is made once per name.

Not keyed by code object: that is hashed by its content, which costs 3.6 µs in a cell of 1,000
lines. Knows no library; it knows the names of many.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path
from types import FrameType

__all__ = [
    "CLOCK_MACHINERY",
    "ENTROPY_MACHINERY",
    "LIBRARY_ROOTS",
    "LOCK_MACHINERY",
    "SLEEP_MACHINERY",
    "TASK_MACHINERY",
    "Verdicts",
    "is_drawn_by_cell",
]

_OURS = frozenset({"durable_kernel"})
_LOOPS = frozenset(
    {
        "asyncio",
        "concurrent",
        "multiprocessing",
        "pexpect",
        "ptyprocess",
        "queue",
        "selectors",
        "socket",
        "socketserver",
        "subprocess",
        "threading",
        "uvloop",
    }
)
_JUPYTER = frozenset(
    {
        "IPython",
        "_pydev_bundle",
        "_pydevd_bundle",
        "_pydevd_frame_eval",
        "_pydevd_sys_monitoring",
        "debugpy",
        "ipykernel",
        "jupyter_client",
        "prompt_toolkit",
        "pydevd",
        "pydevd_file_utils",
        "pydevd_tracing",
        "tornado",
        "traitlets",
        "zmq",
    }
)
# `email` is not here: a cell that calls email.utils.formatdate() wants the recorded date.
_HTTP = frozenset(
    {
        "aiohttp",
        "anyio",
        "botocore",
        "http",
        "httpcore",
        "httpcore2",
        "httpx",
        "httpx2",
        "requests",
        "ssl",
        "urllib3",
    }
)
_IMPORT = frozenset({"_frozen_importlib", "_frozen_importlib_external", "importlib", "zipimport"})


class Verdicts(dict[str | None, bool]):
    """True for the name of a module that belongs to machinery. A frame without a name is a cell.

    `packages` are top-level names; `excepted` are full names of modules in them that act for cells.
    """

    def __init__(self, packages: frozenset[str], excepted: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._packages = packages
        self._excepted = excepted

    def __missing__(self, name: str | None) -> bool:
        verdict = (
            isinstance(name, str)
            and name.partition(".")[0] in self._packages
            and name not in self._excepted
        )
        self[name] = verdict
        return verdict


# %time reads clocks for the cell, as often each time: its line of output comes out the same. So do
# `elapsed` of a response of requests, and the moment at which a cookie expires.
CLOCK_MACHINERY = Verdicts(
    _OURS | _LOOPS | _JUPYTER | _HTTP | _IMPORT | {"logging"},
    excepted=frozenset(
        {
            "IPython.core.magics.execution",
            "IPython.utils.timing",
            "http.cookiejar",
            "requests.sessions",
        }
    ),
)

# Back-off between two HTTP attempts is as often as the recorded answers say: it can be skipped.
SLEEP_MACHINERY = Verdicts(_OURS | _LOOPS | _JUPYTER | _IMPORT)

# What a client's own tasks and timers do is part of its exchange, which is recorded as a whole.
TASK_MACHINERY = Verdicts(_JUPYTER | {"aiohttp"})

# HTTP clients are not here: multipart boundaries and idempotency tokens are part of a call's
# identity. `multiprocessing` draws its key once per process, whichever cell imports it first. The
# ids of displays are the cell's: a resumed cell updates the display that it made before.
ENTROPY_MACHINERY = Verdicts(
    _OURS | _JUPYTER | _IMPORT | {"multiprocessing", "ssl"},
    excepted=frozenset({"IPython.core.display_functions"}),
)

# A pool's own locks are taken by its workers, which are nobody's lanes; those of HTTP clients by
# finalizers, at any time.
LOCK_MACHINERY = Verdicts(
    _OURS | _LOOPS | _JUPYTER | _HTTP | _IMPORT | {"joblib", "logging", "tqdm"}
)

_FUNNELS = frozenset({"random", "secrets", "tempfile", "uuid"})
_IMPORTERS = frozenset({"_frozen_importlib", "importlib._bootstrap"})


def _find_library_roots() -> tuple[str, ...]:
    found = [
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        *sysconfig.get_paths().values(),
        *site.getsitepackages(),
        site.getusersitepackages(),
    ]
    paths = [Path(path) for path in found]
    both = {str(path.absolute()) for path in paths} | {str(path.resolve()) for path in paths}
    return tuple(sorted(path + os.sep for path in both if path != os.sep))


LIBRARY_ROOTS = _find_library_roots()
"""Folders of this Python and of installed packages, each with a separator at its end."""


def is_drawn_by_cell(frame: FrameType | None) -> bool:
    """Tell whether entropy asked for in `frame` is drawn for the cell.

    Looks through random, secrets, uuid and tempfile to who called them. What an installed module
    draws while it is being imported is not the cell's: a process that has it loaded already would
    not draw it. Entropy is rare enough (microseconds) to look that far up the stack.
    """
    while frame is not None and frame.f_globals.get("__name__") in _FUNNELS:
        frame = frame.f_back
    if frame is None or ENTROPY_MACHINERY[frame.f_globals.get("__name__")]:
        return False
    inner = frame
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if name == "__main__":
            return True
        if name in _IMPORTERS:
            return not inner.f_code.co_filename.startswith(LIBRARY_ROOTS)
        inner, frame = frame, frame.f_back
    return True
