"""The clusters in memory, and the points of records."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from common.apps.kmeans.payload import decode_update
from common.apps.kmeans.pmml import KMeansModel, write_kmeans_pmml
from common.apps.kmeans.settings import read_model, schema_of
from common.base.lines import LineError
from common.records.columns import parse
from common.records.examples import parse_datum
from common.wire.messages import MessageError
from serving_layer.api import ServingModel
from serving_layer.events.ingest import bad_line, refuse_bad_lines
from serving_layer.request.metrics import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.apps.kmeans.clusters import Matrix
    from common.config import Settings
    from common.replica.updates import ModelMessage


class Serving(ServingModel):
    """The clusters as they are now; an update replaces `model` whole.

    Attributes
    ----------
    model : KMeansModel
        What requests see; None before the first.
    """

    fraction_loaded = 1.0

    def __init__(self, settings: Settings) -> None:
        self.schema = schema_of(settings)
        self.model: KMeansModel | None = None

    def load(self, model: ModelMessage) -> None:
        """Take over a model in the place of the one before; raises MessageError."""
        self.model = read_model(model.text, self.schema)

    def apply(self, update: str) -> None:
        """Replace one cluster; raises MessageError if that cannot be done."""
        found = decode_update(update)
        try:
            clusters = self.loaded.clusters.with_cluster(found.id, found.center, found.count)
        except ValueError as error:
            message = f"k-means update of cluster {found.id}: {error}"
            raise MessageError(message) from error
        self.model = replace(self.loaded, clusters=clusters)

    def to_pmml(self) -> bytes:
        """Return the clusters as they are now, and the way from raw records to them."""
        return write_kmeans_pmml(self.loaded)

    @property
    def loaded(self) -> KMeansModel:
        """The model; raises MessageError where none has come yet."""
        if self.model is None:
            message = "an update came before any model"
            raise MessageError(message)
        return self.model

    def point(self, datum: str) -> Matrix:
        """Return one line's point, shape (1, d); raises ApiError 400 where it cannot be read."""
        try:
            example = parse_datum(datum, self.schema, self.schema.active)
        except LineError as error:
            raise bad_line(str(error)) from None
        return _counted(self.loaded.transformation.point(example))

    def points(self, lines: Sequence[str]) -> Matrix:
        """Return the points of lines, shape (n, d); raises ApiError 400 at the first bad one."""
        texts = pa.array(lines, pa.string())
        examples, reasons = parse(texts, self.schema, self.schema.active)
        refuse_bad_lines(reasons)
        return _counted(self.loaded.transformation.points(examples))


def _counted(found: tuple[Matrix, int]) -> Matrix:
    points, n_unseen = found
    metrics().unseen.inc(n_unseen)
    return points
