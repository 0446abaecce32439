"""Generators: the global ones of `random` and legacy `numpy.random`. They are re-run, not recorded.

A run seeds them once from recorded entropy (genesis). From there a draw costs nothing: the code
that is run again draws the same. The state is plain values, kept at a position's end and put back
at the next begin, so that machinery between cells can't move it; a state that an effect changed
belongs to that effect's outcome (H9).

numpy counts only once it is loaded, and reads as *pristine* while nobody drew from it: a process
that loaded it earlier than another has the same fingerprint. Generators that a user makes are
seeded by `effects.entropy` and are ordinary objects of the namespace.
"""

from __future__ import annotations

import hashlib
import random
import struct
import sys
from collections.abc import Mapping
from typing import Any

import wrapt

from durable_kernel.ports import Witness

__all__ = ["fingerprint", "install", "restore", "save", "seed_genesis"]

_PRISTINE = bytes(8)


class _Genesis:
    """The seed of this process's run, and what waits for numpy to be imported."""

    seed: bytes | None = None
    numpy_pristine: bytes | None = None
    numpy_waiting: Mapping[str, Any] | None = None


def install(witness: Witness) -> None:
    """Seed numpy as soon as it is imported, if a run was begun by then. Idempotent."""
    wrapt.register_post_import_hook(_seed_numpy, "numpy.random")


def seed_genesis(entropy: bytes) -> None:
    """Seed all global generators from the recorded entropy of a run's first moment (32 bytes)."""
    _Genesis.seed, _Genesis.numpy_waiting = entropy, None
    random.seed(_derive(b"random"))
    numpy_random = _numpy()
    if numpy_random is not None:
        _seed_numpy(numpy_random)


def save() -> dict[str, Any]:
    """Return the states as plain values: dicts, tuples, bytes, numbers. No numpy while pristine."""
    state: dict[str, Any] = {"random": _random_state()}
    numpy_random = _numpy()
    if numpy_random is None:
        if _Genesis.numpy_waiting is not None:
            state["numpy"] = _Genesis.numpy_waiting
    elif _numpy_fingerprint(numpy_random) != _PRISTINE:
        state["numpy"] = _to_plain(numpy_random.get_state(legacy=False))
    return state


def restore(state: Mapping[str, Any]) -> None:
    """Put back what `save` returned. A numpy that was not in it goes back to genesis.

    A state of numpy is kept for its import if it is not loaded.
    """
    version, words, gauss = state["random"]
    random.setstate((version, struct.unpack(f"<{len(words) // 4}I", words), gauss))
    _Genesis.numpy_waiting = state.get("numpy")
    numpy_random = _numpy()
    if numpy_random is not None:
        _seed_numpy(numpy_random)


def fingerprint() -> bytes:
    """Return 16 bytes that change with the states: `random`, then numpy (zeros while pristine)."""
    version, words, gauss = _random_state()
    first = _digest(words + repr((version, gauss)).encode())
    numpy_random = _numpy()
    if numpy_random is not None:
        return first + _numpy_fingerprint(numpy_random)
    waiting = _Genesis.numpy_waiting
    return first + (_PRISTINE if waiting is None else _digest(_flat(waiting)))


# --- random ---------------------------------------------------------------------------------------


def _random_state() -> tuple[int, bytes, float | None]:
    version, words, gauss = random.getstate()
    return version, struct.pack(f"<{len(words)}I", *words), gauss


def _derive(purpose: bytes) -> bytes:
    assert _Genesis.seed is not None
    return hashlib.blake2b(_Genesis.seed, digest_size=32, person=purpose).digest()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


# --- numpy ----------------------------------------------------------------------------------------


def _numpy() -> Any:
    """Return `numpy.random` once it is loaded completely, without loading it."""
    module = sys.modules.get("numpy.random")
    return module if hasattr(module, "get_state") else None


def _seed_numpy(numpy_random: Any) -> None:
    """Bring the global generator to the state that waits for it, or to genesis."""
    if _Genesis.seed is not None:
        _use_bit_generator(numpy_random, "MT19937")
        numpy_random.seed(struct.unpack("<8I", _derive(b"numpy.random")))
        _Genesis.numpy_pristine = _digest_numpy(numpy_random)
    waiting, _Genesis.numpy_waiting = _Genesis.numpy_waiting, None
    if waiting is not None:
        _use_bit_generator(numpy_random, waiting["bit_generator"])
        numpy_random.set_state(_from_plain(waiting))


def _use_bit_generator(numpy_random: Any, name: str) -> None:
    """Undo, or do again, a `np.random.set_bit_generator`: a state fits one kind only."""
    if type(numpy_random.get_bit_generator()).__name__ != name:
        numpy_random.set_bit_generator(getattr(numpy_random, name)(0))


def _numpy_fingerprint(numpy_random: Any) -> bytes:
    found = _digest_numpy(numpy_random)
    return _PRISTINE if found == _Genesis.numpy_pristine else found


def _digest_numpy(numpy_random: Any) -> bytes:
    return _digest(_flat(numpy_random.get_state(legacy=False)))


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
