"""The libraries of users through the real port: live, replayed, and cut in the middle (H23).

The service is in this process, in a thread that was there before the run was opened.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from durable_kernel.effects import prompts
from durable_kernel.ports import CURRENT_LANE
from durable_kernel.replay import InDoubtPolicy
from tests.runtime.notebooks import Notebook
from tests.runtime.sites import BODY, Site


@pytest.fixture
def site(notebook: Notebook) -> Iterator[Site]:
    found = Site()
    notebook.names["url"] = found.url
    yield found
    found.close()


CELLS = {
    "get": (
        "import httpx\nr = httpx.get(url + '/a')\n"
        "print(r.status_code, len(r.text), list(r.headers))"
    ),
    "post": "import httpx\nprint(httpx.post(url + '/a', json={'n': 1}).json())",
    "client with cookies": (
        "import httpx\nwith httpx.Client() as c: c.get(url + '/a')\n"
        "print(len(c.cookies['session']))"
    ),
    "stream": (
        "import httpx\nwith httpx.stream('GET', url + '/s') as r:\n"
        "    print(sum(map(len, r.iter_bytes(100))), r.num_bytes_downloaded)"
    ),
    "async": (
        "import httpx\nasync with httpx.AsyncClient() as c:\n"
        "    r = await c.get(url + '/a')\nprint(len(r.content), r.elapsed)"
    ),
}


@pytest.mark.parametrize("source", CELLS.values(), ids=CELLS.keys())
def test_a_request_is_made_once_and_answered_from_the_journal(
    notebook: Notebook, site: Site, source: str
) -> None:
    live = notebook.lived(source)
    asked = list(site.asked)

    again = notebook.replayed()

    assert again.shown == live.shown
    assert site.asked == asked
    assert not again.run.read_outline().positions[0].is_tainted
    assert b"correct-horse" not in notebook.all_bytes()


def test_a_get_that_was_cut_is_made_again_unasked(notebook: Notebook, site: Site) -> None:
    """Rule 5, H23: in the middle of its body; what was printed of it stands."""
    died = notebook.died(
        "import httpx\nsize = 0\n"
        "with httpx.stream('GET', url + '/s') as r:\n"
        "    for part in r.iter_bytes(10_000):\n"
        "        size += len(part); print(size)\n"
        "        if size > 20_000: die()\n"
    )

    session = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert notebook.left == []
    assert session.namespace["size"] == len(BODY)
    assert session.text().startswith(died.text())
    assert site.asked == ["GET /s", "GET /s"]


def test_a_post_that_was_cut_waits_for_a_decision(notebook: Notebook, site: Site) -> None:
    """Rule 5: it reached the server; only a person can know that."""
    with notebook.session(may_die=True) as session:
        # The answer is there and not written: the widest moment of doubt.
        session.run.port.record_end = lambda *_: session.die()  # type: ignore[method-assign]
        session.execute("import httpx\nr = httpx.post(url + '/pay', json={'n': 1})")

    stopped = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert notebook.left == [3]
    assert stopped.run.read_outline().status == "in doubt"
    assert site.asked == ["POST /pay"]


def test_a_line_that_was_typed_is_not_asked_for_again(notebook: Notebook) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        lane = CURRENT_LANE.get()
        assert lane is not None

        def read() -> str:
            asked.append(prompt)
            return "typed"

        return prompts.ask(lane, prompt, read, secret=False)

    notebook.names["input"] = ask
    live = notebook.lived("print(input('Name: '))")

    again = notebook.replayed()

    assert again.shown == live.shown
    assert asked == ["Name: "]


def test_a_question_that_was_cut_is_asked_again(notebook: Notebook) -> None:
    """It changes nothing outside, so nobody has to decide."""
    asked: list[str] = []

    def ask(prompt: str) -> str:
        lane = CURRENT_LANE.get()
        assert lane is not None

        def read() -> str:
            asked.append(prompt)
            notebook.names["die"]()
            return "typed"

        return prompts.ask(lane, prompt, read, secret=False)

    notebook.names.update(input=ask, die=lambda: None)
    with notebook.session(may_die=True) as session:
        notebook.names["die"] = session.die
        session.execute("x = input('Name: ')")
    notebook.names["die"] = lambda: None

    again = notebook.replayed(in_doubt=InDoubtPolicy.STOP)

    assert again.namespace["x"] == "typed"
    assert asked == ["Name: ", "Name: "]
