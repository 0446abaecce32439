"""Exceptions of aiohttp as plain values, and back with their real types.

Several of them are made from objects: the key of a connection, or the error of the system below.
Their arguments are recorded one by one, each with its kind; the key comes from the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from durable_kernel.effects.http_recall import make_read_interrupted
from durable_kernel.ports import ErrorFacts, describe_error, rebuild_error

__all__ = ["Errors"]

_ADDRESS = re.compile(r"0x[0-9a-f]+")
_SCALARS = (str, bytes, int, float, bool, type(None))


class Errors:
    """The exceptions of one aiohttp."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.read_timeout = module.ServerTimeoutError
        self.disconnected = module.ServerDisconnectedError
        self._read_interrupted = make_read_interrupted(module.ClientPayloadError)

    def interrupted(self, label: str, reason: str) -> BaseException:
        """Make the read error of an answer that came back different (H23)."""
        error: BaseException = self._read_interrupted(label, reason)
        return error

    def lost(self, sentence: str, head: Mapping[str, Any] | None) -> BaseException:
        """Make the exception of an act that a user marked as failed.

        Of the kinds that say so it is none that aiohttp answers by sending again.
        """
        kind = (
            self._module.ClientConnectionError if head is None else self._module.ClientPayloadError
        )
        error: BaseException = kind(sentence)
        return error

    def connection_closed(self) -> BaseException:
        """Make what a reader is told who reads on behind a cancellation."""
        error: BaseException = self._module.ClientConnectionError("Connection closed")
        return error

    def describe_cause(self, error: BaseException) -> dict[str, Any]:
        """Reduce the cause of an exception to plain values."""
        facts = describe_error(error)
        return {"type_path": facts.type_path, "message": facts.message, "args": list(facts.args)}

    def rebuild_cause(self, plain: Mapping[str, Any] | None) -> BaseException | None:
        """Make what `describe_cause` reduced."""
        if plain is None:
            return None
        facts = ErrorFacts(plain["type_path"], plain["message"], tuple(plain["args"]))
        return rebuild_error(facts)

    def extra_of(self, error: BaseException) -> dict[str, Any]:
        """Return what has to be recorded of an exception beside its text."""
        if type(error).__module__ != self._module.client_exceptions.__name__:
            return {}
        if isinstance(error, self._module.ClientResponseError):
            return {"status": error.status, "reason": error.message}
        if all(type(arg) in _SCALARS for arg in error.args):
            return {}
        return {"arguments": [self._describe_argument(arg) for arg in error.args]}

    def _describe_argument(self, argument: Any) -> list[Any]:
        if type(argument).__name__ == "ConnectionKey":  # that of a proxy names another host
            return ["key", argument.host, argument.port, argument.is_ssl]
        if isinstance(argument, BaseException):
            return ["error", self.describe_cause(argument)]
        return ["value", argument if type(argument) in _SCALARS else str(argument)]

    def rebuild(self, facts: ErrorFacts, request: Any) -> BaseException:
        """Make a recorded exception again."""
        if facts.extra.get("is_read_interrupted"):
            return self.interrupted(*facts.args)
        error = self._rebuild_own(facts, request)
        if error is not None and _masked(str(error)) == _masked(facts.message):
            return error
        return rebuild_error(facts)

    def _rebuild_own(self, facts: ErrorFacts, request: Any) -> BaseException | None:
        module, _, name = facts.type_path.partition(":")
        if module != self._module.client_exceptions.__name__:
            return None
        kind = getattr(self._module.client_exceptions, name, None)
        if kind is None:
            return None
        if "status" in facts.extra:
            status, reason = facts.extra["status"], facts.extra["reason"]
            rebuilt: BaseException = kind(request.request_info, (), status=status, message=reason)
            return rebuilt
        if "arguments" not in facts.extra:
            return None
        arguments = [self._rebuild_argument(each, request) for each in facts.extra["arguments"]]
        if issubclass(kind, self._module.client_exceptions.UnixClientConnectorError):
            arguments.insert(0, getattr(request.session.connector, "path", ""))
        error: BaseException = kind(*arguments)
        error.__cause__ = next((each for each in arguments if isinstance(each, Exception)), None)
        return error

    def _rebuild_argument(self, plain: list[Any], request: Any) -> Any:
        kind, *value = plain
        if kind == "key":
            return _with_place(request.connection_key, *value)
        return self.rebuild_cause(value[0]) if kind == "error" else value[0]


def _with_place(key: Any, *place: Any) -> Any:
    """Return the key of a connection, to that place: a tuple since 3.10, a frozen class before."""
    changes = dict(zip(("host", "port", "is_ssl"), place, strict=False))
    if all(getattr(key, name) == value for name, value in changes.items()):
        return key
    if hasattr(key, "_replace"):
        return key._replace(**changes)
    names = [name for name in type(key).__slots__ if not name.startswith("__")]
    return type(key)(**{**{name: getattr(key, name) for name in names}, **changes})


def _masked(text: str) -> str:
    """Leave addresses out: the message of a refused connection shows its SSL context."""
    return _ADDRESS.sub("0x", text)
