"""Parses the settings of hyperparameters and chooses the combinations to try."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from common.config import ConfigError, Section
from common.config.keys import number_limits

#: A grid has at most this many combinations (Oryx's bound).
MAX_COMBINATIONS = 65_536

Combination = dict[str, Any]


class Values(Protocol):
    """The possible values of one hyperparameter."""

    def trial(self, count: int) -> Sequence[Any]:
        """Return `count` values that cover the range, or fewer if it has fewer."""

    def draw(self, random: np.random.Generator) -> Any:
        """Draw one value."""


@dataclass(frozen=True)
class Unordered:
    """A set of values without an order; a single value is fixed."""

    values: tuple[Any, ...]

    def trial(self, count: int) -> Sequence[Any]:
        """Return the first `count` values."""
        return self.values[:count]

    def draw(self, random: np.random.Generator) -> Any:
        """Draw uniformly."""
        return self.values[int(random.integers(len(self.values)))]


@dataclass(frozen=True)
class IntegerRange:
    """Integers from `low` to `high`, inclusive."""

    low: int
    high: int

    def trial(self, count: int) -> Sequence[int]:
        """Return evenly spaced values with both ends; one value is the middle, rounded down."""
        count = min(count, self.high - self.low + 1)
        if count == 1:
            return [(self.low + self.high) // 2]
        return [self.low + (self.high - self.low) * i // (count - 1) for i in range(count)]

    def draw(self, random: np.random.Generator) -> int:
        """Draw uniformly."""
        return int(random.integers(self.low, self.high, endpoint=True))


@dataclass(frozen=True)
class FloatRange:
    """Real numbers from `low` to `high`."""

    low: float
    high: float

    def trial(self, count: int) -> Sequence[float]:
        """Return evenly spaced values with both ends; a single value is the middle."""
        if count == 1 or self.low == self.high:
            return [(self.low + self.high) / 2]
        return [float(value) for value in np.linspace(self.low, self.high, count)]

    def draw(self, random: np.random.Generator) -> float:
        """Draw uniformly."""
        return float(random.uniform(self.low, self.high))


@dataclass(frozen=True)
class Around:
    """Numbers around `value`, `step` apart and at least `minimum`; integers if both are."""

    value: float
    step: float
    minimum: float = -math.inf

    def trial(self, count: int) -> Sequence[float]:
        """Return evenly spaced values around `value`, which is one of them if `count` is odd."""
        half = (count - 1) * self.step / 2
        first = self.value - (math.floor(half) if self._whole else half)
        if first < self.minimum:
            first += self.step * math.ceil((self.minimum - first) / self.step)
        return [first + i * self.step for i in range(count)]

    def draw(self, random: np.random.Generator) -> float:
        """Draw from the normal distribution with mean `value` and deviation `step`."""
        drawn = max(random.normal(self.value, self.step), self.minimum)
        return round(drawn) if self._whole else float(drawn)

    @property
    def _whole(self) -> bool:
        return isinstance(self.value, int) and isinstance(self.step, int)


def values_of(name: str, setting: Any, minimum: float = -math.inf) -> Values:
    """Parse one hyperparameter's setting.

    Parameters
    ----------
    name : str
        Its configuration key, for errors.
    setting : object
        A scalar is fixed.  A list of two numbers is a range, of integers if both are integers;
        any other list is unordered.  A table ``{around = VALUE, step = STEP}`` is normally
        distributed in random search and evenly spaced in a grid.
    minimum : float
        Smallest valid number: a smaller one in the setting is refused, and a smaller one around
        a value is raised to it.

    Raises
    ------
    ConfigError
        If the setting is none of these.
    """
    values: Values
    given = setting if isinstance(setting, list | tuple) else [setting]
    if isinstance(setting, Mapping):
        values = _around(name, setting, minimum)
        given = [setting["around"]]
    elif not isinstance(setting, list | tuple):
        values = Unordered((setting,))
    elif len(setting) == 2 and all(_is_number(value) for value in setting):
        values = _range(name, *setting)
    elif setting:
        values = Unordered(tuple(setting))
    else:
        message = f"{name}: an empty list has no value; give a value, or [least, greatest]"
        raise ConfigError(message)
    too_small = [value for value in given if _is_number(value) and value < minimum]
    if too_small:
        message = f"{name} = {setting!r}: {too_small[0]} is below {minimum}, the least that works"
        raise ConfigError(message)
    return values


def values_in(table: str, hyperparams: Section, names: Iterable[str]) -> dict[str, Values]:
    """Read the settings of some hyperparameters of a family, by their keys.

    Parameters
    ----------
    table : str
        The configuration's name of `hyperparams`, for errors.
    hyperparams : Section
        The settings; what a field's type allows is the bound of its search too.
    names : iterable of str
        Its fields.

    Raises
    ------
    ConfigError
        As :func:`values_of`.
    """
    found = {}
    for name in names:
        field = type(hyperparams).model_fields[name]
        key = field.alias or name
        least, _ = number_limits(field)
        found[key] = values_of(f"{table}.{key}", getattr(hyperparams, name), least)
    return found


def combinations(
    ranges: Mapping[str, Values], count: int, search: Literal["random", "grid"], seed: int
) -> list[Combination]:
    """Choose at most `count` combinations of hyperparameters, determined by the seed.

    Random search draws each value independently.  A grid takes the smallest number of values
    per hyperparameter that gives at least `count` combinations, shuffles these, and takes the
    first `count` (Oryx's rules).

    Parameters
    ----------
    ranges : mapping of str to Values
        For each hyperparameter its possible values.
    count : int
        Number of combinations to choose; for a grid at most `MAX_COMBINATIONS`.
    search : {"random", "grid"}
        The method.
    seed : int
        Seed of the draw or the shuffle.

    Raises
    ------
    ConfigError
        If `count` exceeds `MAX_COMBINATIONS` for a grid.
    """
    random = np.random.default_rng(seed)
    if search == "grid":
        grid = _grid(ranges, count)
        return [grid[i] for i in random.permutation(len(grid))[:count]]
    drawn = [{name: r.draw(random) for name, r in ranges.items()} for _ in range(count)]
    return [chosen for i, chosen in enumerate(drawn) if chosen not in drawn[:i]]


def _grid(ranges: Mapping[str, Values], count: int) -> list[Combination]:
    if count > MAX_COMBINATIONS:
        message = (
            f"ml.eval.candidates = {count}: a grid has at most {MAX_COMBINATIONS}; "
            'lower it or set ml.eval.hyperparam_search = "random"'
        )
        raise ConfigError(message)
    per_parameter = 1
    trials = _trials(ranges, per_parameter)
    while _product(trials) < count:
        per_parameter += 1
        more = _trials(ranges, per_parameter)
        if _product(more) == _product(trials):  # every range is exhausted
            break
        trials = more
    return [dict(zip(ranges, chosen, strict=True)) for chosen in itertools.product(*trials)]


def _trials(ranges: Mapping[str, Values], per_parameter: int) -> list[Sequence[Any]]:
    return [values.trial(per_parameter) for values in ranges.values()]


def _product(trials: Sequence[Sequence[Any]]) -> int:
    return math.prod(len(values) for values in trials)


def _around(name: str, setting: Mapping[str, Any], minimum: float) -> Around:
    if set(setting) != {"around", "step"} or not all(_is_number(v) for v in setting.values()):
        message = f"{name} = {dict(setting)!r}: a table here is {{ around = VALUE, step = STEP }}"
        raise ConfigError(message)
    if setting["step"] <= 0:
        message = f"{name}: step = {setting['step']} must be above 0"
        raise ConfigError(message)
    return Around(setting["around"], setting["step"], minimum)


def _range(name: str, low: float, high: float) -> Values:
    if low > high:
        message = f"{name} = [{low}, {high}]: the first number of a range is its least"
        raise ConfigError(message)
    if isinstance(low, int) and isinstance(high, int):
        return IntegerRange(low, high)
    return FloatRange(float(low), float(high))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
