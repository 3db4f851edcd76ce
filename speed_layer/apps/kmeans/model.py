"""K-means in the speed layer: each micro-batch moves the centers that it is nearest to.

What is sent of a cluster is what it is now, so that reading it twice does no harm.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.apps.kmeans.payload import ClusterUpdate, decode_update, encode_update
from common.apps.kmeans.pmml import KMeansModel
from common.apps.kmeans.settings import read_model, schema_of
from common.wire.messages import MessageError
from speed_layer.api import Events, SpeedModel

if TYPE_CHECKING:
    from common.apps.kmeans.clusters import Clusters
    from common.config import Settings
    from common.replica.updates import ModelMessage

log = logging.getLogger(__name__)


class Speed(SpeedModel):
    """The clusters of one generation, moved on by every micro-batch.

    Attributes
    ----------
    counts : Counter of str
        ``before_model``: events and updates that came before any model; ``unseen``: values of
        events that are categories which the model does not know, and so count as none.
    """

    fraction_loaded = 1.0

    def __init__(self, settings: Settings) -> None:
        self._schema = schema_of(settings)
        self._model: KMeansModel | None = None
        self._clusters: Clusters | None = None
        self.counts: Counter[str] = Counter()

    def load(self, model: ModelMessage) -> None:
        """Take over a model in the place of the one before; raises MessageError."""
        self._model = read_model(model.text, self._schema)
        self._clusters = self._model.clusters

    def apply(self, update: str) -> None:
        """Replace one cluster; raises MessageError if that cannot be done."""
        self._clusters = self._replaced(update)

    def apply_foreign(self, update: str) -> None:
        """Read an update and no more; raises MessageError if it cannot be applied.

        It may be our own, late, and our copy of the clusters is ahead of it (Oryx's rule).
        """
        self._replaced(update)

    def _replaced(self, update: str) -> Clusters | None:
        """Return the clusters with one replaced; None where there are none yet."""
        found = decode_update(update)
        if self._clusters is None:
            self._count(1)
            return None
        try:
            return self._clusters.with_cluster(found.id, found.center, found.count)
        except ValueError as error:
            message = f"k-means update of cluster {found.id}: {error}"
            raise MessageError(message) from error

    def build_updates(self, events: Events) -> Sequence[str]:
        """Move the centers; one payload for each cluster that has new points, by row."""
        if self._model is None or self._clusters is None:
            self._count(len(events))
            return []
        points, n_unseen = self._model.transformation.points(events.columns)
        self.counts["unseen"] += n_unseen
        self._clusters, rows = self._clusters.moved_by(points)
        return [_update(self._clusters, row) for row in rows.tolist()]

    def _count(self, number: int) -> None:
        self.counts["before_model"] += number
        log.warning("%d updates or events came before any model", number)


def _update(clusters: Clusters, row: int) -> str:
    count = int(clusters.counts[row])
    return encode_update(ClusterUpdate(clusters.ids[row], clusters.centers[row], count))
