"""Metrics of held-out evaluation, vectorised by NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Numbers = NDArray[np.floating]

#: Number of attempts to draw a negative that is not a positive; after them it is left out.
_DRAWS = 8
_BLOCK = 65_536


def dot_rows(
    left: Numbers, right: Numbers, left_rows: Rows, right_rows: Rows
) -> NDArray[np.float64]:
    """Return the dot product of each pair of rows, shape (n,), block by block."""
    products = np.empty(len(left_rows))
    for start in range(0, len(left_rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        products[part] = np.einsum("ij,ij->i", left[left_rows[part]], right[right_rows[part]])
    return products


def root_mean_squared_error(predicted: Numbers, actual: Numbers) -> float:
    """Return √mean((predicted - actual)²); NaN for empty arrays."""
    return float(np.sqrt(np.mean((predicted - actual) ** 2))) if len(actual) else float("nan")


def draw_negatives(users: Rows, items: Rows, seed: int) -> tuple[Rows, Rows]:
    """Draw for each user about as many negative items as the user has positive items.

    They are drawn uniformly from the distinct items of all positives (Oryx's rule); a user with
    all of these items as positives gets no negatives.

    Parameters
    ----------
    users, items : ndarray of int64, shape (n,)
        The positives, without duplicate pairs.
    seed : int
        Seed of the draw.

    Returns
    -------
    users, items : ndarray of int64, shape (m,), m <= n
        The negatives, possibly with duplicate pairs.
    """
    random = np.random.default_rng(seed)
    choices = np.unique(items)
    positives = np.sort(_pair_keys(users, items))
    remaining, negative_users, negative_items = users, [users[:0]], [items[:0]]
    for _ in range(_DRAWS if len(choices) else 0):
        drawn = random.choice(choices, len(remaining))
        is_positive = _contains(positives, _pair_keys(remaining, drawn))
        negative_users.append(remaining[~is_positive])
        negative_items.append(drawn[~is_positive])
        remaining = remaining[is_positive]
    return np.concatenate(negative_users), np.concatenate(negative_items)


def mean_user_auc(
    positive_users: Rows, positive: Numbers, negative_users: Rows, negative: Numbers
) -> float:
    """Return the mean over users of the area under the user's ROC curve.

    A user's area is the mean over all pairs of a positive and a negative of 1 if the positive
    has the higher score, 1/2 if the scores tie, and else 0.  It is computed from rank sums
    (Mann and Whitney 1947).

    Parameters
    ----------
    positive_users, negative_users : ndarray of int64
        The users of the scores.
    positive, negative : ndarray of float
        The scores.

    Returns
    -------
    float
        NaN if no user has both positives and negatives.
    """
    users = np.concatenate([positive_users, negative_users])
    scores = np.concatenate([positive, negative])
    is_positive = np.arange(len(users)) < len(positive_users)
    order = np.lexsort((scores, users))
    users, scores, is_positive = users[order], scores[order], is_positive[order]
    _, user = np.unique(users, return_inverse=True)
    n_positive = np.bincount(user, is_positive)
    n_negative = np.bincount(user) - n_positive
    rank_sum = np.bincount(user, _ranks(user, scores) * is_positive)
    both = (n_positive > 0) & (n_negative > 0)
    if not both.any():
        return float("nan")
    wins = rank_sum - n_positive * (n_positive + 1) / 2
    return float(np.mean(wins[both] / (n_positive[both] * n_negative[both])))


def _ranks(group: Rows, scores: Numbers) -> NDArray[np.float64]:
    """Return ranks from 1 within each group, with the mean for ties; input sorted by both."""
    position = np.arange(len(group), dtype=np.float64)
    first = np.searchsorted(group, group, "left")
    new = np.r_[True, (group[1:] != group[:-1]) | (scores[1:] != scores[:-1])][: len(group)]
    run = np.cumsum(new) - 1
    mean = np.bincount(run, position) / np.bincount(run)
    ranks: NDArray[np.float64] = mean[run] - first + 1
    return ranks


def _pair_keys(users: Rows, items: Rows) -> Rows:
    return users.astype(np.int64) << 32 | items


def _contains(ordered: Rows, keys: Rows) -> NDArray[np.bool_]:
    position = np.searchsorted(ordered, keys)
    is_equal: NDArray[np.bool_] = ordered[np.minimum(position, len(ordered) - 1)] == keys
    return is_equal
