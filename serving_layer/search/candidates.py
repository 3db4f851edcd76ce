"""Rows that may be among the best, from an inverted file of coarsely stored vectors.

The rows are divided into cells by k-means, and a query looks into the cells whose centers are
nearest to it (IVF: Jégou, Douze, Schmid, Product Quantization for Nearest Neighbor Search,
2011, section 4).  Cells are for distances, and long vectors have large inner products wherever
they point, so each row x gets one coordinate more, √(M² - |x|²): then all rows are as long as
the longest, M, and the largest inner product belongs to the nearest row (Bachrach et al.,
Speeding Up the Xbox Recommender System, 2014, theorem 1).

A cell holds one byte for each coordinate: who asks scores what comes back again by the vectors
themselves, so that coarse storing costs recall alone, and little of it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving_layer.search.live import RowNumbers, Vectors

#: faiss decodes bytes by vector instructions where their number is a multiple of this.
_PADDING = 16
#: Rounds of k-means: more refine cells that are only a guide.
_TRAINING_ROUNDS = 8
#: Which threads have been told to do faiss's work alone.
_alone = threading.local()


@dataclass(frozen=True)
class Extent:
    """How far vectors may reach: `low` and `high` for each factor, `longest` for the length."""

    low: Vectors
    high: Vectors
    longest: float

    def holds(self, vectors: Vectors) -> NDArray[np.bool_]:
        """Tell for each vector whether it reaches no farther."""
        inside = ((vectors >= self.low) & (vectors <= self.high)).all(axis=1)
        return np.asarray(inside & (np.linalg.norm(vectors, axis=1) <= self.longest))


class Candidates:
    """Coarse copies of rows, searched by inner product.

    Any number of threads may search at once while no other call is made.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, k)
        A sample of the rows: k-means sees these alone.
    extent : Extent
        What all rows should keep to; how good a row that does not looks is understated.
    n_cells : int
        Number of cells.
    """

    def __init__(self, vectors: Vectors, extent: Extent, n_cells: int) -> None:
        # 15 MB, which only an approximate index takes.
        import faiss

        _work_alone(faiss)
        self._faiss: Any = faiss
        self._parameters: dict[int, Any] = {}
        self._extent = extent
        width = vectors.shape[1] + 1
        self._width = width + -width % _PADDING
        self._centers = faiss.IndexFlatL2(self._width)
        self._index: Any = faiss.IndexIVFScalarQuantizer(
            self._centers,
            self._width,
            n_cells,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
            False,
        )
        self._index.cp.niter = _TRAINING_ROUNDS
        self._index.train(self._lengthened(vectors))
        # The range of the rows that k-means has seen is not that of all.
        self._index.sq.train(self._range())
        # Row numbers are ids, so that a row is found and replaced in microseconds.
        self._index.set_direct_map_type(self._faiss.DirectMap.Array)

    def __len__(self) -> int:
        """Return the number of rows held: the first ones of the matrix."""
        return int(self._index.ntotal)

    @property
    def n_cells(self) -> int:
        """Into how many cells the rows are divided."""
        return int(self._index.nlist)

    def holds(self, vectors: Vectors) -> NDArray[np.bool_]:
        """Tell for each vector whether it keeps to the extent."""
        return self._extent.holds(vectors)

    def add(self, vectors: Vectors) -> None:
        """Append rows."""
        _work_alone(self._faiss)
        self._index.add(self._lengthened(vectors))

    def replace(self, rows: RowNumbers, vectors: Vectors) -> None:
        """Replace some of the rows held."""
        _work_alone(self._faiss)
        self._index.update_vectors(rows, self._lengthened(vectors))

    def search(self, queries: Vectors, n: int, n_probe: int) -> RowNumbers:
        """Return for each query the rows that seem best, -1 after the last: shape (q, n).

        Parameters
        ----------
        queries : ndarray of float32, shape (q, k)
            What rows are compared with; of length 1.
        n : int
            How many rows.
        n_probe : int
            How many cells are looked into.
        """
        _work_alone(self._faiss)
        # Each call of faiss lets go of Python's lock, which costs more than a short call itself.
        parameters = self._parameters.get(n_probe)
        if parameters is None:
            parameters = self._faiss.SearchParametersIVF(nprobe=n_probe)
            self._parameters[n_probe] = parameters
        # As long as the rows, as they are nearest then where they point the same way.
        padded = self._padded(queries * np.float32(self._extent.longest))
        _, rows = self._index.search(padded, n, params=parameters)
        return np.asarray(rows)

    def _lengthened(self, vectors: Vectors) -> Vectors:
        """Return rows with the coordinate that makes all of them equally long."""
        padded = self._padded(vectors)
        missing = self._extent.longest**2 - np.square(vectors).sum(axis=1)
        padded[:, vectors.shape[1]] = np.sqrt(np.maximum(missing, 0))
        return padded

    def _range(self) -> Vectors:
        """Return the smallest and the largest coordinates of rows that keep to the extent."""
        padded = self._padded(np.stack([self._extent.low, self._extent.high]))
        padded[1, len(self._extent.low)] = self._extent.longest
        return padded

    def _padded(self, vectors: Vectors) -> Vectors:
        padded = np.zeros((len(vectors), self._width), np.float32)
        padded[:, : vectors.shape[1]] = vectors
        return padded


def _work_alone(faiss: Any) -> None:
    """Tell faiss, which asks each thread, to start no others.

    OpenMP's threads would take the cores from requests, and wait for one another.
    """
    if not hasattr(_alone, "told"):
        faiss.omp_set_num_threads(1)
        _alone.told = True
