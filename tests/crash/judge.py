"""The judge of one case: what the journal, the witness and the screen say must fit together.

    repeated   a request came although its outcome was in the journal, or twice in one attempt; or
               an act was done twice
    lost       a cell whose reply was shown is not committed with it, a settled outcome vanished, or
               the run could not go on
    changed    something that was shown is not the beginning of what that cell has in the end, or
               the cell ended with an error that it does not have without kills
    hung       an attempt took longer than anybody waits

Knows journals by their records, and nothing of how a run is carried out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from durable_kernel.codec import Sealer
from durable_kernel.history import Announced, Outline, Output, RecordCodec, position_history
from durable_kernel.journal import BlobStore
from durable_kernel.ports import Ending
from durable_kernel.runtime import effect_name
from durable_kernel.runtime.storing import Storing
from durable_kernel.store import Store
from tests.crash.attempt import Attempt
from tests.crash.lanes import LANE_EFFECTS
from tests.crash.notebooks import EXPECTED_ERROR
from tests.crash.witness import Arrival

__all__ = ["Journal", "Judge", "Shown", "Violation", "read_journal"]

Shown = dict[int, dict[str, str]]
"""Text by position and stream: stdout, stderr, error."""

_ONCE = frozenset({"post", "await", "caught", "raised", "step", "keyed", *LANE_EFFECTS})
_HANDLERS = "GET /did/"  # asked by code that handles a doubt, and withdrawn with it (H4)
_WAYS_ON = frozenset({"killed", "done", "stopped", "left"})


@dataclass(frozen=True, slots=True)
class Violation:
    """`kind` is repeated, lost, changed or hung."""

    kind: str
    what: str


@dataclass(slots=True)
class Journal:
    """What a run's journal says, read from outside."""

    committed: dict[int, str] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    """Labels of calls with an outcome."""
    doubtful: dict[str, Announced] = field(default_factory=dict)
    """Acts without one, by the name that people use."""
    cut: set[str] = field(default_factory=set)
    """Labels of all calls without one."""
    texts: Shown = field(default_factory=dict)
    """The outputs of each position's last attempt."""


def read_journal(store: Store, run_id: str, origin: str) -> Journal:
    """Read a run that nobody writes; it may not exist yet, and may have a torn tail."""
    journal = Journal()
    if not store.exists(run_id):
        return journal
    place = store.get(run_id)
    records = RecordCodec(sealer=Sealer(store.seal_key(run_id)))
    outline = Outline.of(store.frames(place), records)
    storing = Storing(records, BlobStore(place.folder / "blobs"))
    for each in outline.positions:
        history = position_history(place.folder, each, records)
        if history.committed is not None:
            journal.committed[each.position] = history.committed.status
        journal.texts[each.position] = _texts(history.outputs, storing)
        for call in (call for calls in history.calls.values() for call in calls):
            label = call.announced.label.replace(origin, "")
            ending = call.settled.ending if call.settled is not None else Ending.VALUE
            if call.is_complete and ending not in (Ending.INTERRUPTED, Ending.CARRIED):
                journal.settled.add(label)
            elif not call.is_complete or ending == Ending.CARRIED:
                journal.cut.add(label)
    for last in outline.positions[-1:]:  # behind a commit, it is a thread's that outlived the cell
        for act in last.pending.values():
            if act.act:
                journal.doubtful[effect_name(last.position, act.lane, act.ordinal)] = act
    return journal


def _texts(outputs: list[Output], storing: Storing) -> dict[str, str]:
    texts: dict[str, str] = defaultdict(str)
    for each in outputs:
        content = storing.content_of(each)
        if each.kind == "stream":
            texts[content["name"]] += content["text"]
        elif each.kind == "error":
            texts["error"] += f"{content['ename']}: {content['evalue']}"
    return dict(texts)


