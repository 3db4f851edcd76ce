"""A forest as requests see it: lines in, predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from common.apps.forest.model import ForestModel
from common.apps.forest.trees import Matrix
from common.base.lines import LineError
from common.records.columns import parse
from common.records.encoding import Encoding
from common.records.examples import parse_datum
from serving_layer.events.ingest import bad_line, refuse_bad_lines
from serving_layer.http.errors import ApiError
from serving_layer.request.metrics import metrics


@dataclass(frozen=True)
class ForestView:
    """One model: a request takes the view once and asks it alone.

    Attributes
    ----------
    model : ForestModel
        Its leaves follow the updates.
    encoding : Encoding
        Its categories.
    """

    model: ForestModel
    encoding: Encoding

    def score(self, datum: str) -> Matrix:
        """Return the score of one line as :meth:`scores` does, shape (1, n_outputs)."""
        schema = self.model.fields.schema
        try:
            example = parse_datum(datum, schema)
        except LineError as error:
            raise bad_line(str(error)) from None
        row, n_unseen = self.encoding.encode_datum(example, schema.predictors)
        return self._predict(np.array([row]), n_unseen)

    def scores(self, lines: Sequence[str]) -> Matrix:
        """Return the scores of lines; their targets may be empty.

        Returns
        -------
        ndarray of float64, shape (n, n_outputs)
            The probability of each class, or the predicted number.

        Raises
        ------
        ApiError
            400 with the number of the first line that cannot be read.
        """
        schema = self.model.fields.schema
        examples, reasons = parse(pa.array(lines, pa.string()), schema)
        refuse_bad_lines(reasons)
        rows, n_unseen = self.encoding.encode(examples, schema.predictors)
        return self._predict(rows, n_unseen)

    def predictions(self, scores: Matrix) -> list[str] | list[float]:
        """Return for each score its class, the first of the most probable, or its number."""
        if not self.model.leaves.classification:
            numbers: list[float] = scores[:, 0].tolist()
            return numbers
        return [self.model.classes[code] for code in scores.argmax(axis=1).tolist()]

    def classes(self) -> tuple[str, ...]:
        """Return the classes; raises ApiError 400 for a regression (Oryx's rule)."""
        if not self.model.leaves.classification:
            target = self.model.fields.schema.target
            message = f"{target!r} is a number, which has no classes; ask /predict"
            raise ApiError(400, "not_classification", message)
        return self.model.classes

    def importances(self) -> list[float]:
        """Return the importance of each predictor, in order; 0 where the model gives none."""
        fields = self.model.fields
        return [fields.importances.get(name, 0.0) for name in fields.schema.predictors]

    def importance(self, number: str) -> float:
        """Return one predictor's importance; raises ApiError 400 where there is none."""
        found = self.importances()
        if not (number.isascii() and number.isdigit() and int(number) < len(found)):
            message = f"{number[:40]!r} is not the number of a predictor: 0 to {len(found) - 1}"
            raise ApiError(400, "bad_parameter", message)
        return found[int(number)]

    def _predict(self, rows: Matrix, n_unseen: int) -> Matrix:
        """Predict, counting the values that take the default child."""
        metrics().unseen.inc(n_unseen)
        metrics().missing.inc(int(np.isnan(rows).sum()) - n_unseen)
        return self.model.predict(rows)
