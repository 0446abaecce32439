"""Threads and pools: each a lane of its own, let go on in the recorded order (DESIGN §7)."""

from __future__ import annotations

import pytest

from tests.runtime.notebooks import Notebook, Service

NOTEBOOKS = {
    "thread": (
        "import threading\nfound = []\n"
        "def work(name): found.append(service.ask(name))\n"
        "threads = [threading.Thread(target=work, args=(f'p{n}',)) for n in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\nprint(found)"
    ),
    "pool": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(3) as pool:\n"
        "    found = list(pool.map(service.ask, [f'p{n}' for n in range(6)]))\nprint(found)"
    ),
    "shared list": (
        "from concurrent.futures import ThreadPoolExecutor\nfound = []\n"
        "def work(n):\n"
        "    found.append(service.ask(f'a{n}'))\n    found.append(service.ask(f'b{n}'))\n"
        "with ThreadPoolExecutor(4) as pool:\n    list(pool.map(work, range(8)))\nprint(found)"
    ),
}


@pytest.mark.parametrize("source", NOTEBOOKS.values(), ids=NOTEBOOKS.keys())
def test_what_threads_did_is_replayed_in_their_order(
    notebook: Notebook, service: Service, source: str
) -> None:
    with notebook.session() as session:
        assert session.execute(source)
        first = session.shown
    asked = list(service.requests)

    for _ in range(5):
        session = notebook.replayed()
        assert session.run.latch is None, session.run.latch
        assert session.run.take_notices() == []
        assert session.driver.namespace["found"] is not None
    assert service.requests == asked
    assert first != []
