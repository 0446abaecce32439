"""The suite of jupyter_kernel_test for a Python kernel, run in a kernel that a kernelspec names.

The samples are ours; each is such that the stock kernel passes.
"""

from __future__ import annotations

import tempfile
import unittest
from collections.abc import Mapping
from typing import Any

import jupyter_kernel_test
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_kernel_test.msgspec_v5 import validate_message

__all__ = ["outcomes_of"]

_WAIT_S = 120.0


class _Samples:
    """What the suite asks for, in this language."""

    km: KernelManager
    kc: BlockingKernelClient
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('told', file=sys.stderr)"
    completion_samples = (
        {"text": "zi", "matches": {"zip"}},
        {"text": "isinstan", "matches": {"isinstance"}},
    )
    complete_code_samples = ("1", "print('a')", "def f(x):\n  return x\n\n\n", "x = '''a\nb'''\n")
    incomplete_code_samples = ("print('''a", "def f(x):\n  return x", "for i in (1,\n")
    invalid_code_samples = ("import = 1q", "x = )", "raise = 2")
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('as asked')"
    code_execute_result = (
        {"code": "6*7", "result": "42"},
        {"code": "'a' * 3", "result": "'aaa'"},
        {"code": "6*7+1", "result": "43"},
    )
    code_display_data = (
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>b</b>'))",
            "mime": "text/html",
        },
        {"code": "display({'image/png': 'AAAA'}, raw=True)", "mime": "image/png"},
    )
    code_history_pattern = "6?7"
    # IPython calls its present session 0 in a range, which the suite does not expect.
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"
    support_iopub_welcome = True

    folder: tempfile.TemporaryDirectory[str]

    @classmethod
    def start_kernel(cls, kernel_name: str, environ: Mapping[str, str]) -> None:
        """Start a kernel whose sockets are files: nobody else can take them before it is up."""
        cls.folder = tempfile.TemporaryDirectory(prefix="k-")
        cls.km = KernelManager(kernel_name=kernel_name, transport="ipc", ip=f"{cls.folder.name}/k")
        cls.km.start_kernel(env=dict(environ))
        cls.kc = cls.km.client()

    def flush_channels(self) -> None:
        """Read all that belongs to what was asked before: up to the end of one request more.

        The suite's own reads until nothing comes for a tenth of a second, which says nothing on a
        busy machine.
        """
        asked = self.kc.kernel_info()
        reply: dict[str, Any] = {"parent_header": {}}
        while reply["parent_header"].get("msg_id") != asked:
            reply = self.kc.get_shell_msg()
            validate_message(reply)
        is_idle = False
        while not is_idle:
            message = self.kc.get_iopub_msg()
            validate_message(message)
            is_ours = message["parent_header"].get("msg_id") == asked
            is_idle = is_ours and message["content"].get("execution_state") == "idle"

    @classmethod
    def tearDownClass(cls) -> None:
        """The suite's own asks over a context that its client has closed by then."""
        cls.kc.stop_channels()
        cls.km.shutdown_kernel(now=True)
        cls.folder.cleanup()


def _patient(channel: Any) -> None:
    """Let a channel wait as long as it takes: the suite gives a message a tenth of a second."""
    get_message = channel.get_msg
    channel.get_msg = lambda timeout=None: get_message(timeout=_WAIT_S)


class _Result(unittest.TestResult):
    """Keeps how each test ended: passed, unless one of its parts says something else."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, str] = {}

    def _keep(self, test: unittest.TestCase, outcome: str) -> None:
        self.outcomes[test.id().rpartition(".")[2]] = outcome

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        self._keep(test, "passed")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802 - unittest's name
        self._keep(test, f"failed: {err[1]}")

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802 - unittest's name
        self._keep(test, f"error: {err[1]}")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802 - unittest's name
        if not hasattr(test, "test_case"):  # a part that is left out leaves the others
            self._keep(test, f"skipped: {reason}")

    def addSubTest(self, test: unittest.TestCase, subtest: Any, err: Any) -> None:  # noqa: N802 - unittest's name
        if err is not None:
            self._keep(test, f"failed: {subtest}: {err[1]}")


def outcomes_of(kernel_name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Run the suite in a kernel of this name, started with `environ`. Outcome by test."""

    class Protocol(_Samples, jupyter_kernel_test.KernelTests):  # type: ignore[misc]
        @classmethod
        def setUpClass(cls) -> None:
            cls.start_kernel(kernel_name, environ)
            cls.kc.start_channels()
            cls.kc.wait_for_ready(timeout=_WAIT_S)
            for channel in (cls.kc.shell_channel, cls.kc.iopub_channel):
                _patient(channel)

    class Welcome(_Samples, jupyter_kernel_test.IopubWelcomeTests):  # type: ignore[misc]
        @classmethod
        def setUpClass(cls) -> None:
            cls.start_kernel(kernel_name, environ)

    loader, result = unittest.defaultTestLoader, _Result()
    for case in (Protocol, Welcome):
        loader.loadTestsFromTestCase(case).run(result)
    return result.outcomes
