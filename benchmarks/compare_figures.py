"""What is counted from a killed run and from undisturbed ones, and how the table says it.

Pure: attempts and exchanges of the access log come in, cells of the table go out. Nothing is
started, timed or printed here; no figure stands here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

__all__ = [
    "MARKS",
    "ROWS",
    "Absent",
    "Attempt",
    "Cell",
    "Measured",
    "Row",
    "Undisturbed",
    "markdown_table",
    "printed",
    "put_between_marks",
    "shown_values",
]

MARKS = ("<!-- compare: begin -->", "<!-- compare: end -->")
_VALUE = re.compile(r"^([a-z][a-z0-9 ]*): (.+)$", re.MULTILINE)


def printed(notebook: str) -> str:
    """Return what the cells of a notebook printed. Raises ValueError for half a file.

    The pieces of a stream are cut by timing, in the middle of a line too, so they are joined.
    """
    cells = json.loads(notebook)["cells"]
    outputs = [[o for o in cell.get("outputs", ()) if "text" in o] for cell in cells]
    return "\n".join("".join("".join(o["text"]) for o in each) for each in outputs)


def shown_values(text: str) -> dict[str, str]:
    """Read the lines `label: value` that the pipeline prints."""
    return dict(_VALUE.findall(text))


@dataclass(frozen=True)
class Attempt:
    """The command given once. Times in seconds; `pages` as the witness was asked for them."""

    seconds: float
    cpu_s: float
    """CPU time of the command and of all that it started."""
    code: int
    killed: str
    """The point at which it was killed; empty if it ended by itself."""
    shown: Mapping[str, str]
    """What a person could read when it ended."""
    pages: Sequence[int]
    posts: int


@dataclass(frozen=True)
class Undisturbed:
    """One run that nobody killed."""

    seconds: float
    cpu_s: float
    first_request_s: float
    """From the command to the first request at the witness."""
    kept_bytes: int
    """What the tool left behind, without the pipeline and its outputs."""


@dataclass(frozen=True)
class Absent:
    """A tool that can't be measured here, and why."""

    name: str
    why: str

    def as_plain(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """All that was found out about one tool."""

    name: str
    lines_changed: int
    packages: int
    kernel: str
    attempts: Sequence[Attempt]
    undisturbed: Sequence[Undisturbed]
    plain_seconds: Sequence[float]
    """The plain script, in turn with the undisturbed runs."""
    hands: Sequence[str] = ()
    """What a person did beside giving the same command again after each kill."""
    hands_cpu_s: float = 0.0
    """CPU time of the commands among them."""

    @property
    def posts(self) -> int:
        return sum(each.posts for each in self.attempts)

    @property
    def gets_repeated(self) -> list[int]:
        """Count, for each kill, the GETs after it for pages that had been asked for before."""
        counts: list[int] = []
        asked: set[int] = set()
        for index, attempt in enumerate(self.attempts):
            if index and self.attempts[index - 1].killed:
                counts.append(0)
            if counts:
                counts[-1] += sum(page in asked for page in attempt.pages)
            asked |= set(attempt.pages)
        return counts

    @property
    def values_changed(self) -> tuple[int, int]:
        """Return how many values read before a kill the finished run shows otherwise, of how many.

        A value that was there at two kills was read twice.
        """
        finished = self.attempts[-1].shown
        read = [pair for each in self.attempts if each.killed for pair in each.shown.items()]
        return sum(finished.get(label) != value for label, value in read), len(read)

    @property
    def seconds(self) -> float:
        """Return the quickest undisturbed run: what else the machine does only ever adds."""
        return min(each.seconds for each in self.undisturbed)

    @property
    def cpu_redone_s(self) -> float:
        """Return what all attempts computed beyond what an undisturbed run does.

        CPU time, because kills and undisturbed runs meet the machine under different loads.
        """
        spent = sum(each.cpu_s for each in self.attempts) + self.hands_cpu_s
        return spent - median(each.cpu_s for each in self.undisturbed)

    @property
    def overhead_s(self) -> float:
        return self.seconds - min(self.plain_seconds)

    @property
    def first_request_s(self) -> float:
        return min(each.first_request_s for each in self.undisturbed)

    @property
    def kept_bytes(self) -> float:
        return median(each.kept_bytes for each in self.undisturbed)

    def as_plain(self) -> dict[str, Any]:
        """Return what `--json` writes: what was measured, and what was counted from it."""
        changed, read = self.values_changed
        return {
            **asdict(self),
            "posts": self.posts,
            "gets_repeated": self.gets_repeated,
            "values_changed": changed,
            "values_read": read,
            "cpu_redone_s": self.cpu_redone_s,
            "overhead_s": self.overhead_s,
            "first_request_s": self.first_request_s,
            "kept_bytes": self.kept_bytes,
        }


@dataclass(frozen=True)
class Cell:
    """What the table says; the smallest `rank` of a row is its best, None is not compared."""

    text: str
    rank: float | None = None
    is_best: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    title: str
    cell: Callable[[Measured], Cell]

    def cells(self, found: Sequence[Measured | Absent]) -> list[Cell]:
        """Fill the line, and mark the best where not all are alike."""
        cells = [
            Cell("not measured") if isinstance(each, Absent) else self.cell(each) for each in found
        ]
        ranks = {cell.rank for cell in cells if cell.rank is not None}
        if len(ranks) < 2:
            return cells
        return [Cell(cell.text, cell.rank, cell.rank == min(ranks)) for cell in cells]


def _count(number: int) -> Cell:
    return Cell(f"{number:,}", number)


def _seconds(number: float) -> Cell:
    text = f"{number:.1f} s"
    return Cell(text, round(number, 1))


def _repeated(found: Measured) -> Cell:
    counts = found.gets_repeated
    parts = " + ".join(map(str, counts))
    return Cell(f"{sum(counts)} ({parts})" if sum(counts) else "0", sum(counts))


def _changed(found: Measured) -> Cell:
    changed, read = found.values_changed
    return Cell(f"{changed} of {read}", changed / read if read else 0)


def _bytes(found: Measured) -> Cell:
    kept = found.kept_bytes
    return Cell(f"{kept / 1e6:.1f} MB" if kept else "0", round(kept / 1e6, 1))


ROWS = (
    Row("lines changed in the pipeline", lambda m: _count(m.lines_changed)),
    Row("POSTs at the witness (one was meant)", lambda m: _count(m.posts)),
    Row("GETs repeated, by kill", _repeated),
    Row("values changed that a person had read", _changed),
    Row("CPU time redone after the three kills", lambda m: _seconds(m.cpu_redone_s)),
    Row("hand actions beside starting again", lambda m: _count(len(m.hands))),
    Row("run that nobody kills", lambda m: _seconds(m.seconds)),
    Row("… more than the plain script", lambda m: _seconds(m.overhead_s)),
    Row("command to first request", lambda m: _seconds(m.first_request_s)),
    Row("kept on disk for one run", _bytes),
    Row("packages that it brings", lambda m: _count(m.packages)),
    Row("kernel that was seen", lambda m: Cell(m.kernel or "none")),
)


def markdown_table(found: Sequence[Measured | Absent]) -> str:
    """Return the table for a document; the best of a row is bold."""
    lines = [
        ["", *(each.name for each in found)],
        ["---", *("---:" for _ in found)],
    ]
    for row in ROWS:
        cells = [f"**{cell.text}**" if cell.is_best else cell.text for cell in row.cells(found)]
        lines.append([row.title, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def put_between_marks(document: str, table: str) -> str:
    """Return the document with the table between its two marks. Raises ValueError without them."""
    begin, end = MARKS
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the document has no {begin} and {end}")
    return f"{before}{begin}\n\n{table}\n{end}{after}"
