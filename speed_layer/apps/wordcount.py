"""Word count in the speed layer: a new pair of words counts once, also after a restart."""

import orjson

from common.apps.wordcount import NEIGHBOURS_FILE, neighbours, read_model, read_update
from common.base.lines import join_line
from common.config import Settings
from common.replica.updates import ModelMessage
from speed_layer.api import Events, SpeedModel


class Speed(SpeedModel):
    """Counts and neighbours; a model that is not ours brings only counts."""

    fraction_loaded = 1.0

    def __init__(self, settings: Settings) -> None:
        self.counts: dict[str, int] = {}
        self.neighbours: dict[str, set[str]] = {}

    def load(self, model: ModelMessage) -> None:
        """Take a model over; raises MessageError or StoreError if it cannot be read."""
        known = orjson.loads(model.files.path(NEIGHBOURS_FILE).read_bytes()) if model.files else {}
        self.counts = read_model(model.text)
        self.neighbours = {word: set(others) for word, others in known.items()}

    def apply(self, update: str) -> None:
        """Take over the count and the new neighbours of one ``UP``."""
        word, self.counts[word], new = read_update(update)
        self.neighbours.setdefault(word, set()).update(new)

    def build_updates(self, events: Events) -> list[str]:
        """Return ``word,count,new neighbour...`` for each word that is new or has new ones."""
        updates = []
        for word, others in sorted(neighbours(events.columns["line"].to_pylist()).items()):
            new = sorted(others - self.neighbours.get(word, set()))
            if new or word not in self.counts:
                updates.append(join_line([word, str(self.counts.get(word, 0) + len(new)), *new]))
                self.apply(updates[-1])
        return updates
