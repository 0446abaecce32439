"""Changed: which names of a notebook a cell may have left different, without a look at each value.

Asked only of a cell that was cut while it computed (H16). Nothing may be missed, so the answer is
too large rather than too small. A name counts as changed if

    it is new, gone, or bound to another object than when the cell began
    it stands anywhere in the cell's source, or in a function or class of cells that is reached
    from there
    its value shares something changeable with one of those

What reaches names in ways that no source shows (`exec`, `globals()`, `%run`, …) makes all of them
count. Objects that only modules hold are not seen: module state is no name.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from operator import ne
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any

__all__ = ["Before", "Changed", "address_of", "changed_names", "is_of_machinery", "shared_owner"]

_WORD = re.compile(r"[^\W\d]\w*")
_REACHES_ALL = frozenset(
    {"__main__", "eval", "exec", "gc", "get_ipython", "globals", "inspect", "locals", "vars"}
)
_RUNS_SCRIPT = re.compile(r"^\s*%+\s*(run|load|autoreload|pylab)\b", re.MULTILINE)
_MACHINERY = re.compile(r"_i{1,3}|_i\d+|_ih|_oh|_dh|In|Out|get_ipython|exit|quit|__\w+__")
_INPUT = re.compile(r"_i\d+")
_ATOMS: tuple[type, ...] = (
    *(type(None), bool, int, float, complex, str, bytes, range, type(...)),
    *(CodeType, FrameType, ModuleType, TracebackType),
)
_LINKS_NOTHING = frozenset({"IPython", "asyncio", "ipykernel", "logging", "tornado", "zmq"})
"""Machinery that holds on to everything: two names that hold it have nothing in common by that."""
_EFFECTS = "durable_kernel.effects."
"""What stands in for objects of a library holds what is the notebook's."""

_OBJECTS_MAX = 3_000_000
"""Beyond that many objects nobody waits for the answer: all names count as changed."""


