"""urllib3's exceptions as plain values, and back: real types, so that `Retry` decides the same.

They refer to the pool and the connection that raised them, to the requested URL, and to each other
(`reason`, `original_error`, `__cause__`). References to things that the code has again on replay
are recorded by name; what the URL holds may be a secret and is not recorded. Classes of urllib3 are
found in its own `exceptions` by name and made without their constructor, which would write another
message; all others are made by `ports.rebuild_error`.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

from durable_kernel.ports import ErrorFacts, describe_error, rebuild_error

__all__ = ["Urllib3Errors"]

_SCALARS = (str, bytes, int, float, bool, type(None))
_DEPTH_MAX = 5


class Urllib3Errors:
    """The exceptions of one attempt. `named` holds what they may refer to: pool, connection, URL.

    Implements `http_recall.ErrorKinds`.
    """

    def __init__(self, module: Any, read_interrupted: Any, named: Mapping[str, Any]) -> None:
        self._module = module
        self._read_interrupted = read_interrupted
        self._named = named

    def describe(self, error: BaseException) -> dict[str, Any]:
        """Return what a recorded outcome keeps besides type, message and arguments."""
        return {"urllib3": self._reduce(error, 0)} if self._is_own(type(error)) else {}

    def rebuild(self, facts: ErrorFacts) -> BaseException:
        """Make a recorded exception again."""
        node = facts.extra.get("urllib3")
        return self._restore(node) if node is not None else rebuild_error(facts)

    def interrupted(self, label: str, reason: str) -> BaseException:
        """Make the read error of an answer that came back different (H23)."""
        error: BaseException = self._read_interrupted(label, reason)
        return error

    @staticmethod
    def lost(sentence: str, *, has_head: bool) -> BaseException:
        """Make what the connection below raises: urllib3 translates it."""
        kind = ConnectionResetError if has_head else http.client.RemoteDisconnected
        return kind(sentence)

    def _is_own(self, kind: type[BaseException]) -> bool:
        return getattr(self._module, kind.__name__, None) is kind

    # --- to plain values ---

    def _reduce(self, error: BaseException, depth: int) -> dict[str, Any]:
        facts = describe_error(error)
        node: dict[str, Any] = {
            "type": facts.type_path,
            "message": facts.message,
            "args": list(facts.args),
        }
        if depth < _DEPTH_MAX and error.__cause__ is not None:
            node["cause"] = self._reduce(error.__cause__, depth + 1)
        if depth < _DEPTH_MAX and self._is_own(type(error)):
            node["args"] = [self._reduce_value(value, depth) for value in error.args]
            state = vars(error).items()
            node["state"] = {name: self._reduce_value(value, depth) for name, value in state}
        return node

    def _reduce_value(self, value: Any, depth: int) -> Any:
        if isinstance(value, BaseException):
            return {"error": self._reduce(value, depth + 1)}
        for name, known in self._named.items():
            if value is known or (isinstance(value, str) and value == known):
                return {"name": name}
        return value if type(value) in _SCALARS else str(value)

    # --- and back ---

    def _restore(self, node: Mapping[str, Any]) -> BaseException:
        module, _, name = node["type"].partition(":")
        kind: Any = getattr(self._module, name, None)
        error: BaseException
        is_error = isinstance(kind, type) and issubclass(kind, BaseException)
        if is_error and module == self._module.__name__ and "state" in node:
            error = kind.__new__(kind)
            error.args = tuple(self._restore_value(value) for value in node["args"])
            state = node["state"].items()
            vars(error).update({name: self._restore_value(value) for name, value in state})
        else:
            error = rebuild_error(ErrorFacts(node["type"], node["message"], tuple(node["args"])))
        if "cause" in node:
            error.__cause__ = self._restore(node["cause"])
        return error

    def _restore_value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return self._named.get(value["name"]) if "name" in value else self._restore(value["error"])
