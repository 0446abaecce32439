"""Histories: what replayed cells do to IPython's own. In, Out and `_` yes; history.sqlite no.

The replayed inputs stand in the database since the day they were typed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["kept_out_of_database"]


@contextmanager
def kept_out_of_database(shell: Any) -> Iterator[None]:
    """While inside, inputs reach `In` and `_i`, but not the database."""
    manager = shell.history_manager
    if manager is None:
        yield
        return
    stock = manager.store_inputs

    def store_inputs(line_num: int, source: str, source_raw: str | None = None) -> None:
        uses_thread, manager.using_thread = manager.using_thread, False  # nobody is woken to write
        try:
            stock(line_num, source, source_raw)
            with manager.db_input_cache_lock:
                if manager.db_input_cache and manager.db_input_cache[-1][0] == line_num:
                    manager.db_input_cache.pop()
        finally:
            manager.using_thread = uses_thread

    manager.store_inputs = store_inputs
    try:
        yield
    finally:
        del manager.store_inputs
