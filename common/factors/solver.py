"""Solves the normal equations of a Gramian, unless it is singular."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: A matrix is singular if a diagonal element of R is below this share of its norm (Oryx).
SINGULARITY_RATIO = 1e-5


@dataclass(frozen=True)
class Solver:
    """Solves G·x = b for one square matrix G, by its inverse.

    A matrix that is regular by the rule of :meth:`of` is well-conditioned enough for this.
    """

    inverse: NDArray[np.float64]

    @classmethod
    def of(cls, matrix: NDArray[np.float64]) -> Solver | None:
        """Return the solver of `matrix`, shape (k, k); None if it is singular or empty.

        Oryx's rule: a matrix is singular if a diagonal element of R (QR with column pivoting) is
        below 1e-5 of its norm.
        """
        if not matrix.size:
            return None
        try:
            inverse = np.asarray(np.linalg.inv(matrix), np.float64)
        except np.linalg.LinAlgError:
            return None
        # The smallest diagonal element of R is at least the smallest singular value, which is at
        # least 1 / ‖G⁻¹‖: in most cases this bound decides, and R is not computed.
        lower_bound = 1 / np.linalg.norm(inverse)
        regular = lower_bound > _limit(matrix) or apparent_rank(matrix) == len(matrix)
        return cls(inverse) if regular else None

    def solve(self, b: ArrayLike) -> NDArray[np.float64]:
        """Return G⁻¹b for `b` of shape (k,), or for every row of `b` of shape (n, k)."""
        solution: NDArray[np.float64] = np.asarray(b, np.float64) @ self.inverse.T
        return solution


def apparent_rank(matrix: NDArray[np.float64]) -> int:
    """Return the number of diagonal elements of R (pivoted QR) above 1e-5 of the matrix's norm."""
    # Imported here: scipy.linalg takes 30 MB, and most processes do not need it.
    from scipy.linalg import qr

    if not matrix.size:
        return 0
    (r,) = qr(matrix, mode="r", pivoting=True)[:1]
    return int((np.abs(np.diag(r)) > _limit(matrix)).sum())


def _limit(matrix: NDArray[np.float64]) -> float:
    return SINGULARITY_RATIO * float(np.linalg.norm(matrix, ord=1))
