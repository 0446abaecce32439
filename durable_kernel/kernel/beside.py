"""Beside the cells: requests that are no cell, and change what later cells see (H38).

    execute, silent or without history   what VS Code, Elyra and tools that inject data send
    execute, user_expressions alone      evaluated in the namespace, so they may bind names

Each runs in a position of its own that is forgotten if it only looked (`runtime.inputs`). Kept is
what ran an effect, bound a name or took one away, stored into an object it did not make, or called
something and showed nothing of it: who does that means the change. What a tool displays does not
reach `_` and `Out` of the cells that follow.

Comm messages are in `comms`.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from durable_kernel.errors import DurableError, Stop
from durable_kernel.history import COMM, INPUT
from durable_kernel.kernel.histories import kept_out_of_database
from durable_kernel.kernel.performing import Asked
from durable_kernel.runtime import CellRequest, InputExecution, Run

if TYPE_CHECKING:
    from durable_kernel.kernel.kernel import DurableKernel

__all__ = ["Beside", "Names", "stores_something"]

_MISSING = object()
_COMPARED = frozenset({bool, bytes, float, int, str, type(None)})
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_LAST_SHOWN = ("_", "__", "___")


class Beside:
    """Executes requests that are no cells."""

    def __init__(self, kernel: DurableKernel) -> None:
        self._kernel = kernel
        self._told: set[str] = set()

    async def execute(self, run: Run, asked: Asked) -> dict[str, Any]:
        """Run a request, live or in the place where it is recorded. Returns the reply."""
        kernel = self._kernel
        names = Names(kernel.shell)
        request = replace(kernel.performer.request(asked), kind=INPUT)
        try:
            await self.replay_waiting(run, kinds=(COMM,))
            execution = self._execution(run, asked, request, names)
        except (DurableError, Stop) as error:
            return kernel.refuse(error, asked)
        if execution is None:
            return await self._execute_unjournaled(run, asked, names)
        is_live = not execution.is_replay
        performance = await kernel.performer.perform(execution, asked, is_shown=is_live)
        if execution.is_dropped:
            names.put_shown_back()
        return performance.reply

    async def replay_waiting(self, run: Run, kinds: Container[str | None] = (COMM, INPUT)) -> None:
        """Run the inputs that are recorded before the next cell; nobody sent them again."""
        kernel = self._kernel
        if run.next_kind not in kinds:
            return
        parent, ends_with = kernel.get_parent("shell"), kernel.saved_sigint_handler
        idents = kernel._get_shell_context_var(kernel._shell_parent_ident)
        try:
            while run.next_kind in kinds and (history := run.next_recorded()) is not None:
                with kept_out_of_database(kernel.shell):
                    await kernel.restoration.repeat(run, history)
                if (refused := kernel.refusal_now()) is not None:
                    raise refused
        finally:
            kernel.set_parent(idents, parent, channel="shell")
            kernel.pre_handler_hook()  # a cell that is over ignores SIGINT; the next one does not
            kernel.saved_sigint_handler = ends_with

    def _execution(
        self, run: Run, asked: Asked, request: CellRequest, names: Names
    ) -> InputExecution | None:
        """Decide what a request is: new, recorded here, or (None) of no place in the journal."""
        recorded = run.next_recorded()
        if recorded is not None and not recorded.is_input:
            return None
        if recorded is not None and recorded.source == request.source:
            execution = run.replay_cell(recorded)
            assert isinstance(execution, InputExecution), "an input is replayed as one"
            return execution
        if recorded is not None:
            run.branch(recorded.position, "a tool sent something else", reuses=True)
        code = asked.code
        new: list[InputExecution] = []
        new.append(run.start_input(request, lambda: self._is_kept(new[0], names, code)))
        return new[0]

    def _is_kept(self, execution: InputExecution, names: Names, code: str) -> bool:
        if names.have_changed():
            return True
        source = self._kernel.shell.transform_cell(code)
        return stores_something(source, has_shown=execution.has_shown)

    async def _execute_unjournaled(self, run: Run, asked: Asked, names: Names) -> dict[str, Any]:
        """Run a request that came where the journal has a cell: say what it changes."""
        kernel = self._kernel
        with run.interrupts.letting_in():
            reply = await kernel.execute_stock(asked)
        new = sorted(names.rebound() - self._told)
        if new:
            self._told.update(new)
            run.tell(
                f"a tool set {', '.join(new)} while recorded cells were still to come; that is "
                "not journaled, so cells that use it cannot be restored."
            )
        return reply


class Names:
    """The namespace at one moment, to be compared with what it is later."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._before = dict(shell.user_ns)
        self._number = shell.displayhook.prompt_count
        self._out = shell.user_ns.get("_oh", {}).get(self._number, _MISSING)
        self._shown = [getattr(shell.displayhook, name) for name in _LAST_SHOWN]

    def rebound(self) -> set[str]:
        """Names that were bound, bound to something else, or deleted since."""
        now = self._shell.user_ns
        changed = {
            name
            for name, value in now.items()
            if not _same(self._before.get(name, _MISSING), value)
        }
        own = {*_LAST_SHOWN, f"_{self._number}"}
        return (changed | (self._before.keys() - now.keys())) - own

    def have_changed(self) -> bool:
        return bool(self.rebound())

    def put_shown_back(self) -> None:
        """Let `_` and `Out` be what the last cell left: this was none."""
        names, hook = self._shell.user_ns, self._shell.displayhook
        for name in (*_LAST_SHOWN, f"_{self._number}"):
            _put(names, name, self._before.get(name, _MISSING))
        _put(names.get("_oh", {}), self._number, self._out)
        for name, value in zip(_LAST_SHOWN, self._shown, strict=True):
            setattr(hook, name, value)


def stores_something(source: str, *, has_shown: bool) -> bool:
    """Tell whether code means to change something that has no name of its own.

    It stores into an attribute or an item, outside of functions that it defines; or it calls
    something whose result nobody sees.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    for node in _outside_of_functions(tree):
        is_stored = isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del))
        if is_stored and isinstance(node, (ast.Attribute, ast.Subscript)):
            return True
        is_done = isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.Await))
        if is_done and not has_shown:
            return True
    return False


def _outside_of_functions(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, _SCOPES):
            yield from _outside_of_functions(node)


def _same(before: object, now: object) -> bool:
    """Tell whether a name means what it meant. Plain values are the same if they are equal."""
    if before is now:
        return True
    return type(before) is type(now) and type(now) in _COMPARED and before == now


def _put(names: Mapping[Any, Any], name: Any, value: object) -> None:
    assert isinstance(names, dict), "IPython keeps plain dicts"
    if value is _MISSING:
        names.pop(name, None)
    else:
        names[name] = value
