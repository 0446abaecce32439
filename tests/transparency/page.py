"""Figures for people: on the terminal, and in `docs/transparency.md` between its markers."""

from __future__ import annotations

import platform
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.transparency.suites import pinned

if TYPE_CHECKING:
    from tests.transparency.run import Compared

__all__ = ["PAGE", "lines_of", "put", "write"]

PAGE = Path(__file__).parents[2] / "docs" / "transparency.md"
_LONG = 400
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def lines_of(found: Compared) -> Iterator[str]:
    """Yield what the terminal says of one suite."""
    name = found.suite.name
    yield f"{name} {pinned()[name]}"
    for kind, ran in found.ran.items():
        counts = Counter(ran.outcomes.values())
        listed = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
        yield f"  {kind:8} {listed}; {ran.seconds:.0f} s"
    durable = found.ran["durable"]
    yield (
        f"  journal  {durable.calls.get('http', 0)} requests; {durable.unrecorded} acts reported "
        "that it does not hold"
    )
    yield f"  differ   {len(found.verdict.expected)} as listed, {len(found.verdict.unexpected)} new"
    for each in found.unsteady:
        yield f"  unsteady {each}"
        yield f"           {_last_lines(found, each.test)}"
    for each in found.verdict.unexpected:
        yield f"  new      {each}"
        yield f"           {_last_lines(found, each.test)}"
    for word, again in (("restart", found.again), ("redo", found.redone)):
        if again is not None:
            yield f"  {word:8} {again.status}, {again.seconds:.0f} s: {_short(again.sentence)}"


def _last_lines(found: Compared, test: str) -> str:
    reasons = [ran.reasons[test] for ran in found.ran.values() if test in ran.reasons]
    return "\n           ".join(reasons[-1].strip().splitlines()[-6:]) if reasons else ""


def write(compared: Sequence[Compared]) -> None:
    """Put the figures of whole suites into the document."""
    PAGE.write_text(put(PAGE.read_text(), "\n".join(_markdown(compared))))


def put(text: str, figures: str) -> str:
    """Return a document with other figures between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, marker, after = rest.partition(END)
    assert marker, "the document has both markers"
    return f"{before}{BEGIN}\n{figures}\n{END}{after}"


def _markdown(compared: Sequence[Compared]) -> Iterator[str]:
    yield f"Python {platform.python_version()}, {platform.system()}:"
    yield ""
    yield (
        "| suite | tests | pass in stock | pass in durable | differ | unsteady "
        "| requests in the journal |"
    )
    yield "|---|---|---|---|---|---|---|"
    for found in compared:
        stock, durable = found.ran["stock"], found.ran["durable"]
        yield (
            f"| {found.suite.name} {pinned()[found.suite.name]} | {len(stock.outcomes):,} | "
            f"{stock.count('passed'):,} | {durable.count('passed'):,} | "
            f"{len(found.verdict.expected)} | {len(found.unsteady)} | "
            f"{durable.calls.get('http', 0):,} |"
        )
    listed = [(found.suite.name, each) for found in compared for each in found.verdict.expected]
    if listed:
        yield ""
        yield "What differs, and why:"
        yield ""
    for suite, each in listed:
        name = each.test.rpartition("::")[2]
        yield f"- {suite}, `{name}`: {each.stock} in the stock kernel, {each.durable} here."
        yield from textwrap.wrap(each.reason, 98, initial_indent="  ", subsequent_indent="  ")
    for found in compared:
        if found.redone is not None:
            yield ""
            yield f"The cell of {found.suite.name}, executed again with `durable run --redo`:"
            yield _beginning(found.redone.sentence)


def _beginning(sentence: str) -> str:
    """Cut a sentence with stacks behind it: they name folders of this machine."""
    return sentence if len(sentence) <= _LONG else f"{sentence[: _LONG // 2]} …"


def _short(sentence: str) -> str:
    """Cut a sentence with a long list in the middle: its end says what to do."""
    if len(sentence) <= _LONG:
        return sentence
    return f"{sentence[: _LONG // 2]} … {sentence[-_LONG // 2 :]}"
