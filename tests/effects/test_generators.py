"""Generators: seeded once, moved by cells only."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from durable_kernel.effects import generators

pytestmark = pytest.mark.usefixtures("hooked")

SEED = bytes(range(32))


@pytest.fixture(autouse=True)
def _genesis() -> Iterator[None]:
    before = random.getstate(), np.random.get_state()
    generators.seed_genesis(SEED)
    yield
    generators._Genesis.seed = generators._Genesis.numpy_pristine = None
    random.setstate(before[0])
    np.random.set_state(before[1])


def draws() -> tuple[Any, ...]:
    return random.random(), random.gauss(), float(np.random.random()), float(np.random.normal())


def test_the_same_genesis_gives_the_same_draws() -> None:
    first = draws()
    generators.seed_genesis(SEED)
    second = draws()
    generators.seed_genesis(bytes(32))
    third = draws()

    assert second == first
    assert not set(third) & set(first)


def test_a_saved_state_comes_back_whoever_drew_in_between() -> None:
    """H9: machinery between two cells can't move a generator; half a pair of gauss counts too."""
    random.gauss()
    np.random.normal()
    state = generators.save()
    expected = draws()

    random.seed(1)
    np.random.seed(1)
    generators.restore(state)

    assert draws() == expected


def test_a_saved_state_is_plain() -> None:
    np.random.random()

    assert _is_plain(generators.save())


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if type(value) is tuple:
        return all(map(_is_plain, value))
    return type(value) in {int, float, str, bytes, type(None)}


@pytest.mark.parametrize(
    "move", [random.random, random.gauss, np.random.random, np.random.normal, np.random.bytes]
)
def test_a_draw_shows_in_the_fingerprint(move: Any) -> None:
    before = generators.fingerprint()

    move(3) if move is np.random.bytes else move()

    assert generators.fingerprint() != before
    generators.seed_genesis(SEED)
    assert generators.fingerprint() == before


MOVES: list[Callable[[], object]] = [
    random.random,
    random.gauss,
    lambda: random.shuffle([1, 2, 3]),
    lambda: random.seed(4),
    lambda: random.setstate(random.Random(8).getstate()),
    np.random.random,
    np.random.normal,
    np.random.normal,
    np.random.standard_normal,
    lambda: np.random.binomial(10, 0.3),
    lambda: np.random.seed(4),
    lambda: np.random.set_state(np.random.RandomState(9).get_state()),
    lambda: [random.random() for _ in range(624)],
    lambda: np.random.bytes(4 * 624),
]


def test_what_is_known_of_a_state_is_forgotten_with_every_move() -> None:
    """A mark that missed a move would restore an old state; all pairs of moves are tried."""
    for first in MOVES:
        for second in MOVES:
            for move in (first, second):
                move()
                assert generators.fingerprint() == generators._fingerprint()
                assert generators.save() == generators._save()


def test_a_state_that_did_not_move_is_not_asked_for_again() -> None:
    state, fingerprint = generators.save(), generators.fingerprint()

    assert generators.save() is state
    assert generators.fingerprint() is fingerprint


def test_another_bit_generator_comes_back_too() -> None:
    legacy: Any = np.random
    original = legacy.get_bit_generator()
    legacy.set_bit_generator(np.random.PCG64(3))
    state = generators.save()
    expected = float(np.random.random())

    generators.seed_genesis(SEED)
    generators.restore(state)
    found = float(np.random.random())

    legacy.set_bit_generator(original)
    assert found == expected


def test_numpy_imported_early_or_late_is_the_same() -> None:
    """The fingerprint does not tell, and the first draws are equal: import time is not an input."""
    early, late = (_in_process(order) for order in ("early", "late"))

    assert early == late
    assert early


def test_a_state_restored_before_numpy_waits_for_it() -> None:
    np.random.random()
    state = generators.save()
    expected = float(np.random.random())

    assert _in_process("restore", repr(state)) == repr(expected)


def _in_process(*arguments: str) -> str:
    program = """
import sys
from durable_kernel.effects import generators
from durable_kernel.testing.fake_port import FakeWitness
generators.install(FakeWitness())
generators.install(FakeWitness())  # a second hook would undo what the first one restores
if sys.argv[1] == "early":
    import numpy.random
generators.seed_genesis(bytes(range(32)))
assert (sys.argv[1] == "early") is ("numpy.random" in sys.modules)
if sys.argv[1] == "restore":
    state = eval(sys.argv[2])
    generators.restore(state)
    assert generators.save() == state
    import numpy as np
    print(repr(float(np.random.random())))
else:
    first = generators.fingerprint()
    import numpy as np
    np.random
    assert generators.fingerprint() == first and "numpy" not in generators.save()
    print(first.hex(), np.random.random())
"""
    found = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip()


def test_a_new_seed_gives_new_draws_whatever_was_drawn_before() -> None:
    generators.seed_genesis(bytes(32))
    _ = [draws() for _ in range(500)]
    state = generators.save()
    kept = draws()

    generators.restore(state)
    generators.reseed(b"1" * 32)
    found = draws()

    assert all(ours != theirs for ours, theirs in zip(found, kept, strict=True))
    generators.restore(state)
    generators.reseed(b"1" * 32)
    assert draws() == found


def test_a_new_seed_leaves_what_user_code_seeded_itself() -> None:
    generators.seed_genesis(bytes(32))
    random.seed(7)
    np.random.seed(7)
    state = generators.save()
    kept = draws()
    generators.restore(state)

    generators.reseed(b"1" * 32)

    assert draws() == kept
