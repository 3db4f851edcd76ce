"""Selects the held-out rows of the history by a hash of their coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
#: The seed of Spark's xxhash64.
_START = np.array([42], np.uint64)
_INTS = range(-(2**31), 2**31)


def is_held_out(
    partitions: NDArray[np.int32], offsets: NDArray[np.int64], test_fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Return for each row of the history whether it is held out for testing.

    The result depends only on the seed and the row's coordinates: a row is held out if their
    hash is below `test_fraction` of its range.  The hash is that of Spark's SQL,
    ``xxhash64(seed, partition, offset)``.

    Parameters
    ----------
    partitions, offsets : ndarray, shape (n,)
        The rows' coordinates.
    test_fraction : float
        Share of the rows to hold out, from 0 to 1.
    seed : int
        Seed of the split, of at most 64 bits.
    """
    seeds = np.array([seed], np.int32 if seed in _INTS else np.int64)
    hashed = _hashed(offsets, _hashed(partitions, _hashed(seeds, _START)))
    held_out: NDArray[np.bool_] = hashed & np.uint64(2**31 - 1) < round(test_fraction * 2**31)
    return held_out


def _hashed(values: NDArray[Any], seeds: Hashes) -> Hashes:
    """Return XXH64 of integers of 4 or 8 bytes, each with its seed; arithmetic is modulo 2⁶⁴."""
    bits = values.view(f"u{values.itemsize}").astype(np.uint64)
    hashes = seeds + (_P5 + np.uint64(values.itemsize))
    if values.itemsize == 4:
        hashes = _rotated(hashes ^ bits * _P1, 23) * _P2 + _P3
    else:
        hashes = _rotated(hashes ^ _rotated(bits * _P2, 31) * _P1, 27) * _P1 + _P4
    hashes = (hashes ^ hashes >> np.uint64(33)) * _P2
    hashes = (hashes ^ hashes >> np.uint64(29)) * _P3
    result: Hashes = hashes ^ hashes >> np.uint64(32)
    return result


def _rotated(bits: Hashes, by: int) -> Hashes:
    rotated: Hashes = bits << np.uint64(by) | bits >> np.uint64(64 - by)
    return rotated
