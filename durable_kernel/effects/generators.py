"""Generators: the global ones of `random` and legacy `numpy.random`. They are re-run, not recorded.

A run seeds them once from recorded entropy (genesis). From there a draw costs nothing: the code
that is run again draws the same. The state is plain values, kept at a position's end and put back
at the next begin, so that machinery between cells can't move it; a state that an effect changed
belongs to that effect's outcome (H9).

numpy counts only once it is loaded, and reads as *pristine* while nobody drew from it: a process
that loaded it earlier than another has the same fingerprint. Generators that a user makes are
seeded by `effects.entropy` and are ordinary objects of the namespace.

States are asked for around every step and cell, and rarely moved in between. Asking takes up to
100 µs, so the *mark* is looked at first: a copy of the memory that holds the states, in 3 µs. Equal
marks mean equal states; the layouts are tried out once, and without them nothing is kept.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import random
import struct
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import wrapt

from durable_kernel.effects import shared_generators
from durable_kernel.effects.shared_generators import share, unshare
from durable_kernel.ports import Witness

__all__ = [
    "fingerprint",
    "install",
    "reseed",
    "restore",
    "save",
    "seed_genesis",
    "share",
    "unshare",
]

_PRISTINE = bytes(8)
# Asked themselves: the functions of the modules may be stand-ins, which wait for their turn.
_shared: Any = random._inst
_HEADER_BYTES = object.__basicsize__  # reference count and type
_BLOCK_BITS = 32 * 624
_BLOCKS_MAX = 10_000
_TWISTER_BYTES = 4 * 625  # 624 words and an index, in either order


class _Genesis:
    """The seed of this process's run, and what waits for numpy to be imported."""

    is_hooked = False
    seed: bytes | None = None
    seeds: ClassVar[set[bytes]] = set()
    """All that this process had: a state that is put back may come from an earlier one."""
    numpy_pristine: bytes | None = None
    numpy_waiting: Mapping[str, Any] | None = None


class _Known:
    """What the states of one mark are, as far as somebody asked."""

    mark: tuple[Any, ...] | None = None
    state: dict[str, Any] | None = None
    fingerprint: bytes | None = None

    @classmethod
    def look(cls) -> None:
        """Forget what is known if the states may have moved."""
        mark = _mark()
        if mark is None or mark != cls.mark:
            cls.mark, cls.state, cls.fingerprint = mark, None, None


def install(witness: Witness) -> None:
    """Seed numpy as soon as it is imported, if a run was begun by then. Idempotent."""
    if not _Genesis.is_hooked:  # a second hook would seed again what the first one has restored
        _Genesis.is_hooked = True
        wrapt.register_post_import_hook(_seed_numpy, "numpy.random")
        shared_generators.install()


def seed_genesis(entropy: bytes) -> None:
    """Seed all global generators from the recorded entropy of a run's first moment (32 bytes)."""
    _Genesis.seed, _Genesis.seeds, _Genesis.numpy_waiting = entropy, {entropy}, None
    _shared.seed(_derive(b"random"))
    numpy_random = _numpy()
    if numpy_random is not None:
        _seed_numpy(numpy_random)


def reseed(entropy: bytes) -> None:
    """Seed anew what still draws from genesis; what user code seeded itself goes on as it is.

    Which of both it is tells the state: it is looked for among those that the seed leads to.
    """
    seeds = {*_Genesis.seeds, entropy}
    is_ours = any(_is_descendant(_derive(b"random", each)) for each in seeds)
    numpy_random = _numpy()
    if numpy_random is not None:
        state = _to_plain(_legacy(numpy_random).get_state(legacy=False))
        of_numpy = [_derive(b"numpy.random", each) for each in seeds]
        is_numpys = any(_is_descendant_numpy(numpy_random, each, state) for each in of_numpy)
        _Genesis.numpy_waiting = None if is_numpys else state
    _Genesis.seed, _Genesis.seeds = entropy, seeds
    if is_ours:
        _shared.seed(_derive(b"random"))
    if numpy_random is not None:
        _seed_numpy(numpy_random)


