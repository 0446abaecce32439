"""Names of tokens and passwords, as they stand in addresses, JSON, forms and XML.

Knows no library, and decides nothing: `http_answers` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

__all__ = [
    "NAME_HINTS",
    "VALUE_CHARS_MIN",
    "hide_in_command",
    "holds_secret",
    "is_secret_target",
    "tokens_in",
]

_TARGETS = re.compile(
    r"://(?:oauth2?|login|accounts?|auth|sso|sts|id)\."
    r"|/(?:oauth2?|tokens?|openid-connect|login|log-in|signin|sign-in|sessions?|authenticate"
    r"|assume-?role)(?=[/?.:]|$)",
    re.IGNORECASE,
)

_IN_COMMAND = re.compile(
    r"(?:authorization:\s*(?:\w+\s+)?|cookie:\s*|(?:x-)?api-?key:\s*|(?:^|\s)-u[= ]?[^\s:/]+:(?!/)"
    r"|--(?:user|pass\w*|token|secret|api-?key|auth)[= ]"
    r"|\b\w*(?:token|secret|password|passwd|api_?key)\w*=|://[^/\s:@]+:(?=[^/\s@]+@))"
    r"(?P<value>[^\s'\"@&]+)",
    re.IGNORECASE,
)
_TOKENS = (
    "(?:access|refresh|id|session|auth|bearer|security|api|csrf|xsrf)[_-]?token|client[_-]?secret"
    "|secret[_-]?access[_-]?key|secret[_-]?key|api[_-]?key|private[_-]?key|device[_-]?code|jwt"
)
_MAYBE = "token|password|passwd|secret"
_NAME = re.compile(
    rf"(?<![a-z0-9_-])(?:{_TOKENS}|{_MAYBE})[\"'\\]*\s*[:=>]".encode(), re.IGNORECASE
)
_ADDRESS_HINTS = ("oken", "auth", "ogin", "sign", "session", "account", "sso", "sts", "id.", "role")
NAME_HINTS = (b"oken", b"ecret", b"assw", b"_key", b"Key", b"pikey", b"_code", b"jwt")
"""Where none of these stands, no token is named."""
_AROUND_BYTES = 32

_FIELDS = (
    rb'"(%s)"\s*:\s*"((?:[^"\\]|\\.)*)"',  # JSON
    rb"(?:^|[&\s])(%s)=([^&\s]+)",  # a form
    rb"<(?:\w+:)?(%s)>([^<]+)<",  # XML
)
_VALUES = [
    re.compile(each % f"{_TOKENS}|{_MAYBE}".encode(), re.IGNORECASE | re.DOTALL) for each in _FIELDS
]
_IS_TOKEN = re.compile(_TOKENS, re.IGNORECASE)


VALUE_CHARS_MIN = 8
_MAYBE_CHARS_MIN = 16


def is_secret_target(url: str) -> bool:
    """Tell whether an address hands out tokens, as far as it says so."""
    address = url.partition("?")[0].lower()
    for hint in _ADDRESS_HINTS:
        if hint in address:
            return _TARGETS.search(address) is not None
    return False


def holds_secret(text: bytes) -> bool:
    """Tell whether the name of a token or password stands in a text, with something behind it.

    Each answer pays for this: the costly pattern looks only around what all names have in common.
    """
    for hint in NAME_HINTS:
        at = text.find(hint)
        while at >= 0:
            if _NAME.search(text, max(at - _AROUND_BYTES, 0), at + _AROUND_BYTES):
                return True
            at = text.find(hint, at + 1)
    return False


def hide_in_command(text: str) -> str:
    """Replace what follows the name of a secret in a command line, and passwords in URLs."""
    return _IN_COMMAND.sub(
        lambda found: found[0][: found.start("value") - found.start()] + "‹hidden›", text
    )


def tokens_in(text: bytes) -> Iterator[tuple[str, str]]:
    """Yield the names and values of tokens in JSON, a form or XML.

    What is only called `token` or `password` has to look like one: 16 characters or more without
    space, digits and letters. It may be a word of a language model, or anybody's first name.
    """
    for pattern in _VALUES:
        for found in pattern.finditer(text):
            name, value = found[1].decode("latin-1"), found[2].decode("utf-8", "replace")
            if pattern is _VALUES[0]:
                value = _unescaped(value)
            if _IS_TOKEN.fullmatch(name):
                if len(value) >= VALUE_CHARS_MIN:
                    yield name, value
            elif len(value) >= _MAYBE_CHARS_MIN and _looks_random(value):
                yield name, value


def _unescaped(value: str) -> str:
    try:
        return str(json.loads(f'"{value}"', strict=False))
    except ValueError:
        return value


def _looks_random(value: str) -> bool:
    return (
        not any(map(str.isspace, value))
        and any(map(str.isdigit, value))
        and any(map(str.isalpha, value))
    )