@dataclass(frozen=True)
class Before:
    """What is looked at when a cell begins: addresses, and nothing that would keep a value alive.

    Classes are held: two of them can't have one address then.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    """Of names that are looked at: all but `_i1`, `_i2`, …, the inputs, one more for each cell."""
    hashes: tuple[int, ...]
    classes: Mapping[str, type]
    environment: Mapping[Any, Any]
    folder: str
    path: tuple[str, ...]

    @classmethod
    def of(
        cls, names: Mapping[str, Any], last: Before | None = None, folder: str | None = None
    ) -> Before:
        """Look at the names, the environment and the working folder, unless that is known.

        Each cell pays for it: some µs, and 75 ns for each name. So nothing is looked into that was
        there before the `last` cell: a class that took the very place of another value is taken
        for a change, which does no harm.
        """
        seen = dict(names)  # at once: threads may bind names meanwhile
        now, values = tuple(seen), tuple(seen.values())
        is_longer = last is not None and now[: len(last.names)] == last.names
        before = last if is_longer else None
        start = len(before.names) if before is not None else 0
        places = tuple(each for each in range(start, len(now)) if not _INPUT.fullmatch(now[each]))
        fresh = places
        if before is not None:
            places = before.places + places
        hashes = tuple(map(address_of, map(values.__getitem__, places)))
        classes: dict[str, type] = {}
        if before is not None:
            classes.update(before.classes)
            changed = compress(before.places, map(ne, hashes, before.hashes))
            fresh = (*changed, *fresh)
        for each in fresh:
            classes.pop(now[each], None)
            if isinstance(value := values[each], type):
                classes[now[each]] = value
        return cls(
            now,
            places,
            hashes,
            classes,
            dict(getattr(os.environ, "_data", os.environ)),  # as it is held: not decoded
            folder_now() if folder is None else folder,
            tuple(sys.path),
        )

    @cached_property
    def addresses(self) -> Mapping[str, int]:
        """Addresses of the values by their names, but for inputs."""
        return dict(zip(map(self.names.__getitem__, self.places), self.hashes, strict=True))

    @property
    def variables(self) -> dict[str, str]:
        """The environment as `os.environ` shows it."""
        return {
            each if isinstance(each, str) else os.fsdecode(each): os.fsdecode(value)
            for each, value in self.environment.items()
        }


@dataclass(frozen=True, slots=True)
class Changed:
    """Names that a cell may have changed, and names that it took away.

    `shared` are addresses of arrays whose memory several values of these names have in common.
    """

    names: tuple[str, ...]
    gone: tuple[str, ...]
    shared: frozenset[int]
    holds: tuple[Any, ...] = ()
    """What keeps those addresses from being given to others."""


address_of: Callable[[Any], int] = object.__hash__
"""A number for an object that no other one has as long as it lives. Where anybody listens to audit
events, as we do, `id` is ten times as slow: it raises one."""


def folder_now() -> str:
    """Return the working folder; empty for one that is gone."""
    try:
        return os.getcwd()  # noqa: PTH109 - a Path of it would be made for nothing
    except OSError:
        return ""


def is_of_machinery(name: str) -> bool:
    """Tell whether a name is IPython's or Python's own, and no value of the notebook."""
    return _MACHINERY.fullmatch(name) is not None


def changed_names(
    names: Mapping[str, Any], before: Before, source: str, handlers: Sequence[Any] = ()
) -> Changed:
    """Find the names that a cell with this source, and these handlers of signals, may have changed.

    A handler that no name leads to may reach all of them.
    """
    own = {name: value for name, value in names.items() if not is_of_machinery(name)}
    gone = tuple(
        name for name in before.addresses if name not in names and not is_of_machinery(name)
    )
    graph = _Graph(names, own)
    words = set(_WORD.findall(source))
    hit = {name for name, value in own.items() if any(value is each for each in handlers)}
    reaches_all = len({id(own[name]) for name in hit}) < len({id(each) for each in handlers})
    rebound = {
        name for name, value in own.items() if before.addresses.get(name) != address_of(value)
    }
    if graph.is_too_large or reaches_all or words & _REACHES_ALL or _RUNS_SCRIPT.search(source):
        found = set(own)
    else:
        found = graph.reached_from((words & own.keys()) | rebound | hit)
    kept = {name for name in found if name in rebound or not isinstance(own[name], ModuleType)}
    return Changed(tuple(sorted(kept)), gone, graph.shared(), tuple(graph.held))


class _Graph:
    """What the values of all names refer to: who shares what, and whose code names which words."""

    def __init__(self, namespace: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        self._namespace = namespace
        self._own = own
        self._owner: dict[int, str] = {}
        self._groups: dict[str, str] = {}
        self._words: dict[str, set[str]] = {}
        self._views: dict[int, int] = {}
        self._seen_itself: set[int] = set()
        self._read: set[tuple[str, type]] = set()
        self.held: list[Any] = []
        self.is_too_large = False
        for name, value in own.items():
            self._groups[name] = name
            self._words[name] = set()
            if not self.is_too_large:
                self._walk(name, value)

    def shared(self) -> frozenset[int]:
        """Return the arrays that are seen through another one, too."""
        return frozenset(
            address
            for address, count in self._views.items()
            if count > 1 or address in self._seen_itself
        )

    def reached_from(self, names: set[str]) -> set[str]:
        """Add whoever shares something with these names, and whom their code names."""
        members: dict[str, set[str]] = {}
        for name in self._own:
            members.setdefault(self._root(name), set()).add(name)
        found: set[str] = set()
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in found:
                continue
            found.add(name)
            todo += members[self._root(name)] - found
            words = self._words[name]
            if words & _REACHES_ALL:
                return set(self._own)
            todo += (words & self._own.keys()) - found
        return found

    def _walk(self, name: str, value: Any) -> None:
        todo = [value]
        while todo:
            thing = todo.pop()
            if isinstance(thing, _ATOMS) or self._is_of_module(thing):
                continue
            if isinstance(thing, type):
                self._read_class(name, thing)
                continue
            if hasattr(type(thing), "__array_interface__") and shared_owner(thing) is None:
                self._seen_itself.add(id(thing))
            owner = self._owner.get(id(thing))
            if owner is not None:
                self._join(owner, name)
                continue
            self._owner[id(thing)] = name
            self.held.append(thing)
            if len(self.held) > _OBJECTS_MAX:
                self.is_too_large = True
                return
            todo += self._referents(name, thing)

    def _is_of_module(self, thing: Any) -> bool:
        """Tell whether this is a function that a module defines: no link, as the module is none."""
        return (
            type(thing) is FunctionType
            and thing.__globals__ is not self._namespace
            and thing.__closure__ is None
        )

    def _referents(self, name: str, thing: Any) -> Iterator[Any]:
        if isinstance(thing, FunctionType):
            yield from self._of_function(name, thing)
        elif thing is self._namespace:
            self._words[name].add("globals")
        elif isinstance(thing, BuiltinFunctionType):
            yield thing.__self__
        elif not _is_machinery(type(thing)):
            array = shared_owner(thing)
            if array is not None:
                self._views[id(array)] = self._views.get(id(array), 0) + 1
                self._view(name, array)
            yield from gc.get_referents(thing)

    def _view(self, name: str, array: Any) -> None:
        """Let those who look at the same memory belong together."""
        owner = self._owner.setdefault(id(array), name)
        self.held.append(array)
        self._join(owner, name)

    def _of_function(self, name: str, function: FunctionType) -> Iterator[Any]:
        """Yield what a function carries with it. Its globals are names, or a module's."""
        if function.__globals__ is self._namespace:
            self._words[name] |= _words_of(function.__code__)
        yield from function.__defaults__ or ()
        yield from (function.__kwdefaults__ or {}).values()
        yield from function.__closure__ or ()
        yield from function.__dict__.values()

    def _read_class(self, name: str, kind: type) -> None:
        """Take the words of the methods of classes that cells defined; a class is no link."""
        if (name, kind) in self._read:
            return
        self._read.add((name, kind))
        for each in kind.__mro__:
            if each.__module__ == self._namespace.get("__name__"):
                self._words[name] |= {each.__name__} | _words_of_class(each)

    def _root(self, name: str) -> str:
        while self._groups[name] != name:
            self._groups[name] = self._groups[self._groups[name]]
            name = self._groups[name]
        return name

    def _join(self, one: str, other: str) -> None:
        self._groups[self._root(one)] = self._root(other)


def shared_owner(thing: Any) -> Any | None:
    """Return the array whose memory this array is a view of; None for one that has its own.

    Told by shape, so that no library of users is named here.
    """
    kind = type(thing)
    if not hasattr(kind, "__array_interface__") or not hasattr(kind, "base"):
        return None
    base = thing.base
    return base if type(base) is kind else None


def _is_machinery(kind: type) -> bool:
    module = str(kind.__module__)
    is_ours = module.startswith("durable_kernel.") and not module.startswith(_EFFECTS)
    return is_ours or module.partition(".")[0] in _LINKS_NOTHING


def _words_of_class(kind: type) -> set[str]:
    found: set[str] = set()
    for attribute in list(vars(kind).values()):
        wrapped = getattr(attribute, "__func__", None) or getattr(attribute, "fget", None)
        function = wrapped or attribute
        if isinstance(function, FunctionType):
            found |= _words_of(function.__code__)
    return found


def _words_of(code: CodeType) -> set[str]:
    """Return all names that a function's code, and what is nested in it, refers to."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _words_of(constant)
    return found
