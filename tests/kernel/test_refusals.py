"""When a run may not go on, the kernel stays up, says why in one sentence, and executes nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from durable_kernel.store import Store
from tests.kernel.conftest import Start
from tests.kernel.live import LiveKernel

pytestmark = pytest.mark.slow

_WAIT_S = 120.0


class Service:
    """Counts what it is asked; a POST is not answered before `may_answer` is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.was_posted = threading.Event()
        self.may_answer = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                service.asked.append(f"POST {self.path}")
                service.was_posted.set()
                service.may_answer.wait(_WAIT_S)
                self._answer(b"posted")

            def do_GET(self) -> None:
                service.asked.append(f"GET {self.path}")
                self._answer(self.path.encode())

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A killed client is what these tests are about."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.close()


def _killed_in_a_post(start: Start, service: Service) -> tuple[LiveKernel, str]:
    kernel = start()
    kernel.run(f"import httpx\nurl = {service.url!r}")
    kernel.run("pages = [httpx.get(url + '/1').text]")
    cell = kernel.ask("answer = httpx.post(url + '/orders', content=b'one').text\nprint(answer)")
    assert service.was_posted.wait(_WAIT_S)
    kernel.kill()
    return kernel, cell


def test_an_act_in_doubt_waits_for_the_user_inside_the_cell(start: Start, service: Service) -> None:
    kernel, cell = _killed_in_a_post(start, service)
    service.may_answer.set()
    kernel.start()

    told = kernel.watch(cell, lambda seen: "announced" in str(seen[1].get("text")))
    status = kernel.run("%durable status")
    wrong = kernel.run("%durable resolve 7.7 --retry")
    resolved = kernel.run("%durable resolve --retry")
    rest = kernel.wait(cell)

    assert "POST" in told.text("stderr")
    assert "in doubt" in status.plain()
    assert wrong.reply["ename"] == "UsageError"
    assert resolved.status == "ok"
    assert rest.status == "ok"
    assert rest.text() == "posted\n"
    assert service.asked == ["GET /1", "POST /orders", "POST /orders"]


def test_an_act_in_doubt_can_be_marked_as_failed(start: Start, service: Service) -> None:
    kernel, cell = _killed_in_a_post(start, service)
    kernel.start()
    kernel.watch(cell, lambda seen: "announced" in str(seen[1].get("text")))

    kernel.run("%durable resolve --fail")
    rest = kernel.wait(cell)

    assert rest.status == "error"
    assert service.asked == ["GET /1", "POST /orders"]
    assert kernel.run("pages").plain() == "['/1']"


def test_interrupting_a_cell_that_waits_in_doubt_stops_the_run(
    start: Start, service: Service
) -> None:
    kernel, cell = _killed_in_a_post(start, service)
    kernel.start()
    kernel.watch(cell, lambda seen: "announced" in str(seen[1].get("text")))

    kernel.interrupt()
    rest = kernel.wait(cell)
    refused = kernel.run("pages")

    assert rest.reply["ename"] == "RunSuspendedError"
    assert refused.reply["ename"] == "RunSuspendedError"
    assert service.asked == ["GET /1", "POST /orders"]


def test_a_divergence_stops_the_run_and_nothing_is_sent(start: Start, service: Service) -> None:
    kernel = start(PAGE_OF_TEST="one")
    kernel.run(f"import httpx, os\nurl = {service.url!r}")
    kernel.run("page = httpx.get(url + '/' + os.environ['PAGE_OF_TEST']).text")
    kernel.run("later = 1")
    kernel.kill()

    kernel.start(PAGE_OF_TEST="two")
    refused = kernel.run("later")
    status = kernel.run("%durable status")

    assert refused.reply["ename"] == "DivergenceError"
    assert "/one" in refused.reply["evalue"]
    assert "/two" in refused.reply["evalue"]
    assert "diverged" in status.plain()
    assert service.asked == ["GET /one"]


def test_a_cell_that_crossed_the_boundary_unrecorded_is_not_executed_again(
    start: Start, tmp_path: Path
) -> None:
    """H2, rule 7: said on the cell that did it, and asked about afterwards."""
    kernel = start()
    counted = tmp_path / "counted"
    code = f"import subprocess\nsubprocess.run(['sh', '-c', 'echo x >> {counted}'])\nx = 5"
    told = kernel.run(code)
    kernel.kill()

    kernel.start()
    refused = kernel.run("x")
    lines = counted.read_text()
    redone = kernel.run("%durable restore --redo")
    shown = kernel.run("x")

    assert "durable: " in told.text("stderr")
    assert refused.reply["ename"] == "TaintedPositionError"
    assert lines == "x\n"
    assert redone.status == "ok"
    assert shown.plain() == "5"
    assert counted.read_text() == "x\nx\n"


