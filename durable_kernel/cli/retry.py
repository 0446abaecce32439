"""`durable retry RUN`: leave the failed cell behind, so that it can be run anew."""

from __future__ import annotations

from durable_kernel.cli.console import (
    JsonFlag,
    RunArgument,
    open_store,
    print_json,
    require_closed,
    say,
)
from durable_kernel.cli.rewind import RepeatActs
from durable_kernel.runtime import leave_failed_of

__all__ = ["retry"]


def retry(run: RunArgument, repeat_acts: RepeatActs = False, as_json: JsonFlag = False) -> None:
    """Leave the cell behind that failed last; the next kernel has the state before it.

    `durable run` needs no word for that: it begins a failed cell anew by itself.
    """
    store = open_store()
    place = store.get(run)
    require_closed(place, "%durable retry")
    left = leave_failed_of(store, place, repeats_acts=repeat_acts)
    if as_json:
        acts = [each.label for each in left.acts]
        shown = {"position": left.position, "calls": left.calls, "acts": acts}
        print_json({"run_id": place.run_id, **shown})
        return
    calls = "1 recorded call is" if left.calls == 1 else f"{left.calls:,} recorded calls are"
    say(
        f"cell {left.position} is left behind: the next kernel of run {place.run_id} has the state "
        f"before it. Run it then, edited or not. {calls} at hand: those that match in order are "
        "reused, and the first other one is made."
    )
    if left.acts:
        kept = "may be done again, as you said" if repeat_acts else "is not done again"
        say(f"What it did {kept}: {'; '.join(each.label for each in left.acts)}.")
