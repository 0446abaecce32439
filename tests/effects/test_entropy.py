"""Entropy: what was drawn once is drawn again, one by one."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from durable_kernel.testing.fake_port import FakePort
from tests.effects.sessions import in_module, replayed_equal, run

pytestmark = pytest.mark.usefixtures("hooked")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: os.urandom(7),
        lambda: os.getrandom(7),
        lambda: uuid.uuid1(),
        lambda: uuid.uuid1(node=5),
        lambda: uuid.uuid4(),
        lambda: uuid.getnode(),
        lambda: secrets.token_hex(),
        lambda: secrets.randbelow(10**12),
        lambda: random.SystemRandom().random(),
        lambda: random.SystemRandom().randbytes(9),
        lambda: random.Random().random(),
        lambda: np.random.default_rng().random(),
        lambda: np.random.RandomState().random_sample(),
        lambda: np.random.PCG64DXSM().random_raw(),
        lambda: tempfile.mktemp(),
    ],
)
def test_each_source_of_entropy_replays(draw: Callable[[], Any]) -> None:
    port = replayed_equal(lambda: [draw(), draw()])

    assert sum(map(len, port.journal().draws.values())) >= 2


def test_an_unseeded_global_generator_replays() -> None:
    """From the same state before: numpy's seed() keeps the old place within the new words."""
    state, np_state = random.getstate(), np.random.get_state()

    def cell() -> tuple[float, float]:
        np.random.set_state(np_state)
        random.seed()
        np.random.seed()
        return random.random(), float(np.random.random())

    replayed_equal(cell)

    random.setstate(state)
    np.random.set_state(np_state)


def test_a_seeded_generator_draws_nothing_from_outside() -> None:
    _, port = run(lambda: (random.Random(5).random(), np.random.default_rng(5).random()))

    assert port.journal().draws == {}


def test_a_safe_uuid_stays_safe() -> None:
    first, live = run(uuid.uuid1)
    second, _ = run(uuid.uuid1, live.journal())

    assert second.is_safe is first.is_safe


def test_entropy_is_matched_by_size() -> None:
    """H31: one more draw of another size leaves the user's uuid where it was."""
    first, live = run(lambda: [uuid.uuid4(), uuid.uuid4()])

    second, _ = run(lambda: [uuid.uuid4(), os.urandom(3) and uuid.uuid4()], live.journal())

    assert second == first


def test_nothing_is_drawn_for_who_has_no_lane() -> None:
    port = FakePort()
    found: list[bytes] = []

    def cell() -> None:
        thread = threading.Thread(target=lambda: found.append(os.urandom(4)))
        Context().run(thread.start)
        thread.join()

    with port.cell():
        cell()
    found.append(os.urandom(4))

    assert len(set(found)) == 2
    assert port.journal().draws == {}


@pytest.mark.parametrize(
    "module", ["jupyter_client.session", "ipykernel.kernelbase", "IPython.core"]
)
def test_ids_of_machinery_are_not_the_cells(module: str) -> None:
    """A message id drawn in a lane, directly or through uuid, secrets and random."""
    source = "def f(): return os.urandom(16), uuid.uuid4(), secrets.token_bytes(3), random.Random()"
    draw = in_module(module, source, os=os, uuid=uuid, secrets=secrets, random=random)

    _, port = run(draw)

    assert port.journal().draws == {}


def test_the_id_of_a_display_is_the_cells() -> None:
    """A resumed cell updates the display that it made before."""
    draw = in_module("IPython.core.display_functions", "def f(): return os.urandom(16)", os=os)

    replayed_equal(draw)


def test_what_an_installed_module_draws_when_imported_is_not_the_cells(tmp_path: Path) -> None:
    """It would be missing in a process that had the module loaded already."""
    (tmp_path / "draws_at_import.py").write_text("import os\nVALUE = os.urandom(4)\n")
    program = (
        "import sys\n"
        "from durable_kernel.effects import callers, entropy\n"
        "from durable_kernel.testing.fake_port import FakePort, FakeWitness\n"
        "entropy.install(FakeWitness())\n"
        "port = FakePort()\n"
        "if sys.argv[1] == 'installed':\n"
        f"    callers.LIBRARY_ROOTS += ({str(tmp_path)!r},)\n"
        "with port.cell():\n"
        "    import numpy.random, draws_at_import\n"
        "print(sorted(kind for _, kind in port.journal().draws))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    shown = [
        subprocess.run(
            [sys.executable, "-c", program, place],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for place in ("installed", "beside the notebook")
    ]

    assert shown == ["[]", "['os.urandom/4']"]


def test_bad_sizes_raise_what_the_system_raises() -> None:
    with pytest.raises(ValueError, match="negative"):
        run(lambda: os.urandom(-1))
    with pytest.raises(TypeError):
        run(lambda: os.urandom("5"))  # type: ignore[arg-type]
    assert run(lambda: os.urandom(np.int64(0).__index__()))[0] == b""
