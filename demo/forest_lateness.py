"""The demo of the forest as a classifier: which flights leave late."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from demo.comparison import Pair, named, pair_of, row_of
from demo.flights import LATE
from demo.forest import MODELS, ForestAct

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from common.apps.forest.model import ForestModel


class LatenessAct(ForestAct):
    """Whether a flight leaves late."""

    question = "how likely it leaves late"

    def measures(self) -> Mapping[str, tuple[str, str, str]]:
        """Return area under the curve, accuracy and logarithmic loss."""
        found = self._found()
        if not found:
            return {}
        return {
            "area under the ROC curve": row_of(found["auc"], "{:.4f}"),
            "accuracy": row_of(found["accuracy"], "{:.2%}"),
            "logarithmic loss": row_of(found["log_loss"], "{:.4f}"),
        }

    def results(self) -> dict[str, Any]:
        """Return the same, and the importances."""
        found = {name: named(both) for name, both in self._found().items()}
        return {**found, "importances": self._named_importances()}

    def _found(self) -> dict[str, Pair]:
        from sklearn.metrics import log_loss

        truth, scores = self._judged()
        if len(np.unique(truth)) < 2:
            return {}
        return {
            "auc": self._area(slice(0, len(truth))),
            "accuracy": self._accuracy(slice(0, len(truth))),
            "log_loss": pair_of(log_loss(truth, one) for one in scores),
        }

    def _truths(self, texts: list[str]) -> NDArray[np.float64]:
        return np.array([float(text == LATE) for text in texts])

    def _frozen(self, scores: NDArray[np.float64], model: ForestModel) -> NDArray[np.float64]:
        return scores[:, model.classes.index(LATE)]

    def _served(self, lines: list[str]) -> list[float]:
        replies = self._serving.ask("/classificationDistribution", lines)
        return [float(reply[LATE]) for reply in replies]

    def _streams(self) -> Mapping[str, Callable[[slice], Pair]]:
        return {"Area under the ROC curve": self._area, "Accuracy": self._accuracy}

    def _accuracy(self, part: slice) -> Pair:
        truth, scores = self._judged(part)
        return pair_of(np.mean((scores > 0.5) == truth, axis=1))

    def _area(self, part: slice) -> Pair:
        from sklearn.metrics import roc_auc_score

        truth, scores = self._judged(part)
        if len(np.unique(truth)) < 2:
            return math.nan, math.nan
        return pair_of(roc_auc_score(truth, one) for one in scores)

    def _draw_all(self, axes: Axes) -> None:
        from sklearn.metrics import roc_curve

        truth, scores = self._judged()
        if len(np.unique(truth)) < 2:
            return
        for one, (name, colour) in zip(scores, MODELS.items(), strict=True):
            false, true, _ = roc_curve(truth, one)
            axes.plot(false, true, color=colour, linewidth=2, label=name)
        axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        axes.set_xlabel("flights on time that are called late")
        axes.set_ylabel("late flights that are called late")
        axes.set_title("ROC curve", loc="left", fontweight="bold")
        axes.legend(frameon=False)
