"""The metrics of ``/metrics``: requests, events, the served model; base units, ``gemsbok_``.

With several workers, each worker replies for all.  Counters are summed over the files that
prometheus_client keeps in a shared folder.  Each worker periodically writes its own metrics (its
model, its memory) to that folder; these get a label ``worker``.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flask import current_app
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    values,
    write_to_textfile,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from serving_layer.request.context import ModelSource

#: Seconds; from a cached page to a scan of a large model.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

#: Environment variable of prometheus_client: the folder with the workers' counters.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def share(folder: str) -> None:
    """Share the metrics that are created from now on with all forked processes.

    A process continues the counters of an ended process of the same name (:mod:`multiprocessing`).

    Parameters
    ----------
    folder : str
        An empty folder that exists as long as the processes.
    """
    os.environ[FOLDER] = folder
    # prometheus_client looks at the variable when it is imported, which has happened.
    values.ValueClass = values.MultiProcessValue(  # type: ignore[no-untyped-call]
        lambda: multiprocessing.current_process().name
    )


class Metrics:
    """The metrics of one application.

    Parameters
    ----------
    current : ModelSource
        Has the served model.
    shared : bool
        Whether several workers share them; :func:`share` must have been called before.

    Attributes
    ----------
    registry : CollectorRegistry
        The registry of all metrics.
    """

    def __init__(self, current: ModelSource, shared: bool = False) -> None:
        counted = CollectorRegistry()
        self.requests = Counter(
            "gemsbok_http_requests",
            "Requests answered, by route and status.",
            ["method", "route", "status"],
            registry=counted,
        )
        self.seconds = Histogram(
            "gemsbok_http_request_seconds",
            "Seconds to compute a reply, by route.",
            ["route"],
            buckets=BUCKETS,
            registry=counted,
        )
        self.refused = Counter(
            "gemsbok_http_refused",
            "Requests refused before they reached a route, by error code.",
            ["code"],
            registry=counted,
        )
        self.events = Counter(
            "gemsbok_events_sent",
            "Lines acknowledged by the input topic.",
            registry=counted,
        )
        self.unseen = Counter(
            "gemsbok_unseen_categories",
            "Values of requests that are categories which the model does not know.",
            registry=counted,
        )
        self.missing = Counter(
            "gemsbok_missing_values",
            "Values missing in requests, of features that the model predicts from.",
            registry=counted,
        )
        self.restarts = Counter(
            "gemsbok_worker_restarts",
            "Workers that were started in place of one that had ended.",
            registry=counted,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.registry = _of_all_workers() if shared else counted
        self._own = CollectorRegistry() if shared else counted
        self._own.register(_ModelCollector(current))
        ProcessCollector(namespace="gemsbok", registry=self._own)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one reply.  Labelled children are cached: looking them up is the largest cost."""
        children = self._children.get((method, route, status))
        if children is None:
            children = self.requests.labels(method, route, status), self.seconds.labels(route)
            self._children[method, route, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def tell(self, worker: int) -> None:
        """Write this worker's own metrics for all workers to read."""
        write_to_textfile(str(_file(worker)), self._own)

    def restarted(self, worker: int) -> None:
        """Count the restart of a worker, and remove the own metrics of the ended one."""
        self.restarts.inc()
        _file(worker).unlink(missing_ok=True)


def _of_all_workers() -> CollectorRegistry:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(_WorkersCollector())
    return registry


def _file(worker: int | str) -> Path:
    """Return the path of a worker's own metrics."""
    return Path(os.environ[FOLDER], f"{worker}.worker")


class _WorkersCollector(Collector):
    """Reads the own metrics of each worker."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all workers, merged by name."""
        merged: dict[str, Metric] = {}
        for path in sorted(Path(os.environ[FOLDER]).glob(_file("*").name)):
            for metric in _read_own(path):
                metric_of_name = merged.setdefault(metric.name, metric)
                if metric_of_name is not metric:
                    metric_of_name.samples += metric.samples
        yield from merged.values()


class _ModelCollector(Collector):
    """Reads the served model's state at each scrape."""

    def __init__(self, current: ModelSource) -> None:
        self._current = current

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics of the model."""
        model = self._current.model
        yield _gauge("loaded_ratio", "Share loaded.", model.fraction_loaded if model else 0.0)
        if self._current.generation is not None:
            generation = float(self._current.generation)
            yield _gauge("generation", "Generation that is served.", generation)
        if self._current.model_age_seconds is not None:
            age = self._current.model_age_seconds
            yield _gauge("age_seconds", "Seconds since the served model was built.", age)
        status = self._current.status()
        lacking = float(status.get("incomplete") is not None)
        yield _gauge("incomplete", "1 if updates of the served generation are gone.", lacking)
        fed = status.get("fed_seconds_ago")
        if isinstance(fed, float):
            what = "Seconds since the speed layer told its progress for the served model."
            yield _gauge("progress_age_seconds", what, fed)
        yield self._consumed(status)

    def _consumed(self, status: Mapping[str, object]) -> Metric:
        family = CounterMetricFamily(
            "gemsbok_update_topic", "What became of the update topic's records.", labels=["what"]
        )
        counts = status.get("counts")
        if isinstance(counts, Mapping):
            for what, count in sorted(counts.items()):
                family.add_metric([what], count)
        return family


def _read_own(path: Path) -> Iterator[Metric]:
    """Yield the metrics in a worker's file, with the label ``worker``."""
    # The file is absent if the worker has ended meanwhile.
    with contextlib.suppress(FileNotFoundError):
        for metric in text_string_to_metric_families(path.read_text(encoding="utf-8")):
            metric.samples = [
                sample._replace(labels={**sample.labels, "worker": path.stem})
                for sample in metric.samples
            ]
            yield metric


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"gemsbok_model_{name}", documentation, value=value)


def metrics() -> Metrics:
    """Return the metrics of the current application."""
    return cast("Metrics", current_app.extensions["gemsbok-metrics"])
