"""Parameters: how they are typed on a command line, read from a file, and written as Python.

Numbers, True, False and None are read as papermill reads them. What papermill leaves as text and is
JSON (true, null, [1, 2], "5") is read as that: so quotes make text of what looks like a number.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from durable_kernel.errors import UsageError

__all__ = ["parse_value", "python_literal", "read_parameters"]

_YAML = frozenset({".yaml", ".yml"})
_WORDS = {"True": True, "False": False, "None": None}
_NUMBERS: tuple[Callable[[str], Any], ...] = (int, float)


def parse_value(text: str) -> Any:
    """Read a parameter as people type it. What is nothing else is the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    for read in _NUMBERS:
        try:
            return read(text)
        except ValueError:
            continue
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_parameters(path: Path) -> dict[str, Any]:
    """Read a file of parameters: a JSON object, or a YAML map where the name says so.

    Raises UsageError that names the file and what was found.
    """
    is_yaml = path.suffix.lower() in _YAML
    kind = "YAML map" if is_yaml else "JSON object"
    try:
        text = path.read_text("utf-8-sig")
        loaded = _read_yaml(text) if is_yaml else json.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no {kind} could be read ({error}).") from None
    if loaded is None and is_yaml:
        return {}  # an empty file
    if not isinstance(loaded, dict):
        raise UsageError(f"{path}: a {kind} is needed, this is a {type(loaded).__name__}.")
    if wrong := [each for each in loaded if not isinstance(each, str)]:
        raise UsageError(f"{path}: {wrong[0]!r} is no name of a parameter.")
    return loaded


def _read_yaml(text: str) -> Any:
    """Read YAML; dates stay text, as papermill has it. Raises ValueError."""
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        raise UsageError("a file of YAML needs PyYAML: `pip install pyyaml`.") from None
    kept = {
        first: [each for each in resolvers if each[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    dateless = type("Dateless", (yaml.SafeLoader,), {"yaml_implicit_resolvers": kept})
    try:
        return yaml.load(text, Loader=dateless)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def python_literal(name: str, value: Any) -> str:
    """Write a value as an expression of Python.

    Raises UsageError for NaN: it is not equal to itself, so no run would be found by it.
    """
    if isinstance(value, float) and math.isnan(value):
        raise UsageError(f"parameter {name} is not a number (NaN), and can't be compared.")
    if isinstance(value, float) and math.isinf(value):
        return f"float('{value}')"
    if isinstance(value, list):
        return f"[{', '.join(python_literal(name, each) for each in value)}]"
    if isinstance(value, Mapping):
        items = (f"{key!r}: {python_literal(name, each)}" for key, each in value.items())
        return f"{{{', '.join(items)}}}"
    return repr(value)
