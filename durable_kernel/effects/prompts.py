"""Prompts: what a person types into `input()` and `getpass()`. The kernel asks here.

A question changes nothing outside, so one that was cut by a crash is asked again. Knows no kernel:
how to read a line is an argument.
"""

from __future__ import annotations

from collections.abc import Callable

from durable_kernel.effects.exceptions import value_of
from durable_kernel.errors import AnswerRejectedError
from durable_kernel.ports import REPEAT_ALWAYS, Act, Call, Lane, Outcome, Secret, Witness, suspended

__all__ = ["ask", "install"]

_KIND = "input"


def ask(lane: Lane, prompt: str, read: Callable[[], str], *, secret: bool) -> str:
    """Return the line that was typed, or is typed now: `read()` blocks and returns it.

    A `secret` line is recorded as a `ports.Secret`, and registered. What `read` raises is raised
    again on replay: an Exception (end of file, no front end that can answer) as the outcome,
    KeyboardInterrupt as an abandoned call.
    """
    identity = {"prompt": prompt, "secret": secret}
    label = f"{'getpass' if secret else 'input'}({prompt!r})"
    call = Call(_KIND, label, identity, act=Act.OBSERVATION, repeat=REPEAT_ALWAYS)
    step = lane.port.begin(lane, call, lambda answer: _parse(answer, secret=secret))
    if step.outcome is not None:
        recorded = value_of(step.outcome, lambda: EOFError(f"{label} was given up"))
        line = str(recorded.value if isinstance(recorded, Secret) else recorded)
        _register(lane, prompt, line, secret=secret)
        return line
    try:
        with suspended():
            line = read()
    except BaseException as error:
        step.settle(Outcome.of_error(error))
        raise
    _register(lane, prompt, line, secret=secret)
    step.settle(Outcome.of_value(Secret(line) if secret else line))
    return line


def _register(lane: Lane, prompt: str, line: str, *, secret: bool) -> None:
    """Let a secret line be looked for in outputs; on replay from the same moment on."""
    if secret:
        lane.port.secrets.register(prompt.strip(" \t:?") or "getpass", line)


def _parse(answer: bytes, *, secret: bool) -> Outcome:
    try:
        line = answer.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise AnswerRejectedError(_KIND, f"it is not UTF-8 ({error})", "one line of text") from None
    return Outcome.of_value(Secret(line) if secret else line)


def install(witness: Witness) -> None:
    """Do nothing: the kernel's own `raw_input` and `getpass` call `ask`."""
