"""Lanes that outlive their cell: nobody sees the future, nothing is lost (H8)."""

from __future__ import annotations

import time

import pytest

from tests.runtime.notebooks import Notebook, Service

WATCHES = (
    "import threading, time\nfound = []\nenough = 3\n"
    "def watch():\n"
    "    while len(found) < 9: found.append(service.look(f'w{len(found)}'))\n"
    "watcher = threading.Thread(target=watch); watcher.start()"
)
WAITS = "while len(found) < enough: time.sleep(0.001)\nseen_at_{n} = len(found)\nenough += 3"

_real_sleep = time.sleep


@pytest.fixture
def slow(service: Service) -> Service:
    """Each request takes a moment, so that cells end while the thread works."""

    def take_a_moment(name: str) -> str:
        _real_sleep(0.004)
        return name

    service.during = take_a_moment
    return service


def test_a_cell_sees_of_an_older_thread_what_it_saw(notebook: Notebook, slow: Service) -> None:
    cells = [WATCHES, *(WAITS.format(n=n) for n in range(3)), "watcher.join()\nprint(found)"]
    with notebook.session() as session:
        assert session.execute(*cells)
        seen = [session.namespace[f"seen_at_{n}"] for n in range(3)]
        text = session.text()
    asked = list(slow.requests)

    for _ in range(3):
        again = notebook.replayed()
        assert again.run.latch is None, again.run.latch
        assert [again.namespace[f"seen_at_{n}"] for n in range(3)] == seen
        assert again.namespace["found"] == [f"w{n}" for n in range(9)]
    assert slow.requests == asked
    assert "w8" in text
