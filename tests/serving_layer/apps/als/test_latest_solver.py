import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

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


def test_one_thread_computes_and_others_take_the_old_solver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matrix = FactorMatrix(2, ["a", "b"], np.eye(2, dtype=np.float32))
    latest = LatestSolver(matrix)
    old = latest.get()
    entered, leave = threading.Event(), threading.Event()
    gramians: list[np.ndarray] = []
    original = matrix.gramian

    def slow() -> np.ndarray:
        entered.set()
        assert leave.wait(60)
        gramians.append(original())
        return gramians[-1]

    monkeypatch.setattr(matrix, "gramian", slow)
    matrix.set("c", [3, 4])
    with ThreadPoolExecutor(1) as pool:
        computing = pool.submit(latest.get)
        assert entered.wait(60)
        assert latest.get() is old
        leave.set()
        assert computing.result(60) is latest.get()
    assert len(gramians) == 1
