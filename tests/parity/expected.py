"""Which tests may end otherwise than in the stock kernel: a list of names, each with its reason.

Strict both ways, as for other suites (`tests.transparency.compare`): what is listed has to differ,
each time, in the way that is listed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from tests.transparency.compare import ABSENT, Difference

__all__ = ["expected_of", "name_of", "read_listed"]


def name_of(test: str) -> str:
    """Return a test's id without its parameters."""
    return test.partition("[")[0]


def read_listed(path: Path) -> dict[str, Difference]:
    """Read the list: what is expected, by name. Raises ValueError for a reason that is none."""
    listed: dict[str, Difference] = {}
    for entry in tomllib.loads(path.read_text()).get("difference", []):
        reason = str(entry.get("reason", "")).strip()
        for name in entry["tests"]:
            if not reason.endswith(".") or name in listed:
                raise ValueError(f"{path.name}: {name} stands twice, or without a sentence")
            listed[name] = Difference(name, entry["stock"], entry["durable"], reason)
    return listed


def expected_of(
    listed: Mapping[str, Difference], ran: Collection[str], *, is_slice: bool
) -> list[Difference]:
    """Return the expected difference of each test that ran and is listed.

    In a whole run a name that stands for no test at all is expected, too: nothing can be like it,
    so it is reported as gone.
    """
    found = [
        Difference(test, entry.stock, entry.durable, entry.reason)
        for test in sorted(ran)
        if (entry := listed.get(name_of(test))) is not None
    ]
    seen = {name_of(each.test) for each in found}
    if not is_slice:
        found += [
            Difference(name, ABSENT, ABSENT, entry.reason)
            for name, entry in listed.items()
            if name not in seen
        ]
    return found
