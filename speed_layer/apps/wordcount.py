"""Word count in the speed layer: a new pair of words counts once, also after a restart."""

from collections.abc import Sequence

import orjson
import pyarrow as pa

from common.apps.wordcount import NEIGHBOURS_FILE, neighbours, read_counts, read_update
from common.config import Settings
from common.lines import join_line
from common.updates import ModelMessage


class Speed:
    """Counts of one generation; a model that is not ours brings no pairs, only counts."""

    fraction_loaded = 1.0

    def __init__(self, settings: Settings) -> None:
        self._counts: dict[str, int] = {}
        self._neighbours: dict[str, set[str]] = {}

    def load(self, model: ModelMessage) -> None:
        """Take a model over; raises MessageError or StoreError if it cannot be read."""
        known = {}
        if model.files and NEIGHBOURS_FILE in model.files.manifest.files:
            known = orjson.loads(model.files.path(NEIGHBOURS_FILE).read_bytes())
        self._counts = read_counts(model.text)
        self._neighbours = {word: set(others) for word, others in known.items()}

    def apply(self, update: str) -> None:
        """Take over the count and the new neighbours of one ``UP``."""
        word, self._counts[word], new = read_update(update)
        self._neighbours.setdefault(word, set()).update(new)

    def build_updates(self, events: pa.RecordBatch) -> Sequence[str]:
        """Return ``word,count,new neighbour...`` for each word that is new or has new ones."""
        updates = []
        for word, others in sorted(neighbours(events["value"].to_pylist()).items()):
            known = self._neighbours.setdefault(word, set())
            new = sorted(others - known)
            if new or word not in self._counts:
                self._counts[word] = self._counts.get(word, 0) + len(new)
                known.update(new)
                updates.append(join_line([word, str(self._counts[word]), *new]))
        return updates