def save() -> dict[str, Any]:
    """Return the states as plain values: dicts, tuples, bytes, numbers. No numpy while pristine.

    Nobody may change what is returned: it is returned again while no state moved.
    """
    _Known.look()
    if _Known.state is None:
        _Known.state = _save()
    return _Known.state


def _save() -> dict[str, Any]:
    state: dict[str, Any] = {"random": _random_state()}
    numpy_random = _numpy()
    if numpy_random is None:
        if _Genesis.numpy_waiting is not None:
            state["numpy"] = _Genesis.numpy_waiting
    elif _numpy_fingerprint(numpy_random) != _PRISTINE:
        state["numpy"] = _to_plain(_legacy(numpy_random).get_state(legacy=False))
    return state


def restore(state: Mapping[str, Any]) -> None:
    """Put back what `save` returned. A numpy that was not in it goes back to genesis.

    A state of numpy is kept for its import if it is not loaded.
    """
    _Known.look()
    if _Known.state is state:
        return
    version, words, gauss = state["random"]
    _shared.setstate((version, struct.unpack(f"<{len(words) // 4}I", words), gauss))
    _Genesis.numpy_waiting = state.get("numpy")
    numpy_random = _numpy()
    if numpy_random is not None:
        _seed_numpy(numpy_random)


def fingerprint() -> bytes:
    """Return 16 bytes that change with the states: `random`, then numpy (zeros while pristine)."""
    _Known.look()
    if _Known.fingerprint is None:
        _Known.fingerprint = _fingerprint()
    return _Known.fingerprint


def _fingerprint() -> bytes:
    version, words, gauss = _random_state()
    first = _digest(words + repr((version, gauss)).encode())
    numpy_random = _numpy()
    if numpy_random is not None:
        return first + _numpy_fingerprint(numpy_random)
    waiting = _Genesis.numpy_waiting
    return first + (_PRISTINE if waiting is None else _digest(_flat(waiting)))


# --- random ---------------------------------------------------------------------------------------


def _random_state() -> tuple[int, bytes, float | None]:
    version, words, gauss = _shared.getstate()
    return version, struct.pack(f"<{len(words)}I", *words), gauss


def _derive(purpose: bytes, seed: bytes | None = None) -> bytes:
    seed = seed or _Genesis.seed
    assert seed is not None
    return hashlib.blake2b(seed, digest_size=32, person=purpose).digest()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


def _is_descendant(seed: bytes) -> bool:
    """Tell whether the state comes from this seed and some draws, up to six millions of them."""
    (*words, _), trial = random.getstate()[1], random.Random(seed)
    for _ in range(_BLOCKS_MAX):
        if list(trial.getstate()[1][:-1]) == words:
            return True
        trial.getrandbits(_BLOCK_BITS)  # the next 624 words
    return False


# --- numpy ----------------------------------------------------------------------------------------


def _numpy() -> Any:
    """Return `numpy.random` once it is loaded completely, without loading it."""
    module = sys.modules.get("numpy.random")
    return module if hasattr(module, "get_state") else None


def _legacy(numpy_random: Any) -> Any:
    """Return the generator behind the functions of `numpy.random`."""
    return numpy_random.mtrand._rand


def _seed_numpy(numpy_random: Any) -> None:
    """Bring the global generator to the state that waits for it, or to genesis."""
    if _Genesis.seed is not None:
        _use_bit_generator(numpy_random, "MT19937")
        _legacy(numpy_random).seed(struct.unpack("<8I", _derive(b"numpy.random")))
        _Genesis.numpy_pristine = _digest_numpy(numpy_random)
    waiting, _Genesis.numpy_waiting = _Genesis.numpy_waiting, None
    if waiting is not None:
        _use_bit_generator(numpy_random, waiting["bit_generator"])
        _legacy(numpy_random).set_state(_from_plain(waiting))


