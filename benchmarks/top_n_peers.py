"""Libraries that answer the same queries in this process, and the exact answers.

None of them copies the items, which may be mapped from a file that is larger than memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import faiss
import numpy as np
import scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares

from benchmarks.als_data import Data

TOP = 10
NUMPY = "plain NumPy"


def best_unknown(data: Data, n_users: int) -> list[set[int]]:
    """Return the rows of the ten best unknown items for the first users, by brute force."""
    depth = TOP + data.known.shape[1]
    _, rows = faiss.knn(data.users[:n_users], data.items, depth, faiss.METRIC_INNER_PRODUCT)
    unknown = (row[~np.isin(row, known)] for row, known in zip(rows, data.known, strict=False))
    return [set(row[:TOP].tolist()) for row in unknown]


def peers(data: Data) -> Mapping[str, Callable[[float], float]]:
    """Return for each peer a function that measures its rate of single queries for some seconds."""
    answers = {
        NUMPY: _numpy(data),
        "faiss flat": _faiss(data),
        "implicit recommend": _implicit(data),
    }
    return {name: _per_second(answer, len(data.users)) for name, answer in answers.items()}


def _numpy(data: Data) -> Callable[[int], object]:
    def answer(user: int) -> object:
        scores = data.items @ data.users[user]
        scores[data.known[user]] = -np.inf
        best = np.argpartition(scores, -TOP)[-TOP:]
        return best[np.argsort(-scores[best])]

    return answer


def _faiss(data: Data) -> Callable[[int], object]:
    depth = TOP + data.known.shape[1]

    def answer(user: int) -> object:
        query = data.users[user : user + 1]
        return faiss.knn(query, data.items, depth, faiss.METRIC_INNER_PRODUCT)

    return answer


def _implicit(data: Data) -> Callable[[int], object]:
    model = AlternatingLeastSquares(factors=data.items.shape[1])
    model.user_factors, model.item_factors = data.users, data.items
    known = scipy.sparse.csr_matrix(
        (
            np.ones(data.known.size, np.float32),
            np.sort(data.known, axis=1).ravel(),
            np.arange(len(data.known) + 1) * data.known.shape[1],
        ),
        (len(data.users), len(data.items)),
    )

    def answer(user: int) -> object:
        return model.recommend(user, known[user], N=TOP)

    return answer


def _per_second(answer: Callable[[int], object], n_users: int) -> Callable[[float], float]:
    def measured(seconds: float) -> float:
        users = iter(np.random.default_rng(3).integers(0, n_users, 1_000_000).tolist())
        started, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds or not count:
            answer(next(users))
            count += 1
        return count / elapsed

    return measured
