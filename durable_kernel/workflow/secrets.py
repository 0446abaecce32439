"""`secret` and `register_secret`: values that must not be written anywhere in clear.

A registered value is looked for in everything that the journal or a front end gets, and stands
there as `‹secret NAME›`. The value itself is in the notebook's memory like any other.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable

from durable_kernel.ports import (
    CURRENT_LANE,
    REPEAT_ALWAYS,
    SECRETS,
    Act,
    Call,
    Outcome,
    Secret,
    suspended,
    value_of,
)
from durable_kernel.workflow.context import warn_not_durable

__all__ = ["register_secret", "secret"]

_CHARS_MIN = 4


def secret(name: str, *, read: Callable[[], str] | None = None) -> str:
    """Return a secret, recorded encrypted, and register its value.

        token = durable.secret("GITHUB_TOKEN")
        token = durable.secret("db", read=lambda: keyring.get_password("db", "me"))

    It comes from `read()`; without that from the environment variable `name`; if there is none, the
    user is asked as by `getpass`. On replay it is the recorded value, even if the secret has been
    changed since: code that must see a rotated one reads `os.environ`, which is not recorded.
    What `read` raises is raised again on replay. TypeError if it returns something else than a str.
    """
    lane = CURRENT_LANE.get()
    if lane is None:
        if SECRETS.get() is None:
            warn_not_durable("secret")
        value = _get(name, read)
        _register(name, value)
        return value
    call = Call("secret", f"secret {name}", {"name": name}, {}, Act.OBSERVATION, REPEAT_ALWAYS)
    step = lane.port.begin(lane, call, lambda answer: Outcome.of_value(Secret(_line_of(answer))))
    if step.outcome is not None:
        recorded = value_of(step.outcome, lambda: EOFError(f"{call.label} was given up"))
        value = str(recorded.value)
        lane.port.secrets.register(name, value)
        return value
    try:
        with suspended():
            value = _get(name, read)
    except BaseException as error:
        step.settle(Outcome.of_error(error))
        raise
    lane.port.secrets.register(name, value)
    step.settle(Outcome.of_value(Secret(value)))
    return value


def register_secret(value: str | bytes, name: str = "") -> None:
    """Look for this value from now on in all that is written: outputs, errors, calls, answers.

    For a value that came from elsewhere than `secret`, `getpass` or the environment. Not recorded:
    on replay the code calls it again. What was written before stays as it is. `name` is shown in
    the value's place. ValueError for fewer than 4 characters: they stand everywhere by chance.
    """
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"a secret is a str or bytes, not {type(value).__name__}")
    if len(value.strip()) < _CHARS_MIN:
        raise ValueError(f"a secret has at least {_CHARS_MIN} characters, else it is everywhere")
    lane = CURRENT_LANE.get()
    if lane is None and SECRETS.get() is None:
        warn_not_durable("register_secret")
    _register(name or "of the notebook", value)


def _register(name: str, value: str | bytes) -> None:
    lane = CURRENT_LANE.get()
    known = lane.port.secrets if lane is not None else SECRETS.get()
    if known is not None:
        known.register(name, value)


def _get(name: str, read: Callable[[], str] | None) -> str:
    value = read() if read is not None else os.environ.get(name)
    if value is None and read is None:
        value = getpass.getpass(f"{name}: ")
    if not isinstance(value, str):
        raise TypeError(f"the secret {name} is a {type(value).__name__}, not a str")
    return value


def _line_of(answer: bytes) -> str:
    return answer.decode("utf-8", "surrogateescape").rstrip("\r\n")
