"""Events per second that ALS's speed layer folds in, on one core.

    python -m benchmarks.fold_in [--users 100000] [--items 20000] [--features 50]

For each size of micro-batch, in events per second of CPU time: reading lines and
``Speed.build_updates`` (both sides, and the payloads as text), and the vectorised maths into one
side against a plain NumPy loop, one event after the other, into the same side.
Users are uniform, items by Zipf's law.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.report import Figure, run
from common.apps.als.events import read
from common.apps.als.fold_in import FoldIn, Strengths
from common.apps.als.pmml import AlsModel, write_als_pmml
from common.factors.files import ITEM_FACTORS, USER_FACTORS, write_factors
from common.factors.matrix import gramian
from common.factors.solver import Solver
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.store.generations import Manifest, ModelStore
from speed_layer.api import Events
from speed_layer.apps.als.model import Speed

BASELINE_EVENTS = 2_000
MAX_BYTES = 65_536
Factors = NDArray[np.float32]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Events folded in per second of CPU.")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 5_000, 20_000, 50_000])
    parser.add_argument("--repeats", type=int, default=5)
    run("fold_in", measure, parser, sizes=[1_000, 5_000])


def measure(options: argparse.Namespace) -> Iterator[Figure]:
    """Yield figures for micro-batches of several sizes."""
    random = np.random.default_rng(1)
    users, items = (
        random.normal(0, 0.3, (count, options.features)).astype(np.float32)
        for count in (options.users, options.items)
    )
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        speed = loaded(Path(folder), users, items)
        solver = Solver.of(gramian(items))
        assert solver is not None
        for size in options.sizes:
            events = drawn(random, size, options)
            yield from measured(events, Setup(users, items, solver, speed), options)


@dataclass(frozen=True)
class Setup:
    """Factors, solver and speed layer of all measurements."""

    users: Factors
    items: Factors
    solver: Solver
    speed: Speed


def measured(events: Strengths, setup: Setup, options: argparse.Namespace) -> Iterator[Figure]:
    """Yield the maths of one side against a loop, and reading and ``build_updates`` as a whole."""
    size = len(events.rows)
    n_loop = min(size, BASELINE_EVENTS)
    first_events = Strengths(events.rows[:n_loop], events.others[:n_loop], events.values[:n_loop])
    vectors = setup.users.copy()
    inverse = setup.solver.solve(np.eye(options.features))
    batch = as_lines(events)
    ways = {
        "loop": (n_loop, lambda: fold_one_by_one(first_events, vectors, setup.items, inverse)),
        "maths": (size, lambda: fold_vectorised(events, setup)),
        "whole": (size, lambda: folded(setup.speed, batch)),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for name in list(ways) * options.repeats:
        count, call = ways[name]
        rates[name].append(count / cpu_seconds(call))
    what, unit = f"micro-batch of {size:,}", "events/s of CPU"
    yield Figure(f"{what}: build_updates", unit, rates["whole"], asked="20,000")
    yield Figure(f"{what}: one side", unit, rates["maths"], "a NumPy loop", rates["loop"])


def drawn(random: np.random.Generator, size: int, options: argparse.Namespace) -> Strengths:
    """Draw the events of a micro-batch."""
    weights = 1.0 / np.arange(1, options.items + 1)
    return Strengths(
        random.integers(options.users, size=size),
        random.choice(options.items, size=size, p=weights / weights.sum()),
        random.choice([1.0, 2.0, -1.0], size=size, p=[0.7, 0.2, 0.1]),
    )


def as_lines(events: Strengths) -> pa.RecordBatch:
    """Return the events as lines of the input topic."""
    size = len(events.rows)
    lines = [
        f"user{user},item{item},{value},{1_700_000_000_000 + n}"
        for n, (user, item, value) in enumerate(
            zip(events.rows, events.others, events.values, strict=True)
        )
    ]
    return pa.record_batch(
        {
            "partition": pa.array(np.zeros(size, np.int32)),
            "offset": pa.array(np.arange(size)),
            "timestamp": pa.array(np.full(size, 1_700_000_000_000)),
            "value": pa.array(lines).cast(pa.binary()),
        }
    )


def folded(speed: Speed, rows: pa.RecordBatch) -> Sequence[str]:
    """Read rows of the input topic as the speed layer does, and fold them in."""
    return speed.build_updates(Events.read(rows, read, MAX_BYTES))


def loaded(folder: Path, users: Factors, items: Factors) -> Speed:
    """Return the speed layer's model, loaded from a generation with these factors."""
    store = ModelStore(str(folder))
    directory = store.new(1)
    for name, side, vectors in ((USER_FACTORS, "user", users), (ITEM_FACTORS, "item", items)):
        write_factors(directory / name, [f"{side}{n}" for n in range(len(vectors))], vectors)
    pmml = AlsModel(
        features=users.shape[1], implicit=True, regularization=0.001, user_ids=[], item_ids=[]
    )
    (directory / "model.pmml").write_bytes(write_als_pmml(pmml))
    files = store.commit(directory, Manifest(1, "als", "model.pmml", {}, "topic", {}))
    speed = Speed(load())
    speed.load(ModelMessage(1, files.model_text(), files))
    return speed


def fold_one_by_one(
    events: Strengths, vectors: Factors, items: Factors, inverse: NDArray[np.float64]
) -> None:
    """Fold into the users' vectors by a naive loop."""
    for user, item, value in zip(events.rows, events.others, events.values, strict=True):
        fixed = items[item].astype(np.float64)
        estimate = vectors[user] @ fixed
        if value > 0 and estimate < 1:
            wanted = estimate + value / (1 + value) * (1 - max(0.0, estimate))
        elif value < 0 and estimate > 0:
            wanted = estimate - value / (value - 1) * min(1.0, estimate)
        else:
            continue
        vectors[user] += (inverse @ fixed) * (wanted - estimate)


def fold_vectorised(events: Strengths, setup: Setup) -> None:
    """Fold into the users' vectors as the speed layer does."""
    touched, rows = np.unique(events.rows, return_inverse=True)
    named, others = np.unique(events.others, return_inverse=True)
    current = setup.users[touched].astype(np.float64)
    FoldIn(setup.solver, setup.items[named].astype(np.float64), implicit=True).apply(
        Strengths(rows, others, events.values), current, np.ones(len(touched), np.bool_)
    )


def cpu_seconds(call: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    main()
