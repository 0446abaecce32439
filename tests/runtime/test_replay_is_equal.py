"""Live, then from the journal: the same shown, the same names, and nothing asked twice."""

from __future__ import annotations

import pytest

from tests.runtime.notebooks import Notebook, Service

KINDS = {
    "clock": "import time; print(time.time(), time.monotonic_ns(), time.perf_counter())",
    "moment": "from datetime import *; print(datetime.now(), datetime.now(UTC), date.today())",
    "local time": "import time; print(time.localtime(), time.strftime('%c'), time.ctime())",
    "entropy": "import os, secrets, uuid; print(os.urandom(9), secrets.token_hex(), uuid.uuid4())",
    "uuid of clock and host": "import uuid; print(uuid.uuid1())",
    "temporary name": "import tempfile; print(tempfile.mktemp())",
    "random": "import random; print(random.random(), random.sample(range(99), 9))",
    "own generator": "import random; r = random.Random(); print(r.random())",
    "numpy": "import numpy as np; print(np.random.rand(3), np.random.default_rng().random(3))",
    "sleep": "import time; a = time.time(); time.sleep(0.002); print(time.time() - a)",
    "call": "print(service.ask('a'), service.look('b'))",
    "step": "import durable_kernel as d; print(d.step(lambda x: [x, service.during('c')])(1))",
    "key": "import durable_kernel as d; print(d.idempotency_key(), d.idempotency_key())",
    "await": "import asyncio; await asyncio.sleep(0.001); print(await service.ask_async('d'))",
}


@pytest.mark.parametrize("source", KINDS.values(), ids=KINDS.keys())
def test_each_kind_of_effect_replays_what_was_live(notebook: Notebook, source: str) -> None:
    live = notebook.lived(source, "import random; print(random.random())")
    asked = list(notebook.service.requests)

    again = notebook.replayed()

    assert again.shown == live.shown
    assert again.run.state == "live"
    assert again.run.take_notices() == []
    assert notebook.service.requests == asked


def test_names_of_recovered_cells_have_the_recorded_values(notebook: Notebook) -> None:
    source = "import time, uuid; found = (time.time(), uuid.uuid4(), service.ask('a'))"
    live = notebook.lived(source)

    again = notebook.replayed()

    assert again.namespace["found"] == live.namespace["found"]


def test_an_exception_of_a_call_is_raised_again_with_its_real_type(
    notebook: Notebook, service: Service
) -> None:
    def refuse(_name: str) -> None:
        raise FileNotFoundError(2, "no such thing", "there")

    service.during = refuse
    source = "try: service.ask('a')\nexcept FileNotFoundError as e: print(repr(e), e.errno)"
    live = notebook.lived(source)

    again = notebook.replayed()

    assert again.shown == live.shown
    assert "FileNotFoundError(2, 'no such thing') 2" in live.text()
    assert service.requests == ["a"]


def test_a_cell_that_raised_raises_again_and_later_cells_follow(notebook: Notebook) -> None:
    live = notebook.lived("x = service.ask('a'); 1 / 0", "print(x)")

    again = notebook.replayed()

    assert again.shown == live.shown
    assert (0, "reply", "error") in again.shown
    assert again.run.next_position == 2


def test_a_third_session_replays_what_the_first_two_recorded(notebook: Notebook) -> None:
    notebook.lived("import uuid; a = uuid.uuid4()")
    with notebook.session() as second:
        second.recover()
        second.execute("b = uuid.uuid4(); print(a, b, service.ask('x'))")

    third = notebook.replayed()

    assert third.text(1) == second.text(1)
    assert third.namespace["b"] == second.namespace["b"]


def test_the_interrupted_cell_goes_on_inside(notebook: Notebook, service: Service) -> None:
    notebook.die_before("two")
    died = notebook.died(
        "import uuid\na = uuid.uuid4()\nprint(a, service.ask('one'))\nservice.ask('two')\nprint(a)"
    )
    with notebook.session() as session:
        session.when_parked(lambda: session.run.resolve(None, "retry", None))

        session.recover()

    assert service.requests == ["one", "two"]
    assert session.text().startswith(died.text())
    assert session.text().count(str(session.namespace["a"])) == 2
