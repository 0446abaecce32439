"""The benchmarks run: tiny sizes, no time is judged. Their figures are for people: `make bench`."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import Budget, Figure, Rounds
from benchmarks.run import NAMES

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    answer = folder / "figures.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.run", "--smoke", "--folder", str(folder)),
            *("--json", str(answer), *arguments),
        ],
        cwd=ROOT,
        check=True,
        timeout=280,
    )
    content: dict[str, Any] = json.loads(answer.read_text())
    return content


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_gives_finite_figures(name: str, tmp_path: Path) -> None:
    content = run(tmp_path, "--only", name)

    assert content["machine"]["cores"] >= 1
    assert content["figures"] != []
    for figure in content["figures"]:
        assert all(map(math.isfinite, (figure["value"], *figure["interval"])))
        assert all(math.isfinite(side["median"]) for side in figure["sides"].values())


def test_a_figure_survives_its_way_through_json() -> None:
    rounds = Rounds("ms")
    rounds.add(stock=1.0, durable=2.0)
    rounds.add(stock=2.0, durable=5.0)
    figure = rounds.figure(
        "1", "a cell", lambda m: m["durable"] / m["stock"], budget=Budget(1.1), note="so it is"
    )

    again = Figure.from_plain(json.loads(json.dumps(figure.as_plain())))

    assert again == figure


def test_a_verdict_says_when_the_rounds_do_not_settle_it() -> None:
    def verdict(value: float, low: float, high: float, budget: Budget | None) -> str:
        return Figure("1", "a cell", value, "×", (low, high), budget).verdict

    assert verdict(1.0, 0.9, 1.05, Budget(1.1)) == "pass"
    assert verdict(1.0, 0.9, 1.2, Budget(1.1)) == "~pass"
    assert verdict(1.2, 1.0, 1.3, Budget(1.1)) == "~miss"
    assert verdict(1.2, 1.15, 1.3, Budget(1.1)) == "miss"
    assert verdict(12.0, 11.0, 13.0, Budget(10, is_upper=False)) == "pass"
    assert verdict(1.2, 1.15, 1.3, None) == ""


def test_a_figure_is_made_of_the_medians_of_its_sides() -> None:
    rounds = Rounds("µs")
    for durable in (2.0, 4.0, 90.0):
        rounds.add(raw=2.0, durable=durable)

    figure = rounds.figure("4", "a request", lambda m: m["durable"] / m["raw"])

    assert figure.value == 2.0
    assert figure.interval == (1.0, 45.0)
    assert figure.rounds == 3
