"""The interrupt campaign: `python -m tests.interrupts.campaign --interrupts 500 --seed 1`.

Forked kernels without Jupyter run drawn cells and get SIGINT at random microseconds, some twice;
some cells set time-outs of their own. Then the process is killed with SIGKILL, and the next one has
to have the state that the last one told, or to say why not. Counted: states that came back,
refusals, and what nobody may see: another state, a repeated request, a crash, a hang.

A finding names its seed; `--seed N --interrupts 1` plays that one alone.
"""

from __future__ import annotations

import argparse
import sys

from durable_kernel.runtime import prepare
from tests.interrupts.play import Tally, play


def campaign(interrupts: int, seed: int) -> Tally:
    """Play cases until so many interrupts were sent."""
    prepare()  # once: what is forked has the hooks
    tally = Tally()
    while tally.counts["interrupts"] < interrupts:
        play(seed, tally)
        seed += 1
        tally.counts["cases"] += 1
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interrupts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    tally = campaign(given.interrupts, given.seed)
    for finding in tally.findings:
        print(finding)
    print(", ".join(f"{count:,} {what}" for what, count in sorted(tally.counts.items())))
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
