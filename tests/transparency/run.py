"""Run the suites of requests, httpx and urllib3 in a stock kernel and in a durable one.

`make transparency`, or `python -m tests.transparency.run`. Each suite is one cell. Tests have to
end in the durable kernel as they end in the stock one, but for the differences that are listed with
their reasons. What seems to differ is run again, in new kernels: only what differs each time
counts, and the rest is named as unsteady.

Then the durable kernel, killed behind the cell, is started again: as it is, and, for a whole suite
with fixed ports, with the leave to execute the cell again. The suites open files and start servers,
which is not recorded; so the kernel may refuse, with a sentence. It may not die or hang. The exit
status is 1 on any finding.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.transparency import page
from tests.transparency.compare import (
    Difference,
    Verdict,
    differences,
    judge,
    read_expected,
    within,
)
from tests.transparency.kernels import KERNELS, Again, KernelLostError, Ran, replay, run_suite
from tests.transparency.suites import SUITES, Suite, fetch, unpack

__all__ = ["Compared", "compare", "main"]

EXPECTED = Path(__file__).with_name("differences.toml")
LOOKS = 3
"""So often something has to differ before it counts."""

_SUITE_S = 900.0
_REPLAY_S = 300.0


@dataclass(frozen=True, slots=True)
class Compared:
    """One suite in both kernels, and afterwards."""

    suite: Suite
    ran: dict[str, Ran]
    verdict: Verdict
    unsteady: tuple[Difference, ...]
    again: Again
    redone: Again | None

    def findings(self, *, is_slice: bool) -> list[str]:
        """Return what is wrong, a sentence each."""
        stock, name = self.ran["stock"], self.suite.name
        wanted = self.suite.slice_passed_min if is_slice else self.suite.passed_min
        found = [f"{name}: unexpected: {each}" for each in self.verdict.unexpected]
        found += [f"{name}: listed, but gone: {each}" for each in self.verdict.gone]
        if stock.count("passed") < wanted:
            found.append(
                f"{name}: only {stock.count('passed')} tests pass in the stock kernel, of at least "
                f"{wanted}; this machine can't tell (is port 8000 taken?)"
            )
        if self.ran["durable"].calls.get("http", 0) == 0:
            found.append(f"{name}: the journal holds no request, so nothing was compared")
        for again in (self.again, self.redone):
            if again is not None and again.status != "ok" and not again.sentence:
                found.append(f"{name}: the restarted kernel fails without a sentence")
        return found


def main(argv: Sequence[str]) -> int:
    """Run what was asked for. Returns the exit status."""
    asked = _parser().parse_args(argv)
    for name in [each for each in os.environ if each.lower().endswith("_proxy")]:
        del os.environ[name]  # the suites talk to this machine alone
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    fetch(asked.archives)
    compared, findings = [], []
    for suite in SUITES:
        if asked.only and suite.name not in asked.only:
            continue
        with tempfile.TemporaryDirectory(prefix="durable-transparency-") as scratch:
            try:
                found = compare(suite, asked.archives, Path(scratch), is_slice=asked.slice)
            except KernelLostError as lost:
                findings.append(f"{suite.name}: {lost}")
                continue
        compared.append(found)
        findings += found.findings(is_slice=asked.slice)
        _tell(console, found)
    if asked.write and not findings:
        page.write(compared)
    for each in findings:
        console.print(each, style="red", markup=False)
    return 1 if findings else 0


def compare(suite: Suite, archives: Path, scratch: Path, *, is_slice: bool) -> Compared:
    """Run a suite in both kernels, look again at what differs, then start the durable one again."""
    arguments = suite.arguments(is_slice=is_slice)
    ran = _run_both(suite, archives, scratch / "1", arguments)
    expected = within(read_expected(EXPECTED, suite.name), ran["stock"].outcomes)
    outcomes = {kind: dict(each.outcomes) for kind, each in ran.items()}
    verdict = judge(differences(outcomes["stock"], outcomes["durable"]), expected)
    first = (*verdict.unexpected, *verdict.gone)
    for look in range(2, LOOKS + 1):
        if not verdict.doubtful:
            break
        closer = _run_both(suite, archives, scratch / str(look), list(verdict.doubtful))
        for kind, seen in closer.items():
            outcomes[kind].update(seen.outcomes)
        verdict = judge(differences(outcomes["stock"], outcomes["durable"]), expected)
    home = scratch / "1" / "durable"
    return Compared(
        suite,
        ran,
        verdict,
        tuple(each for each in first if each.test not in verdict.doubtful),
        replay(home, _REPLAY_S, is_redone=False),
        replay(home, _REPLAY_S, is_redone=True) if suite.is_redone and not is_slice else None,
    )


def _run_both(
    suite: Suite, archives: Path, folder: Path, arguments: Sequence[str]
) -> dict[str, Ran]:
    """One after the other: two suites at once would take each other's ports.

    Both find the suite in the same place, unpacked anew: some tests have it in their ids.
    """
    ran = {}
    for kind, module in KERNELS.items():
        shutil.rmtree(folder / "suite", ignore_errors=True)
        place = unpack(suite.name, archives, folder / "suite")
        options = ["-q", "--timeout=120", *arguments]
        ran[kind] = run_suite(module, folder / kind, place, options, _SUITE_S)
    return ran


def _tell(console: Console, found: Compared) -> None:
    """Print a suite's figures."""
    for line in page.lines_of(found):
        console.print(line, markup=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="transparency", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--only", action="append", help="this suite; may be repeated")
    parser.add_argument("--slice", action="store_true", help="some seconds of each suite")
    parser.add_argument("--write", action="store_true", help="write the figures into the document")
    parser.add_argument(
        "--archives",
        type=Path,
        default=Path(sys.prefix) / "transparency",
        help="where the source archives are kept (default: in the environment)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
