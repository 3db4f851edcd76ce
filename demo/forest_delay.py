"""The demo of the forest as a regression: how many minutes late flights arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from demo.comparison import Pair, named, pair_of, row_of
from demo.forest import ForestAct
from demo.picture import UPDATED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from common.apps.forest.model import ForestModel


class DelayAct(ForestAct):
    """How many minutes late a flight arrives."""

    question = "how late it arrives, as it leaves"

    def measures(self) -> Mapping[str, tuple[str, str, str]]:
        """Return root mean squared and mean absolute error."""
        if not self._n_judged:
            return {}
        found = {
            "root mean squared error": self._squared(slice(0, self._n_judged)),
            "mean absolute error": self._absolute(),
        }
        return {name: row_of(both, "{:.2f} min") for name, both in found.items()}

    def results(self) -> dict[str, Any]:
        """Return the same, and the importances."""
        return {
            "rmse": named(self._squared(slice(0, self._n_judged))),
            "mae": named(self._absolute()),
            "importances": self._named_importances(),
        }

    def _truths(self, texts: list[str]) -> NDArray[np.float64]:
        return np.array([float(text) for text in texts])

    def _frozen(self, scores: NDArray[np.float64], model: ForestModel) -> NDArray[np.float64]:
        return scores[:, 0]

    def _served(self, lines: list[str]) -> list[float]:
        return [float(found) for found in self._serving.ask("/predict", lines)]

    def _streams(self) -> Mapping[str, Callable[[slice], Pair]]:
        return {"Root mean squared error, minutes": self._squared}

    def _squared(self, part: slice) -> Pair:
        truth, scores = self._judged(part)
        return pair_of(np.sqrt(np.mean((scores - truth) ** 2, axis=1)))

    def _absolute(self) -> Pair:
        truth, scores = self._judged()
        return pair_of(np.mean(np.abs(scores - truth), axis=1))

    def _draw_all(self, axes: Axes) -> None:
        truth, scores = self._judged()
        axes.scatter(truth, scores[1], s=3, alpha=0.2, color=UPDATED)
        lowest, highest = float(truth.min()), float(truth.max())
        axes.plot([lowest, highest], [lowest, highest], color="0.7", linewidth=1)
        axes.set_xlabel("minutes late")
        axes.set_ylabel("minutes predicted, updated live")
        axes.set_title("Every flight", loc="left", fontweight="bold")
