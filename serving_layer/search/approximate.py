"""Top-N search that is approximate for large matrices, and exact otherwise."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from common.runtime.memory import return_freed_memory
from serving_layer.search.exact import ExactIndex
from serving_layer.search.ivf import IvfIndex
from serving_layer.search.live import Vectors
from serving_layer.search.query import Query, Top
from serving_layer.search.recall import DEPTHS
from serving_layer.search.request_batcher import RequestBatcher

log = logging.getLogger(__name__)

#: Growth of the number of rows after which a failed build is attempted again.
_GROWN = 1.5
#: Number of rows that are scored in a fraction of a millisecond.
_FEW_ROWS = 65_536
_MEASURES = {False: "inner product", True: "cosine"}


@dataclass(frozen=True)
class Approximation:
    """Requirements for approximate answers.

    Attributes
    ----------
    above_rows : int
        Number of rows up to which all answers are exact.
    recall : float
        Smallest share of the exact answer in an approximate one.
    seed : int
        Seed of the samples.
    """

    above_rows: int
    recall: float
    seed: int


class ApproximateIndex:
    """Answers queries from an inverted file (IVF) if there is one, and by exact scans otherwise.

    A background thread builds the inverted file for inner products immediately, and for cosines
    at the first such query; it rebuilds it after many changes.  Answers are as long as exact ones
    and have exact scores, and changed vectors are found immediately.  Only rows may be missing;
    each build measures the recall on a sample of queries.

    Parameters
    ----------
    exact : ExactIndex
        Has the factors, and answers the queries that the inverted file cannot.
    sample_queries : callable
        Returns vectors typical of inner-product queries, shape (q, k).
    requirements : Approximation
        When answers may be approximate, and their recall.
    """

    def __init__(
        self,
        exact: ExactIndex,
        sample_queries: Callable[[], Vectors],
        requirements: Approximation,
    ) -> None:
        self._exact = exact
        self._scans = RequestBatcher(exact.top_n)
        self._sample_queries = sample_queries
        self._requirements = requirements
        self._lock = threading.Lock()
        self._background = ThreadPoolExecutor(1, "top-n-build")
        self._indexes: dict[bool, IvfIndex] = {}
        self._tried_rows: dict[bool, int] = {}
        self._building: set[bool] = set()
        self._build_if_due(cosine=False)

    def ask(self, query: Query) -> Top:
        """Return rows and scores, as :class:`ExactIndex`; any number of threads may call it."""
        self._build_if_due(query.cosine)
        index = self._indexes.get(query.cosine)
        top = index.best(query) if index is not None else None
        return self._scans.ask(query) if top is None else top

    def stands(self, cosine: bool = False) -> bool:
        """Whether answers by this measure are currently approximate."""
        return cosine in self._indexes

    def standing(self, cosine: bool = False) -> IvfIndex | None:
        """Return what gives the approximate answers by this measure; None where they are exact."""
        return self._indexes.get(cosine)

    def is_quick(self, n: int) -> bool:
        """Whether a query for `n` rows by inner product, exclusions included, scores few rows."""
        index = self._indexes.get(False)
        return index is not None and index.n_scored(n) <= _FEW_ROWS

    @property
    def building(self) -> bool:
        """Whether a build is in progress."""
        return bool(self._building)

    def _build_if_due(self, cosine: bool) -> None:
        if not self._due(cosine):
            return
        with self._lock:
            if not self._due(cosine):
                return
            self._building.add(cosine)
        self._background.submit(self._build, cosine)

    def _due(self, cosine: bool) -> bool:
        if cosine in self._building:
            return False
        index = self._indexes.get(cosine)
        if index is not None:
            return index.stale
        n_rows = len(self._exact.factors.matrix)
        least = max(
            self._requirements.above_rows + 1, _GROWN * self._tried_rows.get(cosine, 0), DEPTHS[-1]
        )
        return n_rows >= least

    def _build(self, cosine: bool) -> None:
        started = time.perf_counter()
        self._tried_rows[cosine] = len(self._exact.factors.matrix)
        index = IvfIndex(self._exact, cosine)
        try:
            self._exchange(cosine, index, self._succeeds(index, cosine))
        finally:
            self._building.discard(cosine)
            return_freed_memory()
        log.info(
            "top-N by %s over %d rows is %s, found out in %.1f s (cells looked into, by depth: %s)",
            _MEASURES[cosine],
            self._tried_rows[cosine],
            f"approximate with recall {self._requirements.recall}"
            if self.stands(cosine)
            else "exact",
            time.perf_counter() - started,
            index.probes,
        )

    def _succeeds(self, index: IvfIndex, cosine: bool) -> bool:
        queries = self._exact.factors.matrix.vectors if cosine else self._sample_queries()
        try:
            return index.build(queries, self._requirements.recall, self._requirements.seed)
        except Exception:
            log.exception("approximate top-N by %s cannot be built", _MEASURES[cosine])
            return False

    def _exchange(self, cosine: bool, built: IvfIndex, usable: bool) -> None:
        unused = [self._indexes.pop(cosine, None), None if usable else built]
        if usable:
            self._indexes[cosine] = built
        for index in unused:
            if index is not None:
                index.close()
