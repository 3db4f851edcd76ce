"""The demo of the forest: flights that leave late, and what the leaves learn of the seasons."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from common.apps.forest.settings import encoding_of, read_model
from common.config import InputSchema as SchemaTable
from common.records.columns import parse
from common.records.schema import InputSchema
from common.store.generations import Generation
from demo.act import Act
from demo.client import ServingClient
from demo.comparison import Pair, draw_both, new_figure, save, windows
from demo.course import Scene
from demo.flights import CATEGORICAL, LICENCE, Flights
from demo.picture import FROZEN, UPDATED
from demo.story import Story

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from common.apps.forest.model import ForestModel

MODELS = {"as trained": FROZEN, "updated live": UPDATED}
CONF = """
[forest]
num_trees = 20

[forest.hyperparams]
max_depth = 10
max_split_candidates = 128

[input_schema]
feature_names = {names}
categorical_features = {categorical}
target_feature = "{target}"
"""


class ForestAct(Act):
    """Flights, predicted before they are flown.

    Parameters
    ----------
    flights : Flights
        The data.
    n_live : int or None
        Live events at most; all if None.
    """

    #: What both models are asked for.
    question: ClassVar[str]

    def __init__(self, flights: Flights, n_live: int | None) -> None:
        self.past = flights.past
        self.live = flights.live[:n_live]
        names = [*flights.predictors, flights.target]
        categorical = [*CATEGORICAL, *([] if flights.regression else [flights.target])]
        conf = CONF.format(
            names=json.dumps(names), categorical=json.dumps(categorical), target=flights.target
        )
        self.scene = Scene("forest", "/train", "flights", conf)
        table = SchemaTable(
            feature_names=names, categorical_features=categorical, target_feature=flights.target
        )
        self._schema = InputSchema.from_settings(table)
        self.story = Story(
            "Gemsbok learns which flights from New York are late: 336,776 of 2013",
            LICENCE,
            f"{len(self.past):,} flights of January to March train a forest; then every tenth of "
            f"the rest of the year comes live, {len(self.live):,} flights. Before each one is "
            f"learned from, two forests are asked {self.question}: as trained, and as it serves.",
        )
        self._truth = self._truths([line.rpartition(",")[2] for line in self.live])
        # The target's field is empty: nobody knows it yet.
        self._asks = [f"{line.rpartition(',')[0]}," for line in self.live]
        self._scores = np.empty((2, len(self.live)))
        self._n_judged = 0

    @abstractmethod
    def _truths(self, texts: list[str]) -> NDArray[np.float64]:
        """Return the targets as numbers."""

    @abstractmethod
    def _frozen(self, scores: NDArray[np.float64], model: ForestModel) -> NDArray[np.float64]:
        """Return what is measured of the frozen model's scores."""

    @abstractmethod
    def _served(self, lines: list[str]) -> list[float]:
        """Ask the serving layer for the same."""

    def open(self, generation: Generation, serving: ServingClient) -> str:
        """Read the forest as trained, and let it predict everything."""
        self._serving = serving
        model = read_model(generation.model_text(), self._schema)
        examples, _ = parse(pa.array(self._asks), self._schema)
        matrix, _ = encoding_of(model).encode(examples, self._schema.predictors)
        self._scores[0] = self._frozen(model.predict(matrix), model)
        self._importances = serving.ask("/feature/importance")
        [first] = self._served(self._asks[:1])
        return f"{len(model.trees)} trees; the next flight: {first:.2f}"

    def judge(self, part: slice, pool: ThreadPoolExecutor) -> None:
        """Ask the serving layer about these flights."""
        self._scores[1, part] = self._served(self._asks[part])
        self._n_judged = part.stop

    def close(self) -> None:
        """Nothing more is to be read."""

    def draw(self, path: Path) -> None:
        """Write what is measured over the stream, what lies behind it, and the importances."""
        drawn = self._streams()
        figure, panels = new_figure(len(drawn) + 2, [1.3] * len(drawn) + [1, 1])
        for axes, (name, measure) in zip(panels, drawn.items(), strict=False):
            draw_both(axes, windows(self._n_judged), measure)
            axes.set_title(name, loc="left", fontweight="bold")
        self._draw_all(panels[-2])
        order = np.argsort(self._importances)
        names = [self._schema.predictors[at] for at in order]
        panels[-1].barh(names, np.asarray(self._importances)[order], color=UPDATED)
        panels[-1].set_title("Importances", loc="left", fontweight="bold")
        save(figure, path)

    @abstractmethod
    def _streams(self) -> Mapping[str, Callable[[slice], Pair]]:
        """Return what is drawn over the stream: measures of both models in a window."""

    @abstractmethod
    def _draw_all(self, axes: Axes) -> None:
        """Draw all flights together."""

    def _named_importances(self) -> dict[str, float]:
        return dict(zip(self._schema.predictors, map(float, self._importances), strict=True))

    def _judged(self, part: slice | None = None) -> tuple[NDArray[np.float64], Any]:
        """Return the truth and both models' scores of a part, or of all that were judged."""
        chosen = slice(0, self._n_judged) if part is None else part
        return self._truth[chosen], self._scores[:, chosen]
