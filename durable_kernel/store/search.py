"""Search: which run a user means by a few characters. Pure: it gets METAs, and asks no disk."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PurePath

from durable_kernel.errors import UsageError
from durable_kernel.store.meta import Meta

NEAR_MAX = 3
SHOWN_MAX = 8


def best(asked: str, metas: Sequence[Meta], as_path: str) -> Meta | None:
    """Return the run that is meant, or None.

    In this order: an id, a name, the start of one id only, a notebook's path; of several the
    newest. All live runs come before all archived ones.

    Args:
        metas: newest first.
        as_path: what `asked` is as the real path of a notebook.

    Raises UsageError when it is the start of several ids.
    """
    live = [each for each in metas if each.archived_ns is None]
    archived = [each for each in metas if each.archived_ns is not None]
    for among in (live, archived):
        if (found := _best_among(asked, among, as_path)) is not None:
            return found
    return None


def _best_among(asked: str, metas: Sequence[Meta], as_path: str) -> Meta | None:
    for meta in metas:
        if meta.run_id == asked:
            return meta
    for meta in metas:
        if meta.name == asked and asked:
            return meta
    beginning = [meta for meta in metas if asked and meta.run_id.startswith(asked)]
    if len(beginning) > 1:
        shown = ", ".join(meta.run_id for meta in beginning[:SHOWN_MAX])
        more = len(beginning) - SHOWN_MAX
        and_more = f" and {more} more" if more > 0 else ""
        raise UsageError(f"{asked!r} is the start of several runs: {shown}{and_more}. Type more.")
    if beginning:
        return beginning[0]
    return next((meta for meta in metas if meta.notebook == as_path), None)


def predecessor(of: Meta, metas: Sequence[Meta]) -> Meta | None:
    """Return the run that was put away last of those whose place `of` took; None: there is none."""
    put_away = [
        each
        for each in metas
        if each.archived_ns is not None
        and each.run_id != of.run_id
        and (
            (of.notebook and each.notebook == of.notebook)
            or (of.kernel_id and each.kernel_id == of.kernel_id)
            or (of.name and of.name in (each.run_id, each.name))
        )
    ]
    return max(put_away, key=lambda each: each.archived_ns or 0, default=None)


def near(asked: str, metas: Sequence[Meta]) -> tuple[str, ...]:
    """Return up to three ids, names or paths of notebooks that look like what was asked."""
    shown: dict[str, str] = {}
    for meta in reversed(metas):  # the newest run of a notebook wins
        shown[meta.run_id] = meta.run_id
        if meta.name:
            shown[meta.name] = meta.name
        if meta.notebook:
            shown[PurePath(meta.notebook).name] = meta.notebook
    alike = get_close_matches(PurePath(asked).name or asked, shown, n=NEAR_MAX)
    return tuple(shown[each] for each in alike)
