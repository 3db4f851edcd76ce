"""Inner products and cosines of single rows, to double precision."""

from __future__ import annotations

import numpy as np
import pytest

from serving_layer.top_n.live import cosines, dots, dots_with_self

ONE = np.array([1.0, 0.5, -3.5])
OTHER = np.array([0.0, -10.3, -3.0])


def test_oryx_figures_of_two_vectors() -> None:
    rows = np.stack([ONE, OTHER])
    assert dots(rows, OTHER)[0] == pytest.approx(5.35, abs=1e-12)
    assert np.sqrt(dots_with_self(rows)) == pytest.approx([3.6742346, 10.7280007], abs=1e-6)
    assert cosines(rows, OTHER) == pytest.approx([0.1357276, 1.0], abs=1e-6)


@pytest.mark.parametrize("magnitude", [1e-12, 1.0, 1e15])
def test_cosines_of_extreme_vectors_stay_exact(magnitude: float) -> None:
    row = np.array([[magnitude, -2 * magnitude]])
    assert cosines(row, -row[0]) == pytest.approx([-1.0], abs=1e-12)


def test_a_vector_of_zeros_is_like_nothing() -> None:
    assert cosines(np.zeros((1, 3)), ONE).tolist() == [0.0]