def _is_descendant_numpy(numpy_random: Any, seed: bytes, state: Mapping[str, Any]) -> bool:
    if state["bit_generator"] != "MT19937":
        return False
    trial = numpy_random.RandomState(struct.unpack("<8I", seed))
    for _ in range(_BLOCKS_MAX):
        if trial.get_state(legacy=True)[1].tobytes() == state["state"]["key"][1]:
            return True
        trial.bytes(_BLOCK_BITS // 8)
    return False


def _use_bit_generator(numpy_random: Any, name: str) -> None:
    """Undo, or do again, a `np.random.set_bit_generator`: a state fits one kind only."""
    if type(numpy_random.get_bit_generator()).__name__ != name:
        numpy_random.set_bit_generator(getattr(numpy_random, name)(0))


def _numpy_fingerprint(numpy_random: Any) -> bytes:
    found = _digest_numpy(numpy_random)
    return _PRISTINE if found == _Genesis.numpy_pristine else found


def _digest_numpy(numpy_random: Any) -> bytes:
    return _digest(_flat(_legacy(numpy_random).get_state(legacy=False)))


def _flat(state: Any) -> bytes:
    """Join all values of a state, plain or not, in the order of their names."""
    if isinstance(state, Mapping):
        return b"".join(name.encode() + _flat(state[name]) for name in sorted(state))
    if hasattr(state, "dtype"):
        return bytes(state.tobytes())
    if isinstance(state, (tuple, list)):
        return bytes(state[1])  # an array, as `_to_plain` writes it
    return repr(state).encode()


def _to_plain(value: Any) -> Any:
    """Turn arrays of a state into (dtype, bytes); numbers and names stay."""
    if isinstance(value, Mapping):
        return {name: _to_plain(item) for name, item in value.items()}
    if hasattr(value, "dtype"):
        return (value.dtype.str, value.tobytes())
    return value


def _from_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _from_plain(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        import numpy as np

        return np.frombuffer(value[1], dtype=value[0])
    return value


# --- marks ----------------------------------------------------------------------------------------


def _mark() -> tuple[Any, ...] | None:
    """Copy the memory that holds the states. None: it can't be found, so nothing is known."""
    if not _is_random_readable():
        return None
    of_numpy: tuple[bytes, ...] = ()
    numpy_random = _numpy()
    if numpy_random is not None:
        twister = _legacy(numpy_random)._bit_generator
        if type(twister).__name__ != "MT19937" or not _is_numpy_readable(numpy_random):
            return None
        of_numpy = _numpy_memory(_legacy(numpy_random), twister)
    return (
        _memory(_shared, _TWISTER_BYTES),
        _shared.gauss_next,
        of_numpy,
        _Genesis.numpy_pristine,
        _Genesis.numpy_waiting,
    )


def _memory(thing: object, size_bytes: int) -> bytes:
    """Copy what stands in an object behind its header."""
    content: bytes = _window(thing, size_bytes).raw
    return content


@functools.lru_cache(maxsize=4)
def _window(thing: object, size_bytes: int) -> Any:
    """Look at an object's memory. Kept, since `id` and looking anew raise audit events."""
    return (ctypes.c_char * size_bytes).from_address(id(thing) + _HEADER_BYTES)


@functools.lru_cache(maxsize=4)
def _state_window(twister: Any) -> Any:
    return (ctypes.c_char * _TWISTER_BYTES).from_address(twister.ctypes.state_address)


def _numpy_memory(legacy: Any, twister: Any) -> tuple[bytes, ...]:
    """Copy a RandomState, which holds half a pair of gauss, and the state of its MT19937."""
    of_legacy = _memory(legacy, type(legacy).__basicsize__ - _HEADER_BYTES)
    return of_legacy, _state_window(twister).raw


@functools.cache
def _is_random_readable() -> bool:
    """Tell whether the state stands where CPython puts it: an index, then 624 words."""
    trial = random.Random(5)
    trial.random()
    *words, index = trial.getstate()[1]
    size_bytes = type(trial).__basicsize__ - _HEADER_BYTES
    return size_bytes >= _TWISTER_BYTES and _memory(trial, _TWISTER_BYTES) == struct.pack(
        "625I", index, *words
    )


@functools.cache
def _is_numpy_readable(numpy_random: Any) -> bool:
    """Tell whether every move of a legacy generator shows, the second half of a pair too."""
    trial = numpy_random.RandomState(5)
    twister = trial._bit_generator
    seen = [_numpy_memory(trial, twister)]
    for move in (trial.random, trial.normal, trial.normal, trial.random):
        move()
        seen.append(_numpy_memory(trial, twister))
    return len(set(seen)) == len(seen)
