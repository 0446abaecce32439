"""Emptying: a cell whose names come from the journal passes through IPython without its code.

So its number, its place in `In` and its hooks are as after any cell, and nothing of it runs (H16).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from durable_kernel.runtime import CellExecution

__all__ = ["emptied", "take_results"]

_SHOWN_BEFORE = ("_", "__", "___")


class _Empty(ast.NodeTransformer):
    """Leaves nothing of a module."""

    def visit(self, node: ast.AST) -> ast.AST:
        return ast.Module(body=[], type_ignores=[])


@contextmanager
def emptied(shell: Any, execution: CellExecution) -> Iterator[None]:
    """While inside, what IPython compiles is empty, if this cell is brought back from the journal.

    Another cell passes as it is.
    """
    if not execution.is_kept:
        yield
        return
    stock, shell.ast_transformers = shell.ast_transformers, [_Empty()]
    try:
        yield
    finally:
        shell.ast_transformers = stock


def take_results(shell: Any, values: Mapping[str, Any]) -> None:
    """Put results among what was brought back where IPython looks for them: `Out`, and `_`."""
    for name, value in values.items():
        if name in _SHOWN_BEFORE:
            setattr(shell.displayhook, name, value)
        elif name[:1] == "_" and name[1:].isdigit():
            shell.user_ns["_oh"][int(name[1:])] = value
