"""What ``/metrics`` tells: requests, events and the served model; base units, ``gemsbok_``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from flask import current_app
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from serving_layer.context import ModelSource

#: Seconds; from a cached page to a scan of a large model.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self, current: ModelSource) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "gemsbok_http_requests",
            "Requests answered, by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "gemsbok_http_request_seconds",
            "Seconds to compute a reply, by route.",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.refused = Counter(
            "gemsbok_http_refused",
            "Requests refused before they reached a route, by error code.",
            ["code"],
            registry=self.registry,
        )
        self.events = Counter(
            "gemsbok_events_sent",
            "Lines acknowledged by the input topic.",
            registry=self.registry,
        )
        self.unseen = Counter(
            "gemsbok_unseen_categories",
            "Values of requests that are categories which the model does not know.",
            registry=self.registry,
        )
        self.missing = Counter(
            "gemsbok_missing_values",
            "Values missing in requests, of features that the model predicts from.",
            registry=self.registry,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.registry.register(_ModelCollector(current))
        ProcessCollector(namespace="gemsbok", registry=self.registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one reply; looking up its labels each time would cost more than the rest."""
        found = self._children.get((method, route, status))
        if found is None:
            found = self.requests.labels(method, route, status), self.seconds.labels(route)
            self._children[method, route, status] = found
        found[0].inc()
        found[1].observe(seconds)


class _ModelCollector(Collector):
    """Reads the served model's state when it is asked for, and only then."""

    def __init__(self, current: ModelSource) -> None:
        self._current = current

    def collect(self) -> Iterator[Metric]:
        """Yield the model's metrics as they are now."""
        model = self._current.model
        yield _gauge("loaded_ratio", "Share loaded.", model.fraction_loaded if model else 0.0)
        if self._current.generation is not None:
            generation = float(self._current.generation)
            yield _gauge("generation", "Generation that is served.", generation)
        if self._current.model_age_seconds is not None:
            age = self._current.model_age_seconds
            yield _gauge("age_seconds", "Seconds since the served model was built.", age)
        yield self._consumed()

    def _consumed(self) -> Metric:
        family = CounterMetricFamily(
            "gemsbok_update_topic", "What became of the update topic's records.", labels=["what"]
        )
        counts = self._current.status().get("counts")
        if isinstance(counts, Mapping):
            for what, count in sorted(counts.items()):
                family.add_metric([what], count)
        return family


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"gemsbok_model_{name}", documentation, value=value)


def metrics() -> Metrics:
    """Return the metrics of the application that answers this request."""
    return cast("Metrics", current_app.extensions["gemsbok-metrics"])
