"""Parameters: read as papermill reads them, from a command line and from files."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from papermill.cli import _resolve_type

from durable_kernel.errors import UsageError
from durable_kernel.headless.parameters import parse_value, python_literal, read_parameters


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("2.5", 2.5),
        ("true", True),
        ("True", True),
        ("None", None),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ('"3"', "3"),
        ("2026-11-22", "2026-11-22"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_parameter_is_read_as_people_type_it(text: str, value: object) -> None:
    found = parse_value(text)

    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    "text", ["3", "-3", "007", "1_000", "2.5", "1e5", "inf", "True", "False", "None", "a b", "x"]
)
def test_what_papermill_types_has_its_type(text: str) -> None:
    expected = _resolve_type(text)

    found = parse_value(text)

    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize("name", ["p.yaml", "p.yml", "p.YAML"])
def test_a_file_of_yaml_is_read_and_dates_stay_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("day: 2026-11-22\nalpha: 0.5\nnames: [a, b]\nnested: {x: null}\n")

    found = read_parameters(path)

    nested = {"x": None}
    assert found == {"day": "2026-11-22", "alpha": 0.5, "names": ["a", "b"], "nested": nested}


def test_a_file_of_json_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"alpha": 0.5}))

    assert read_parameters(path) == {"alpha": 0.5}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("p.json", "[1]", "a JSON object is needed, this is a list"),
        ("p.json", "{", "no JSON object could be read"),
        ("p.yaml", "- 1", "a YAML map is needed, this is a list"),
        ("p.yaml", "a: [", "no YAML map could be read"),
        ("p.yaml", "1: a", "1 is no name of a parameter"),
        ("p.yaml", "a: !!python/object/apply:os.getcwd []", "no YAML map could be read"),
    ],
)
def test_what_is_no_map_is_refused(tmp_path: Path, name: str, text: str, found: str) -> None:
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(UsageError, match=found):
        read_parameters(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.json"):
        read_parameters(tmp_path / "nowhere.json")


def test_without_pyyaml_a_file_of_yaml_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    path = tmp_path / "p.yaml"
    path.write_text("a: 1")

    with pytest.raises(UsageError, match="pip install pyyaml"):
        read_parameters(path)


@pytest.mark.parametrize(
    "value", [3, "it's", None, math.inf, -math.inf, [1, math.inf], {"a": [True, -math.inf]}, 1e300]
)
def test_a_value_is_written_as_python_that_gives_it_back(value: object) -> None:
    assert eval(python_literal("x", value)) == value


def test_a_number_that_is_none_is_refused() -> None:
    """It is not equal to itself: an interrupted run would not be found again by it."""
    with pytest.raises(UsageError, match="NaN"):
        python_literal("x", [math.nan])
