"""Candidates for top-N, from an inverted file (IVF) of quantized vectors.

K-means divides the rows into cells, and a query searches the cells whose centers are nearest to
it (Jégou, Douze, Schmid, Product Quantization for Nearest Neighbor Search, 2011, section 4).
Cells find the nearest rows by distance, but a long vector may have a large inner product at any
distance.  Therefore each row x gets one more coordinate, √(M² - |x|²), so that all rows have the
length M of the longest, and the row with the largest inner product is the nearest (Bachrach et
al., Speeding Up the Xbox Recommender System, 2014, theorem 1).

Coordinates are quantized to one byte.  The caller scores the candidates by their float32 vectors,
so that quantization only costs a little recall.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving_layer.search.live import RowNumbers, Vectors

#: faiss decodes vectors by SIMD instructions if their length is a multiple of this.
_PADDING = 16
#: Iterations of k-means; more of them hardly improve recall.
_TRAINING_ROUNDS = 8
#: Marks the threads in which faiss is set to one thread.
_single_threaded = threading.local()


@dataclass(frozen=True)
class Extent:
    """Bounds of the quantizer: `low` and `high` for each factor, `longest` for the length."""

    low: Vectors
    high: Vectors
    longest: float

    def holds(self, vectors: Vectors) -> NDArray[np.bool_]:
        """Return for each vector whether it is within the bounds."""
        inside = ((vectors >= self.low) & (vectors <= self.high)).all(axis=1)
        return np.asarray(inside & (np.linalg.norm(vectors, axis=1) <= self.longest))


class Candidates:
    """Quantized copies of rows in cells, searched by inner product.

    Any number of threads may search while no other method is being called.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, k)
        A sample of the rows, on which k-means is trained.
    extent : Extent
        Bounds of the rows; the scores of rows outside them are underestimated.
    n_cells : int
        Number of cells.
    """

    def __init__(self, vectors: Vectors, extent: Extent, n_cells: int) -> None:
        # 15 MB, which only an approximate index takes.
        import faiss

        _use_one_thread(faiss)
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
        # The quantizer's range is that of the bounds, not of the sample.
        self._index.sq.train(self._range())
        # With row numbers as ids, a row is replaced in microseconds.
        self._index.set_direct_map_type(self._faiss.DirectMap.Array)

    def __len__(self) -> int:
        """Return the number n of rows held, which are rows [0, n) of the matrix."""
        return int(self._index.ntotal)

    @property
    def n_cells(self) -> int:
        """The number of cells."""
        return int(self._index.nlist)

    def holds(self, vectors: Vectors) -> NDArray[np.bool_]:
        """Return for each vector whether it is within the bounds."""
        return self._extent.holds(vectors)

    def add(self, vectors: Vectors) -> None:
        """Append rows."""
        _use_one_thread(self._faiss)
        self._index.add(self._lengthened(vectors))

    def replace(self, rows: RowNumbers, vectors: Vectors) -> None:
        """Replace rows that are held."""
        _use_one_thread(self._faiss)
        self._index.update_vectors(rows, self._lengthened(vectors))

    def search(self, queries: Vectors, n: int, n_probe: int) -> RowNumbers:
        """Return the best candidates of each query, padded with -1; shape (q, n).

        Parameters
        ----------
        queries : ndarray of float32, shape (q, k)
            The queries, of length 1.
        n : int
            Number of candidates.
        n_probe : int
            Number of cells to search.
        """
        _use_one_thread(self._faiss)
        # Cached: every call of faiss releases the GIL, which costs more than a short call itself.
        parameters = self._parameters.get(n_probe)
        if parameters is None:
            parameters = self._faiss.SearchParametersIVF(nprobe=n_probe)
            self._parameters[n_probe] = parameters
        # Scaled to the length of the rows, so that the nearest centers are those of its direction.
        padded = self._padded(queries * np.float32(self._extent.longest))
        _, rows = self._index.search(padded, n, params=parameters)
        return np.asarray(rows)

    def _lengthened(self, vectors: Vectors) -> Vectors:
        """Return padded rows with the coordinate that gives all of them the same length."""
        padded = self._padded(vectors)
        missing = self._extent.longest**2 - np.square(vectors).sum(axis=1)
        padded[:, vectors.shape[1]] = np.sqrt(np.maximum(missing, 0))
        return padded

    def _range(self) -> Vectors:
        """Return the smallest and the largest coordinates within the bounds, shape (2, width)."""
        padded = self._padded(np.stack([self._extent.low, self._extent.high]))
        padded[1, len(self._extent.low)] = self._extent.longest
        return padded

    def _padded(self, vectors: Vectors) -> Vectors:
        padded = np.zeros((len(vectors), self._width), np.float32)
        padded[:, : vectors.shape[1]] = vectors
        return padded


def _use_one_thread(faiss: Any) -> None:
    """Set faiss to one thread, which is a setting of each calling thread.

    OpenMP's threads would compete with those of requests for the cores.
    """
    if not hasattr(_single_threaded, "is_set"):
        faiss.omp_set_num_threads(1)
        _single_threaded.is_set = True