def test_an_altered_journal_executes_nothing(start: Start) -> None:
    kernel = start()
    ran = kernel.folder / "ran"
    kernel.run("import pathlib")
    kernel.run(f"pathlib.Path({str(ran)!r}).touch()")
    kernel.kill()
    ran.unlink()
    (segment,) = (kernel.folder / "home").rglob("seg-*.dkj")
    content = bytearray(segment.read_bytes())
    content[len(content.rstrip(b"\0")) // 2] ^= 1  # in a frame, not in the room behind them
    segment.write_bytes(content)

    kernel.start()
    refused = kernel.run("1")
    status = kernel.run("%durable status")

    assert refused.reply["ename"] in {"JournalCorruptError", "UntrustedRunError"}
    assert refused.outputs[0][0] == "error"
    assert "stopped" in status.plain()
    assert not ran.exists()


def test_a_run_that_was_copied_executes_nothing_until_that_is_said(start: Start) -> None:
    """H12: the folder has another inode, so it may go on in two places."""
    kernel = start()
    kernel.run("x = 40")
    kernel.kill()
    store = Store(kernel.folder / "home")
    folder = store.get("nightly").folder
    folder.rename(kernel.folder / "kept")
    shutil.copytree(kernel.folder / "kept", folder)

    kernel.start()
    refused = kernel.run("x + 1")
    kernel.kill()
    store.adopt(store.get("nightly"))
    kernel.start()
    shown = kernel.run("x + 2")

    assert refused.reply["ename"] == "RunMovedError"
    assert "durable trust nightly --moved" in refused.reply["evalue"]
    assert shown.plain() == "42"


def test_a_run_of_a_lost_key_executes_nothing_and_says_why(start: Start) -> None:
    kernel = start()
    kernel.run("x = 40")
    kernel.kill()
    key = kernel.folder / "home" / "key"
    key.rename(key.with_name("backup"))

    kernel.start()
    refused = kernel.run("x + 1")
    kernel.kill()
    key.with_name("backup").replace(key)
    kernel.start()
    shown = kernel.run("x + 2")

    assert refused.reply["ename"] == "UntrustedRunError"
    assert "your key file was lost or replaced" in refused.reply["evalue"]
    assert shown.plain() == "42"


@pytest.mark.parametrize("name", ["", "nightly"])
def test_a_fresh_run_begins_at_once_and_stays_after_a_restart(start: Start, name: str) -> None:
    """A run that the launcher names is no other: the name means the new one from now on."""
    kernel = start(DURABLE_RUN=name)
    kernel.run("x = 1")

    archived = kernel.run("%durable fresh")
    anew = kernel.run("y = 2; 'x' in globals()")
    if name:  # else nobody names this kernel: its next process has another run
        kernel.shut_down(restart=True)
        kernel.start()
    restored = kernel.run("'x' in globals(), y")
    kernel.run("%durable fresh --undo")
    back = kernel.run("x, 'y' in globals()")

    assert "is archived" in archived.plain()
    assert anew.plain() == "False"
    assert anew.reply["execution_count"] == 1
    assert "this is a new run" in anew.text("stderr")
    assert restored.plain() == "(False, 2)"
    assert back.plain() == "(1, False)"


def test_a_second_kernel_of_a_notebook_gets_a_run_of_its_own_and_says_so(
    start: Start, tmp_path: Path
) -> None:
    named = {
        "DURABLE_RUN": "",
        "DURABLE_HOME": str(tmp_path / "home"),
        "JPY_SESSION_NAME": str(tmp_path / "fetch.ipynb"),
    }
    first = start("a", is_session=True, **named)
    first.run("x = 1")

    second = start("b", is_session=True, **named)
    told = second.run("'x' in globals()")

    assert told.plain() == "False"
    assert "Another kernel is running fetch.ipynb" in told.text("stderr")
    assert first.run("x").plain() == "1"


def test_settings_may_be_traitlets_and_the_environment_wins(start: Start) -> None:
    arguments = ["--DurableKernel.resume=match", "--DurableKernel.durability=fast"]
    kernel = start(arguments=arguments, DURABLE_DURABILITY="strict")
    kernel.run("1")

    status = kernel.run("%durable status")

    assert "durability     strict" in status.plain()


def test_a_setting_without_meaning_is_said_on_every_cell(start: Start) -> None:
    kernel = start(DURABLE_IN_DOUBT="perhaps")

    refused = kernel.run("1")

    assert refused.reply["ename"] == "UsageError"
    assert "DURABLE_IN_DOUBT='perhaps'" in refused.reply["evalue"]
