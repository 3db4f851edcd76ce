"""The random forest in the speed layer: each event joins the leaf that it reaches in each tree.

A tree's leaves start from the counts of the sample that it was grown on; an event counts once
in every tree, which is how often, on average, an example is in such a sample.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from common.apps.forest.model import ForestModel
from common.apps.forest.payload import add_to_leaf, encode_update, replace_leaf
from common.apps.forest.settings import encoding_of, read_model, schema_of
from common.apps.forest.trees import Matrix, Nodes
from common.records.encoding import Encoding
from speed_layer.api import Events, SpeedModel

if TYPE_CHECKING:
    from common.config import Settings
    from common.replica.updates import ModelMessage

log = logging.getLogger(__name__)

#: How loud, and in which words, each count is logged; missing values are an everyday thing.
_TEXTS = {
    "before_model": (logging.WARNING, "events or updates came before any model"),
    "unseen_classes": (logging.INFO, "events are of a class that the next model will know"),
    "unseen_categories": (logging.INFO, "unknown categories take the default child"),
    "missing_values": (logging.DEBUG, "missing values take the default child"),
}


class Speed(SpeedModel):
    """The leaves of one generation, moved on by every micro-batch.

    Attributes
    ----------
    counts : Counter of str
        ``before_model`` (events and updates), ``unseen_classes`` (events left out);
        ``unseen_categories`` and ``missing_values`` (of events that were learned from).
    """

    fraction_loaded = 1.0

    def __init__(self, settings: Settings) -> None:
        self._schema = schema_of(settings)
        self._model: ForestModel | None = None
        self._encoding = Encoding({})
        self._sends_changes = False
        self.counts: Counter[str] = Counter()

    def load(self, model: ModelMessage) -> None:
        """Take over a model in the place of the one before; raises MessageError."""
        self._model = read_model(model.text, self._schema)
        self._encoding = encoding_of(self._model)
        self._sends_changes = model.generation is None

    def apply(self, update: str) -> None:
        """Give a leaf its new total; raises MessageError."""
        if self._model is None:
            self._count("before_model", 1)
            return
        replace_leaf(self._model, update)

    def apply_foreign(self, update: str) -> None:
        """Add a change to a leaf; raises MessageError."""
        if self._model is None:
            self._count("before_model", 1)
            return
        add_to_leaf(self._model, update)

    def build_updates(self, events: Events) -> Sequence[str]:
        """Route events to leaves; one payload for each leaf that they reach, tree by tree.

        For a model that is not ours the payloads are changes, and the leaves here change when
        they come back from the topic (Oryx's rule).
        """
        if self._model is None:
            self._count("before_model", len(events))
            return []
        rows, targets = self._encoded(events.columns)
        if not len(rows):
            return []
        return list(self._moved(self._model, rows, targets))

    def _moved(self, model: ForestModel, rows: Matrix, targets: Matrix) -> Iterator[str]:
        leaves = model.trees.all_leaves(rows)
        nodes, changes = _changes(leaves, targets, model)
        for node, change in zip(nodes.tolist(), changes, strict=True):
            if self._sends_changes:
                yield encode_update(model, node, change)
                continue
            model.leaves.add(node, change)
            yield encode_update(model, node, model.leaves.totals[node])

    def _encoded(self, examples: pa.RecordBatch) -> tuple[Matrix, Matrix]:
        """Return predictors and targets, encoded, of the examples that can be learned from."""
        targets, n_unseen = self._encoding.encode(examples, [str(self._schema.target)])
        self._count("unseen_classes", n_unseen)
        known = ~np.isnan(targets[:, 0])
        rows, n_unseen = self._encoding.encode(
            examples.filter(pa.array(known)), self._schema.predictors
        )
        self._count("unseen_categories", n_unseen)
        self._count("missing_values", int(np.isnan(rows).sum()) - n_unseen)
        return rows, targets[known, 0]

    def _count(self, what: str, number: int) -> None:
        if number:
            self.counts[what] += number
            level, text = _TEXTS[what]
            log.log(level, "%d %s", number, text)


def _changes(leaves: Nodes, targets: Matrix, model: ForestModel) -> tuple[Nodes, Matrix]:
    """Group targets by leaf: the leaves, ascending, and what each is to add to its total."""
    n_trees = len(leaves)
    nodes, group = np.unique(leaves, return_inverse=True)
    group = group.ravel()
    every = np.tile(targets, n_trees)
    if model.leaves.classification:
        n_classes = len(model.classes)
        cells = group * n_classes + every.astype(np.int64)
        counts = np.bincount(cells, minlength=len(nodes) * n_classes).astype(np.float64)
        return nodes, counts.reshape(len(nodes), n_classes)
    numbers = np.bincount(group).astype(np.float64)
    means = np.bincount(group, every) / numbers
    return nodes, np.column_stack([numbers, means])
