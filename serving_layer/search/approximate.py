"""Top-N that is approximate where that pays, and exact until then and wherever it must be."""

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

#: By how much the rows must have grown for another attempt where one came to nothing.
_GROWN = 1.5
#: Rows of cells that are scored in a fraction of a millisecond.
_FEW_ROWS = 65_536
_MEASURES = {False: "inner product", True: "cosine"}


@dataclass(frozen=True)
class Approximation:
    """What is wanted of approximate answers.

    Attributes
    ----------
    above_rows : int
        Up to this many rows all answers are exact.
    recall : float
        Share of an exact answer that an approximate one has to have.
    seed : int
        Of the samples.
    """

    above_rows: int
    recall: float
    seed: int


class ApproximateIndex:
    """Answers as :class:`ExactIndex` does, from an inverted file where one stands.

    It is built in the background, for cosines when they are first asked for, and built anew
    when much has changed.  An answer is never shorter than the exact one, its scores are
    exact, and a changed vector is found at once; only rows may be missed, of which a sample
    of queries shows at each build how few.

    Parameters
    ----------
    exact : ExactIndex
        Has the factors, and answers what an inverted file cannot.
    askers : callable
        Returns vectors like those that inner products are asked for with, shape (q, k).
    wanted : Approximation
        When, and how well.
    """

    def __init__(
        self, exact: ExactIndex, askers: Callable[[], Vectors], wanted: Approximation
    ) -> None:
        self._exact = exact
        self._scans = RequestBatcher(exact.top_n)
        self._askers = askers
        self._wanted = wanted
        self._lock = threading.Lock()
        self._background = ThreadPoolExecutor(1, "top-n-build")
        self._standing: dict[bool, IvfIndex] = {}
        self._tried: dict[bool, int] = {}
        self._building: set[bool] = set()
        self._build_if_due(cosine=False)

    def ask(self, query: Query) -> Top:
        """Return rows and scores, as :class:`ExactIndex`; any number of threads may ask."""
        self._build_if_due(query.cosine)
        inverted = self._standing.get(query.cosine)
        found = inverted.best(query) if inverted is not None else None
        return self._scans.ask(query) if found is None else found

    def stands(self, cosine: bool = False) -> bool:
        """Whether answers by this measure are approximate now."""
        return cosine in self._standing

    def standing(self, cosine: bool = False) -> IvfIndex | None:
        """Return what gives the approximate answers by this measure; None where they are exact."""
        return self._standing.get(cosine)

    def is_quick(self, n: int) -> bool:
        """Whether `n` rows by inner product, excluded ones among them, take a look at few."""
        inverted = self._standing.get(False)
        return inverted is not None and inverted.n_looked_at(n) <= _FEW_ROWS

    @property
    def building(self) -> bool:
        """Whether it is being found out now if answers can be approximate."""
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
        standing = self._standing.get(cosine)
        if standing is not None:
            return standing.stale
        n_rows = len(self._exact.factors.matrix)
        least = max(self._wanted.above_rows + 1, _GROWN * self._tried.get(cosine, 0), DEPTHS[-1])
        return n_rows >= least

    def _build(self, cosine: bool) -> None:
        started = time.perf_counter()
        self._tried[cosine] = len(self._exact.factors.matrix)
        inverted = IvfIndex(self._exact, cosine)
        try:
            self._exchange(cosine, inverted, self._succeeds(inverted, cosine))
        finally:
            self._building.discard(cosine)
            return_freed_memory()
        log.info(
            "top-N by %s over %d rows is %s, found out in %.1f s (cells looked into, by depth: %s)",
            _MEASURES[cosine],
            self._tried[cosine],
            f"approximate with recall {self._wanted.recall}" if self.stands(cosine) else "exact",
            time.perf_counter() - started,
            inverted.probes,
        )

    def _succeeds(self, inverted: IvfIndex, cosine: bool) -> bool:
        queries = self._exact.factors.matrix.vectors if cosine else self._askers()
        try:
            return inverted.build(queries, self._wanted.recall, self._wanted.seed)
        except Exception:
            log.exception("approximate top-N by %s cannot be built", _MEASURES[cosine])
            return False

    def _exchange(self, cosine: bool, inverted: IvfIndex, stands: bool) -> None:
        unused = [self._standing.pop(cosine, None), None if stands else inverted]
        if stands:
            self._standing[cosine] = inverted
        for one in unused:
            if one is not None:
                one.close()
