"""Succeeding: what a user is told of an attempt, now that another one has taken its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from durable_kernel.history import Noted
from durable_kernel.replay import Donor
from durable_kernel.runtime.settings import Resume

if TYPE_CHECKING:
    from durable_kernel.runtime.run import Run

__all__ = ["tell_reuse"]


def tell_reuse(run: Run, donor: Donor, position: int, *, is_ok: bool) -> None:
    """Note what became of the attempt before, now that the new one has ended."""
    for sentence in _act_sentences(donor, position, is_ok=is_ok):
        run.note(sentence)
    if reused := _reused_sentence(donor, position):
        run.port.write(Noted(sentence=reused))
        if run.settings.resume is Resume.EAGER:  # else a runner says it, beside the notebook
            run.tell(reused)


def _reused_sentence(donor: Donor, position: int) -> str:
    """Say how many calls of the attempt before were reused; empty for none."""
    if not donor.reused:
        return ""
    calls = "1 call was" if donor.reused == 1 else f"{donor.reused:,} calls were"
    return f"cell {position} was run again: {calls} reused from the attempt before."


def _act_sentences(donor: Donor, position: int, *, is_ok: bool) -> Iterator[str]:
    """Say what a user has to know of acts that were done before, now that the cell has ended."""
    left = donor.left_behind()
    if is_ok and left:
        listed = "; ".join(each.label for each in left)
        yield f"the attempt before also did: {listed}. Cell {position} did not ask for it again."
    was_asked_for = all(each is not donor.kept for each in left)
    if not is_ok and donor.kept is not None and was_asked_for:
        yield (
            f"the last call before the error was {donor.kept.label}. It may have changed something "
            "outside, so it was answered from the journal and not made again; `durable run "
            "--repeat-acts`, or `%durable retry --repeat-acts`, makes it again."
        )
