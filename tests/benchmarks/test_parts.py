"""What several benchmarks stand on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from benchmarks import memory
from benchmarks.alongside import alongside
from benchmarks.als_data import Shape, make, write_generation
from benchmarks.growth_plot import Curve, draw
from benchmarks.top_n_peers import TOP, best_unknown
from common.factors.files import ITEM_FACTORS, USER_FACTORS, read_factors
from common.store.generations import ModelStore

SHAPE = Shape(n_items=70_000, n_users=50, n_factors=4)


def test_factors_are_the_same_for_a_seed_and_known_items_are_liked() -> None:
    data, again, other = make(SHAPE), make(SHAPE), make(SHAPE, seed=2)
    np.testing.assert_array_equal(data.items, again.items)
    np.testing.assert_array_equal(data.known, again.known)
    assert not np.array_equal(data.items, other.items)
    assert np.ptp(data.items, axis=0).min() > 1
    liked = np.einsum("uk,unk->un", data.users, data.items[data.known]).mean()
    assert liked > (data.users @ data.items.T).mean() + 1


def test_a_generation_is_what_was_made(tmp_path: Path) -> None:
    data = make(SHAPE)
    write_generation(tmp_path, data, 1000)
    found = ModelStore(str(tmp_path)).get(1000)
    items = read_factors(found.path(ITEM_FACTORS))
    users = read_factors(found.path(USER_FACTORS))
    assert items.ids[:2] == ["i0", "i1"]
    assert users.ids[-1] == "u49"
    np.testing.assert_array_equal(items.vectors, data.items)
    assert users.known_items is not None
    assert users.known_items[0].tolist() == sorted(set(data.known[0].tolist()))


def test_the_best_unknown_items_are_those_of_all_products() -> None:
    data = make(SHAPE)
    found = best_unknown(data, 20)
    assert len(found) == 20
    for user, rows in enumerate(found):
        scores = data.items @ data.users[user]
        scores[data.known[user]] = -np.inf
        assert rows == set(np.argsort(-scores)[:TOP].tolist())


def test_memory_is_that_of_a_process_and_its_children() -> None:
    script = "x = b'1' * 50_000_000; print('ready', flush=True); input()"
    before = memory.of(os.getpid())
    assert 0 < before.pss <= before.rss
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert memory.of(child.pid).rss > 50_000_000
        assert memory.of(os.getpid()).rss > before.rss + 50_000_000
        child.communicate(b"\n")
    assert memory.of(child.pid) == memory.Memory(0, 0)


def test_the_greatest_reading_is_kept() -> None:
    readings = iter([{"a": 1.0, "b": 1.0}, {"a": 3.0, "b": 4.0}])
    read = threading.Event()

    def reading() -> dict[str, float]:
        found = next(readings, None)
        if found is None:
            read.set()
        return found or {"a": 0.0, "b": 5.0}

    with memory.watched(reading, 0.001) as greatest:
        assert read.wait(30)
    assert (greatest.parts, greatest.total) == ({"a": 3.0, "b": 4.0}, 7.0)


def test_work_alongside_that_fails_is_told() -> None:
    def fail(done: threading.Event) -> None:
        done.wait(30)
        message = "the poller failed"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="the poller failed"), alongside(fail):
        pass


def test_curves_are_drawn_with_their_exponents(tmp_path: Path) -> None:
    curve = Curve("a query", "items", "ms", [100, 200, 400], [3.0, 6.0, 12.0])
    assert curve.exponent == pytest.approx(1)
    draw([curve, curve, curve, curve], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
