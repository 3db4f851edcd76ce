"""Metrics: small cases by hand, larger ones against the definition, pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batch_layer.search.measures import (
    dot_rows,
    draw_negatives,
    mean_user_auc,
    root_mean_squared_error,
)


def rows(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        ([2.0], [1.0], 1.0),
        ([1.0], [2.0], 0.0),
        ([1.0], [1.0], 0.5),
        ([3.0, 1.0], [2.0, 0.0], 0.75),
    ],
)
def test_auc_of_one_user(positive: list[float], negative: list[float], expected: float) -> None:
    users = [np.zeros(len(scores), np.int64) for scores in (positive, negative)]
    auc = mean_user_auc(users[0], np.array(positive), users[1], np.array(negative))
    assert auc == pytest.approx(expected)


def test_auc_is_the_mean_over_users() -> None:
    random = np.random.default_rng(5)
    users = [random.integers(0, 20, n) for n in (300, 250)]
    scores = [random.integers(0, 8, n).astype(float) for n in (300, 250)]
    expected = []
    for user in range(20):
        positive, negative = scores[0][users[0] == user], scores[1][users[1] == user]
        difference = positive[:, None] - negative[None]
        expected.append(((difference > 0) + 0.5 * (difference == 0)).mean())
    auc = mean_user_auc(users[0], scores[0], users[1], scores[1])
    assert auc == pytest.approx(np.mean(expected))


def test_auc_leaves_out_users_with_one_kind_only() -> None:
    auc = mean_user_auc(rows(0, 7), np.array([2.0, 9.0]), rows(0, 9), np.array([1.0, 9.0]))
    assert auc == 1.0
    assert math.isnan(mean_user_auc(rows(1), np.array([1.0]), rows(2), np.array([1.0])))
    empty = np.zeros(0)
    assert math.isnan(mean_user_auc(rows(), empty, rows(), empty))


def test_negatives_are_others_of_the_items_tested() -> None:
    random = np.random.default_rng(2)
    pairs = np.unique(random.integers(0, 30, (400, 2)), axis=0)
    users, items = pairs.T
    items = items * 10
    negative_users, negative_items = draw_negatives(users, items, seed=1)
    assert 0.9 * len(users) < len(negative_users) <= len(users)
    assert set(negative_items) <= set(items)
    assert not set(zip(users, items, strict=True)) & set(
        zip(negative_users, negative_items, strict=True)
    )
    again = draw_negatives(users, items, seed=1)
    assert np.array_equal(again[1], negative_items)
    assert not np.array_equal(draw_negatives(users, items, seed=2)[1], negative_items)


def test_no_negatives_where_there_are_none() -> None:
    users, items = draw_negatives(rows(0, 0, 1), rows(1, 2, 2), seed=1)
    assert set(users) <= {1}
    assert set(items) <= {1}
    assert len(draw_negatives(rows(), rows(), seed=1)[0]) == 0


def test_dot_rows_and_rmse() -> None:
    left, right = np.eye(3, 2), np.array([[1.0, 2.0], [3.0, 4.0]])
    assert dot_rows(left, right, rows(0, 1, 2), rows(1, 0, 1)).tolist() == [3.0, 2.0, 0.0]
    assert root_mean_squared_error(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == math.sqrt(2)
    assert math.isnan(root_mean_squared_error(np.zeros(0), np.zeros(0)))
