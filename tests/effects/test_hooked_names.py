"""Who looks at a hooked name sees what is there without hooks: name, signature, kind, class."""

from __future__ import annotations

import importlib
import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

METHODS = [
    "aiohttp:ClientSession._request",
    "aiohttp:TCPConnector.connect",
    "http.client:HTTPConnection.connect",
    "http.client:HTTPConnection.endheaders",
    "http.client:HTTPConnection.getresponse",
    "http.client:HTTPSConnection.connect",
    "httpx:AsyncHTTPTransport.handle_async_request",
    "httpx:HTTPTransport.handle_request",
    "requests:Session.send",
    "requests.adapters:HTTPAdapter.send",
    "urllib3:HTTPConnectionPool._make_request",
    "urllib3:HTTPSConnectionPool._prepare_proxy",
    "urllib3:HTTPSConnectionPool._validate_conn",
]
BUILTINS = ["datetime:datetime.now", "os:urandom", "time:sleep", "time:time"]


def look(named: str) -> list[str]:
    """Say what can be seen of a name, and of the class that holds it."""
    module, _, path = named.partition(":")
    owner, _, name = path.rpartition(".")
    holder: Any = importlib.import_module(module)
    for part in owner.split(".") if owner else ():
        holder = getattr(holder, part)
    found = getattr(holder, name)
    seen = [found.__name__, found.__qualname__, str(found.__doc__), _signature_of(found)]
    if named in BUILTINS:
        return seen
    kept = sorted(vars(holder))
    kinds = [inspect.isfunction(found), inspect.iscoroutinefunction(found), inspect.isclass(holder)]
    return [*seen, found.__module__, str(kinds), str(kept), str(holder.__mro__)]


def _signature_of(found: Any) -> str:
    try:
        return str(inspect.signature(found))
    except ValueError:
        return "none"


@pytest.fixture(scope="module")
def plain() -> dict[str, list[str]]:
    """What a process without hooks sees."""
    names = [*METHODS, *BUILTINS]
    code = f"import json, {__name__.rpartition('.')[2]} as t\n"
    code += f"print(json.dumps({{name: t.look(name) for name in {names!r}}}))"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, list[str]] = json.loads(shown.stdout)
    return found


@pytest.mark.usefixtures("hooked")
@pytest.mark.parametrize("name", [*METHODS, *BUILTINS])
def test_a_hooked_name_looks_as_it_does_without_hooks(
    name: str, plain: dict[str, list[str]]
) -> None:
    assert look(name) == plain[name]


@pytest.mark.usefixtures("hooked")
def test_a_session_is_pickled_as_without_hooks() -> None:
    session = requests.Session()
    session.headers["x-own"] = "1"

    again = pickle.loads(pickle.dumps(session))

    assert type(again) is requests.Session
    assert again.headers["x-own"] == "1"
    assert type(again.adapters["https://"]) is requests.adapters.HTTPAdapter
