"""The features of an input line, from ``[input_schema]`` by Oryx's rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from common.config.errors import nearest
from common.config.sources import ConfigError

if TYPE_CHECKING:
    from common import config


class SchemaError(ConfigError):
    """The table ``[input_schema]`` is inconsistent; the text names key and feature."""


@dataclass(frozen=True)
class InputSchema:
    """The features of an input line, in order.

    A feature is an id, ignored, or *active*: numeric or categorical.  The active features other
    than the target are the predictors.

    Attributes
    ----------
    names : tuple of str
        A name for each field of a line.
    ids, ignored, numeric, categorical : frozenset of str
        The features by kind; `numeric` and `categorical` are disjoint and form the active ones.
    target : str or None
        The active feature to predict.
    """

    names: tuple[str, ...]
    ids: frozenset[str]
    ignored: frozenset[str]
    numeric: frozenset[str]
    categorical: frozenset[str]
    target: str | None = None

    @classmethod
    def from_settings(cls, table: config.InputSchema) -> InputSchema:
        """Return the schema that the configuration's table describes.

        Raises
        ------
        SchemaError
            If there are no features, a name is listed twice or unknown, the kinds are not given
            or name an inactive feature, or the target is not active.
        """
        names = _names(table)
        _require_among("id_features", table.id_features, names, "a feature")
        _require_among("ignored_features", table.ignored_features, names, "a feature")
        inactive = {*table.id_features, *table.ignored_features}
        active = [name for name in names if name not in inactive]
        numeric = _numeric(table, active)
        if table.target_feature is not None:
            _require_among("target_feature", [table.target_feature], active, "an active feature")
        return cls(
            names=names,
            ids=frozenset(table.id_features),
            ignored=frozenset(table.ignored_features),
            numeric=numeric,
            categorical=frozenset(active) - numeric,
            target=table.target_feature,
        )

    @cached_property
    def active(self) -> tuple[str, ...]:
        """The predictors and the target, in order of the fields."""
        return tuple(name for name in self.names if name in self.numeric | self.categorical)

    @cached_property
    def active_fields(self) -> tuple[int, ...]:
        """For each active feature the position of its field in a line, counted from 0."""
        return tuple(self.names.index(name) for name in self.active)

    @cached_property
    def predictors(self) -> tuple[str, ...]:
        """The active features except the target; a predictor's index is its position here."""
        return tuple(name for name in self.active if name != self.target)

    @property
    def is_classification(self) -> bool:
        """Whether the target is a category."""
        return self.target in self.categorical


def _names(table: config.InputSchema) -> tuple[str, ...]:
    names = tuple(table.feature_names)
    if not names:
        names = tuple(map(str, range(table.num_features)))
    elif table.num_features not in (0, len(names)):
        message = (
            f"input_schema.num_features is {table.num_features}, "
            f"but feature_names has {len(names)} names; give one of the two"
        )
        raise SchemaError(message)
    if not names:
        message = "input_schema has no features: set feature_names or num_features"
        raise SchemaError(message)
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        message = f"input_schema.feature_names has {doubled[0]!r} more than once"
        raise SchemaError(message)
    return names


def _numeric(table: config.InputSchema, active: list[str]) -> frozenset[str]:
    """Return the numeric features; unnamed active features are of the other kind."""
    if table.numeric_features is not None:
        _require_among("numeric_features", table.numeric_features, active, "an active feature")
        return frozenset(table.numeric_features)
    if table.categorical_features is not None:
        given = table.categorical_features
        _require_among("categorical_features", given, active, "an active feature")
        return frozenset(active) - frozenset(given)
    message = (
        "input_schema does not say what the features are: set numeric_features (the rest are "
        "categories) or categorical_features (the rest are numbers); either may be []"
    )
    raise SchemaError(message)


def _require_among(key: str, given: Iterable[str], known: Iterable[str], role: str) -> None:
    known = list(known)
    for name in given:
        if name not in known:
            hint = nearest(name, known) or f" ({', '.join(known)})"
            message = f"input_schema.{key} names {name!r}, which is not {role}{hint}"
            raise SchemaError(message)
