"""Exact top 10 by inner product over a million items: our index against matmul and argpartition.

    python -m benchmarks.top_n            # 1M x 50 and 1M x 250; batches of 1, 8, 32
    python -m benchmarks.top_n --items 200000 --factors 50 --rounds 5

Both run in this process alternately, so that other load slows both; the ratio matters.  The plain
variant uses BLAS on all cores, NumPy's default; ours has one BLAS thread in each of its threads.
Data: standard normal vectors scaled by log-normal lengths (sigma 0.4), seed 1.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks import report
from common.factors.matrix import FactorMatrix
from serving_layer.search import ExactIndex, LiveFactors, Query

Array = NDArray[np.float32]

TOP = 10
SECONDS = 1.0


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--factors", type=int, nargs="+", default=[50, 250])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    report.run("top_n", measure, parser, items=100_000, factors=[50], rounds=1)


def measure(given: argparse.Namespace) -> Iterator[report.Figure]:
    """Yield queries per second for each number of factors and size of batch."""
    for factors in given.factors:
        vectors = _items(given.items, factors)
        index = _index(vectors)
        for batch in given.batches:
            queries = np.random.default_rng(2).standard_normal((batch, factors), np.float32)
            yield _figure(vectors, index, queries, given.rounds)
        del vectors, index


def _figure(vectors: Array, index: ExactIndex, queries: Array, rounds: int) -> report.Figure:
    batch = [Query(query, TOP) for query in queries]
    _check(_plain(vectors, queries), [top.rows for top in index.top_n(batch)])
    plain, ours = [], []
    for _ in range(rounds):
        with threadpool_limits(limits=os.cpu_count(), user_api="blas"):
            plain.append(_rate(lambda: _plain(vectors, queries), len(queries)))
        ours.append(_rate(lambda: index.top_n(batch), len(queries)))
    return report.Figure(
        what=f"exact top {TOP}, {len(vectors):,} x {vectors.shape[1]}, batches of {len(queries)}",
        unit="queries/s",
        values=ours,
        peer="product and argpartition",
        peer_values=plain,
        notes={"resident MB": round(_resident_mb())},
    )


def _items(n_rows: int, n_factors: int) -> Array:
    random = np.random.default_rng(1)
    vectors = random.standard_normal((n_rows, n_factors), np.float32)
    vectors *= random.lognormal(0, 0.4, (n_rows, 1)).astype(np.float32)
    return vectors


def _index(vectors: Array) -> ExactIndex:
    ids = [str(row) for row in range(len(vectors))]
    return ExactIndex(LiveFactors(FactorMatrix(vectors.shape[1], ids, vectors)))


def _plain(vectors: Array, queries: Array) -> list[NDArray[np.int64]]:
    all_best = []
    for scores in queries @ vectors.T:
        best = np.argpartition(scores, -TOP)[-TOP:]
        all_best.append(best[np.argsort(-scores[best])])
    return all_best


def _check(plain: list[NDArray[np.int64]], ours: list[NDArray[np.int64]]) -> None:
    for expected, actual in zip(plain, ours, strict=True):
        if expected.tolist() != actual.tolist():
            message = f"the answers differ: {expected.tolist()} and {actual.tolist()}"
            raise SystemExit(message)


def _rate(run: Callable[[], object], n_queries: int) -> float:
    """Return queries per second, measured for at least a second."""
    started, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < SECONDS or not count:
        run()
        count += 1
    return n_queries * count / elapsed


def _resident_mb() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
