"""A suite of our own, in two real kernels: what the program says of it is so.

The suites of the libraries are not run here, because they come from the network: `.ci/run` has a
step of its own for them.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.transparency import page
from tests.transparency.compare import Difference
from tests.transparency.kernels import DURABLE, STOCK, KernelLostError, replay, run_suite
from tests.transparency.run import Compared, compare
from tests.transparency.suites import Suite

pytestmark = pytest.mark.slow

TESTS = """
import asyncio, http.server, sys, threading, urllib.request
import pytest

@pytest.fixture
def url():
    server = http.server.HTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()

class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass

def test_asks(url):
    assert urllib.request.urlopen(url).read() == b"hello"

def test_fails():
    raise AssertionError("on purpose")

@pytest.mark.skip
def test_skipped(): ...

@pytest.mark.xfail
def test_xfails():
    raise AssertionError

def test_cannot_be_set_up(missing): ...

def test_loops():
    assert asyncio.run(asyncio.sleep(0, 7)) == 7

def test_differs():
    assert "durable_kernel" not in sys.modules
"""
DIFFERS = "test_tiny.py::test_differs"
DIES = "\ndef test_dies():\n    os._exit(3)\n"


def archived(folder: Path, tests: str) -> Path:
    """Pack a suite as a source archive; return the folder of archives."""
    source = folder / "requests-2.34.2"
    source.mkdir(parents=True)
    (source / "test_tiny.py").write_text(tests)
    (source / "pytest.ini").write_text("[pytest]\n")
    archives = folder / "archives"
    archives.mkdir()
    with tarfile.open(archives / f"{source.name}.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    return archives


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """One comparison, looked at by all tests of this file that need one."""
    folder = tmp_path_factory.mktemp("compared")
    suite = Suite("requests", ("test_tiny.py",), ("test_tiny.py",), 2, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.transparency.run.LOOKS", 2)  # each look is two kernels more
        return compare(suite, archived(folder, TESTS), folder / "scratch", is_slice=False)


def test_a_suite_ends_in_both_kernels_alike_but_for_what_differs(found: Compared) -> None:
    stock, durable = (dict(found.ran[kind].outcomes) for kind in ("stock", "durable"))

    assert (stock.pop(DIFFERS), durable.pop(DIFFERS)) == ("passed", "failed")
    assert stock == durable
    ends = {name.rpartition("::")[2]: end for name, end in stock.items()}
    assert ends["test_asks"] == ends["test_loops"] == "passed"
    assert ends["test_fails"] == "failed"
    assert ends["test_skipped"] == "skipped"
    assert ends["test_xfails"] == "xfailed"
    assert ends["test_cannot_be_set_up"] == "error"
    assert found.ran["durable"].calls["http"] == 1


def test_a_difference_is_told_with_the_test_that_has_it(found: Compared) -> None:
    (unexpected,) = found.verdict.unexpected

    assert unexpected == Difference(DIFFERS, "passed", "failed")
    assert found.findings(is_slice=False) == [f"requests: unexpected: {unexpected}"]
    assert any("durable_kernel" in line for line in page.lines_of(found))


def test_what_the_journal_does_not_hold_is_refused_in_a_sentence(found: Compared) -> None:
    """The suite's server listened, which is not recorded."""
    assert found.again.status == "error"
    assert "listens at 127.0.0.1" in found.again.sentence
    assert "not executed again by itself" in found.again.sentence


def test_a_kernel_that_dies_is_no_outcome(tmp_path: Path) -> None:
    source = tmp_path / "suite"
    source.mkdir()
    (source / "test_tiny.py").write_text(f"import os\n{DIES}")

    with pytest.raises(KernelLostError, match="the kernel died of 3"):
        run_suite(STOCK, tmp_path / "stock", source, ["-q", "test_tiny.py"], 120.0)


def test_a_cell_that_only_asked_is_restored(tmp_path: Path) -> None:
    source = tmp_path / "suite"
    source.mkdir()
    (source / "test_tiny.py").write_text("def test_passes(): ...\n")

    ran = run_suite(DURABLE, tmp_path / "own", source, ["-q", "--capture=sys"], 120.0)
    again = replay(tmp_path / "own", 120.0, is_redone=True)

    assert set(ran.outcomes.values()) == {"passed"}
    assert again.status == "ok"
