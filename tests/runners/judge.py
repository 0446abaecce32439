"""The judge of one job: witness, journal, notebook, exit statuses and folder must fit together.

repeated    the witness counted an act twice
lost        an act was never counted, a call that has nothing against it did not come to the
            end, or the notebook lacks what an unkilled run has
changed     the notebook shows something else than the journal holds, or than an unkilled run
            shows, but for what is random
status      an exit status that says something else than what happened, or a doubt untold
litter      a file that nobody needs was left behind, or a second run was made
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from durable_kernel.store import Store
from tests.crash.judge import Journal
from tests.crash.witness import Arrival
from tests.runners.cases import Case, masked

__all__ = ["Finding", "Shown", "differences", "miscounted", "shown_in"]

_NOTICE = "durable: "


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind` is one of those above."""

    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a written notebook shows of one code cell. `texts`: by stdout, stderr, error."""

    count: int | None
    texts: dict[str, str]

    def without_notices(self) -> dict[str, str]:
        """Return the texts, less the lines that the kernel itself said."""
        lines = self.texts.get("stderr", "").splitlines(keepends=True)
        own = "".join(each for each in lines if not each.startswith(_NOTICE))
        rest = {name: text for name, text in self.texts.items() if name != "stderr"}
        return {**rest, "stderr": own} if own else rest


def shown_in(path: Path) -> list[Shown]:
    """Read the code cells of a notebook, in order."""
    cells = json.loads(path.read_text())["cells"]
    return [
        Shown(each["execution_count"], _texts(each["outputs"]))
        for each in cells
        if each["cell_type"] == "code"
    ]


def _texts(outputs: list[dict[str, Any]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for each in outputs:
        name, text = "result", ""
        if each["output_type"] == "stream":
            name, text = each["name"], "".join(each["text"])
        elif each["output_type"] == "error":
            name, text = "error", f"{each['ename']}: {each['evalue']}"
        else:
            text = "".join(each["data"]["text/plain"])
        texts[name] = texts.get(name, "") + text
    return texts


def miscounted(case: Case, arrivals: list[Arrival]) -> list[Finding]:
    """Find acts that were not counted exactly once."""
    counted = Counter(each.rid for each in arrivals if each.acted)
    found = []
    for source in case.sources:
        for rid in source.acts:
            if counted[rid] != 1:
                kind = "repeated" if counted[rid] else "lost"
                found.append(Finding(kind, f"{rid} was done {counted[rid]} times"))
    return found


def differences(
    output: Path, unkilled: list[Shown], journal: Journal, store: Store
) -> list[Finding]:
    """Compare the written notebook with that of an unkilled run, and with the journal."""
    if not output.exists():
        return [Finding("lost", "there is no output notebook")]
    found = []
    shown = shown_in(output)
    if [each.count for each in shown] != [each.count for each in unkilled]:
        found.append(Finding("changed", f"counts: {[each.count for each in shown]}"))
    for index, (now, then) in enumerate(zip(shown, unkilled, strict=True)):
        texts = {name: masked(text) for name, text in now.texts.items()}
        wanted = {name: masked(text) for name, text in then.texts.items()}
        if texts != wanted:
            found.append(Finding("changed", f"cell {index} shows {texts}, unkilled {wanted}"))
        recorded = {k: v for k, v in journal.texts.get(index, {}).items() if v}
        own = {k: v for k, v in now.without_notices().items() if k != "result"}
        if own != recorded:
            found.append(Finding("changed", f"cell {index} shows {own}, the journal {recorded}"))
    named = json.loads(output.read_text())["metadata"].get("durable", {}).get("run_id")
    runs = [each.run_id for each in store.all()]
    if len(runs) != 1:
        found.append(Finding("litter", f"runs {runs}"))
    elif named not in (None, runs[0]):
        found.append(Finding("changed", f"the notebook names run {named}, it is {runs[0]}"))
    return found