class Judge:
    """Follows one case from attempt to attempt."""

    def __init__(self, cells: int) -> None:
        self.violations: list[Violation] = []
        self._cells = cells
        self._before = Journal()
        self._doubts: Counter[str] = Counter()
        self._shown: list[Shown] = []

    def hear(self, attempt: Attempt, journal: Journal, arrivals: list[Arrival]) -> None:
        """Judge an attempt. `journal` is as it left it; `arrivals` are those of this attempt."""
        for label, count in Counter(each.label for each in arrivals).items():
            if label in self._before.settled:
                self.find("repeated", f"{label} was asked again")
            elif count > 1:
                self.find("repeated", f"{label} was asked {count} times in one attempt")
        self._doubts.update(journal.cut)
        self._hear_of_loss(attempt, journal)
        if attempt.ended == "hung":
            self.find("hung", f"in {_last_shown(attempt)}")
        elif attempt.ended not in _WAYS_ON:
            self.find("lost", f"the attempt failed: {attempt.stopped_by or attempt.ended}")
        elif attempt.ended == "stopped" and not _is_in_doubt(attempt.stopped_by):
            self.find("lost", f"the run stopped: {attempt.stopped_by}")
        for end in attempt.of("end"):
            for notice in end["notices"]:
                if "printed something else" in notice or "random generators" in notice:
                    self.find("changed", notice)
        self.see(_shown(attempt))
        self._before = journal

    def see(self, shown: Shown) -> None:
        """Keep what was shown in one attempt, for `conclude`."""
        self._shown.append(shown)

    def _hear_of_loss(self, attempt: Attempt, journal: Journal) -> None:
        before = self._before
        for position, status in before.committed.items():
            if journal.committed.get(position) != status:
                self.find("lost", f"cell {position} was committed as {status}")
        for label in sorted(before.settled - journal.settled):
            if not label.startswith(_HANDLERS):
                self.find("lost", f"the outcome of {label} is gone")
        for each in attempt.of("shown"):
            position, text = each["position"], each["text"]
            if each["kind"] == "reply" and journal.committed.get(position) != text:
                self.find("lost", f"cell {position} was replied to with {text}")

    def conclude(self, arrivals: list[Arrival]) -> None:
        """Judge the whole, once the last cell is done. `arrivals` are all there were."""
        journal = self._before
        for position in range(self._cells):
            if position not in journal.committed:
                self.find("lost", f"cell {position} was never committed")
        acts = Counter((each.label, each.kind, each.rid) for each in arrivals if each.acted)
        by_rid: Counter[str] = Counter()
        for (label, kind, rid), count in acts.items():
            by_rid[rid] += count if kind in _ONCE else 0
            if kind not in _ONCE and count > 1 + self._doubts[label]:
                self.find("repeated", f"{label} was done {count} times")
        for rid, count in by_rid.items():
            if count > 1:
                self.find("repeated", f"{rid} was done {count} times")
        for number, shown in enumerate(self._shown):
            self._compare(number, shown, journal)
        for position, texts in journal.texts.items():
            if not texts.get("error", EXPECTED_ERROR).startswith(EXPECTED_ERROR):
                self.find("changed", f"cell {position} raised {texts['error']}")

    def conclude_replay(self) -> None:
        """Judge a last attempt that replayed all: it has to show all of it."""
        last, journal = self._shown[-1], self._before
        if last != {position: texts for position, texts in journal.texts.items() if texts}:
            self.find("changed", f"replay shows {last}, the journal holds {journal.texts}")

    def _compare(self, number: int, shown: Shown, journal: Journal) -> None:
        for position, texts in shown.items():
            for stream, text in texts.items():
                final = journal.texts.get(position, {}).get(stream, "")
                if not final.startswith(text):
                    self.find(
                        "changed",
                        f"attempt {number}, cell {position}, {stream}: {_around(text, final)}",
                    )

    def find(self, kind: str, what: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(kind, what))


def _is_in_doubt(reason: str) -> bool:
    """Tell whether a run stopped because somebody has to decide: nobody caught the doubt (H4).

    Also where the code's own time-out ended the waiting for a decision.
    """
    return reason.startswith("RunSuspendedError") and "--retry" in reason


def _shown(attempt: Attempt) -> Shown:
    result: Shown = {}
    for each in attempt.of("shown"):
        if each["kind"] != "reply":
            texts = result.setdefault(each["position"], defaultdict(str))
            texts[each["kind"]] += each["text"]
    return {position: dict(texts) for position, texts in result.items()}


def _last_shown(attempt: Attempt) -> str:
    shown: list[dict[str, Any]] = attempt.of("shown")
    return f"cell {shown[-1]['position']}, behind {shown[-1]['text']!r}" if shown else "the opening"


def _around(text: str, final: str) -> str:
    """The place where two texts part."""
    at = next((i for i, (a, b) in enumerate(zip(text, final, strict=False)) if a != b), len(final))
    begin = max(0, at - 20)
    return f"shown {text[begin : at + 40]!r}, in the end {final[begin : at + 40]!r}"
