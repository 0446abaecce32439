"""docs/journal-format.md and the records say the same."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from durable_kernel.history import Record, records

DOCUMENT = Path(__file__).parents[2] / "docs" / "journal-format.md"
ROW = re.compile(r"^\| (\d+) \| (\w+) \| ([^|]*) \|", re.MULTILINE)


def documented() -> list[tuple[int, str, list[str]]]:
    section = DOCUMENT.read_text().partition("## Records")[2].partition("\n## ")[0]
    return [
        (int(code), name, re.findall(r"`(\w+)`", listed))
        for code, name, listed in ROW.findall(section)
    ]


def known() -> list[tuple[int, str, list[str]]]:
    types = [
        each
        for each in vars(records).values()
        if isinstance(each, type) and issubclass(each, Record) and each is not Record
    ]
    return sorted((each.CODE, each.__name__, [one.name for one in fields(each)]) for each in types)


def test_the_document_lists_every_record_with_its_number_and_its_fields_in_order() -> None:
    assert documented() == known()


def test_no_number_is_given_twice() -> None:
    numbers = [code for code, _, _ in known()]

    assert len(set(numbers)) == len(numbers)
