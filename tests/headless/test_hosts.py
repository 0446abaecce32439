"""`durable run --repeat` and `--inject-key`, and a repeated DELETE: real kernels, killed (H21)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
import pytest

from durable_kernel.headless import RunRequest, run_notebook
from durable_kernel.headless.exits import Exit
from durable_kernel.history import Outline

pytestmark = pytest.mark.slow

_ASK = (
    "import httpx, os\n"
    "r = httpx.request({method!r}, {url!r}, json={json}, headers={headers}, timeout=120)\n"
)
_PID = "{'X-Pid': str(os.getpid())}"


class _Told:
    """Collects what a run says."""

    def __init__(self) -> None:
        self.text = ""

    def say(self, sentence: str) -> None:
        self.text += sentence + "\n"

    def start(self, cells: int) -> None: ...

    def cell(self, done: int, outline: Outline) -> None: ...


class _Killer:
    """A service that kills who asks it first, when the request is there and not answered."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        killer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                killer.asked.append((self.command, self.headers.get("Idempotency-Key")))
                if len(killer.asked) == 1:
                    os.kill(int(self.headers["X-Pid"]), signal.SIGKILL)
                    return
                self.send_response(404 if self.command == "DELETE" else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_POST = do_DELETE = answer  # noqa: N815 - as http.server names them

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def killer() -> Iterator[_Killer]:
    found = _Killer()
    yield found
    found.close()


def _asking(folder: Path, killer: _Killer, method: str, path: str, json: Any) -> RunRequest:
    new: Any = nbformat.v4
    url = f"http://{killer.host}{path}"
    source = _ASK.format(method=method, url=url, json=json, headers=_PID)
    cell = new.new_code_cell(source + "print(r.status_code)", id="c0")
    notebook = folder / "n.ipynb"
    notebook.write_text(nbformat.writes(new.new_notebook(cells=[cell])))
    return RunRequest(notebook, home=folder / "home")


def _ended(request: RunRequest) -> tuple[Exit, str]:
    told = _Told()
    return run_notebook(request, told), told.text


def test_a_read_in_doubt_names_its_preset_and_is_repeated_once_the_host_is_listed(
    tmp_path: Path, killer: _Killer
) -> None:
    request = _asking(tmp_path, killer, "POST", "/graphql", {"query": "{ me { name } }"})
    listing = f"{killer.host}:graphql-reads"

    doubtful = _ended(request)
    done = _ended(replace(request, repeat=(listing,)))

    assert doubtful[0] is Exit.IN_DOUBT
    assert f"`--repeat {listing}` would repeat such calls unasked" in doubtful[1]
    assert done[0] is Exit.DONE
    assert [method for method, _ in killer.asked] == ["POST", "POST"]


def test_a_post_with_an_injected_key_is_sent_again_by_the_next_kernel(
    tmp_path: Path, killer: _Killer
) -> None:
    request = _asking(tmp_path, killer, "POST", "/pay", {"n": 1})

    code, _ = _ended(replace(request, inject_key=("127.0.0.1",)))

    assert code is Exit.DONE
    (_, first), (_, second) = killer.asked
    assert first == second
    assert first is not None


def test_a_delete_that_comes_back_gone_ends_in_doubt_and_says_what_came(
    tmp_path: Path, killer: _Killer
) -> None:
    request = _asking(tmp_path, killer, "DELETE", "/order/7", None)

    code, told = _ended(request)

    assert code is Exit.IN_DOUBT
    assert "was answered 404 Not Found" in told
    assert [method for method, _ in killer.asked] == ["DELETE", "DELETE"]
