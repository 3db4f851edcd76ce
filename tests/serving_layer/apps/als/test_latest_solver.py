import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from common.factors.matrix import FactorMatrix
from serving_layer.apps.als.view import LatestSolver


def test_a_solver_is_kept_until_the_matrix_changes() -> None:
    matrix = FactorMatrix(2)
    latest = LatestSolver(matrix)
    assert latest.get() is None
    matrix.set("a", [1, 1])
    assert latest.get() is None
    matrix.set("b", [1, 0])
    solver = latest.get()
    assert solver is not None
    assert latest.get() is solver
    matrix.set("c", [1, 2])
    assert latest.get() is not solver


class SlowMatrix(FactorMatrix):
    """Computes its Gramian when it is let."""

    def __init__(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        super().__init__(vectors.shape[1], ids, vectors)
        self.entered, self.leave = threading.Event(), threading.Event()
        self.gramians: list[np.ndarray] = []

    def gramian(self) -> np.ndarray:
        self.entered.set()
        assert self.leave.wait(60)
        self.gramians.append(super().gramian())
        return self.gramians[-1]


def test_one_thread_computes_and_others_take_the_old_solver() -> None:
    matrix = SlowMatrix(["a", "b"], np.eye(2, dtype=np.float32))
    latest = LatestSolver(matrix)
    matrix.leave.set()
    old = latest.get()
    entered, leave, gramians = matrix.entered, matrix.leave, matrix.gramians
    for event in (entered, leave):
        event.clear()
    gramians.clear()
    matrix.set("c", [3, 4])
    with ThreadPoolExecutor(1) as pool:
        computing = pool.submit(latest.get)
        assert entered.wait(60)
        assert latest.get() is old
        leave.set()
        assert computing.result(60) is latest.get()
    assert len(gramians) == 1
