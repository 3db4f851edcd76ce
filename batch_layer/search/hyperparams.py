"""Hyperparameters: from what the configuration says to the combinations that are tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from common.config import ConfigError

#: A grid has at most this many combinations (Oryx's bound).
MAX_COMBINATIONS = 65_536

Combination = dict[str, Any]


class Values(Protocol):
    """The values that one hyperparameter may take."""

    def trial(self, count: int) -> Sequence[Any]:
        """Return `count` values that cover the range, fewer where it has no more."""

    def draw(self, random: np.random.Generator) -> Any:
        """Draw one value."""


@dataclass(frozen=True)
class Unordered:
    """One of several values without an order; a single one is fixed."""

    values: tuple[Any, ...]

    def trial(self, count: int) -> Sequence[Any]:
        """Return the first `count` values."""
        return self.values[:count]

    def draw(self, random: np.random.Generator) -> Any:
        """Draw uniformly."""
        return self.values[int(random.integers(len(self.values)))]


@dataclass(frozen=True)
class IntegerRange:
    """Whole numbers from `low` to `high`, both among them."""

    low: int
    high: int

    def trial(self, count: int) -> Sequence[int]:
        """Spread evenly over the range with both ends; one value is the middle, rounded down."""
        count = min(count, self.high - self.low + 1)
        if count == 1:
            return [(self.low + self.high) // 2]
        return [self.low + (self.high - self.low) * i // (count - 1) for i in range(count)]

    def draw(self, random: np.random.Generator) -> int:
        """Draw uniformly."""
        return int(random.integers(self.low, self.high, endpoint=True))


@dataclass(frozen=True)
class FloatRange:
    """Numbers from `low` to `high`."""

    low: float
    high: float

    def trial(self, count: int) -> Sequence[float]:
        """Spread evenly over the range with both ends; one value is the middle."""
        if count == 1 or self.low == self.high:
            return [(self.low + self.high) / 2]
        return [float(value) for value in np.linspace(self.low, self.high, count)]

    def draw(self, random: np.random.Generator) -> float:
        """Draw uniformly."""
        return float(random.uniform(self.low, self.high))


@dataclass(frozen=True)
class Around:
    """Numbers around `value`, `step` apart; whole ones if both are whole; from `minimum` up."""

    value: float
    step: float
    minimum: float = -math.inf

    def trial(self, count: int) -> Sequence[float]:
        """Step evenly, with `value` in the middle (between two values if `count` is even)."""
        half = (count - 1) * self.step / 2
        first = self.value - (math.floor(half) if self._whole else half)
        if first < self.minimum:
            first += self.step * math.ceil((self.minimum - first) / self.step)
        return [first + i * self.step for i in range(count)]

    def draw(self, random: np.random.Generator) -> float:
        """Draw from the normal distribution with mean `value` and deviation `step`."""
        drawn = max(float(random.normal(self.value, self.step)), self.minimum)
        return round(drawn) if self._whole else drawn

    @property
    def _whole(self) -> bool:
        return isinstance(self.value, int) and isinstance(self.step, int)


def values_of(name: str, setting: Any, minimum: float = -math.inf) -> Values:
    """Read one hyperparameter's setting.

    Parameters
    ----------
    name : str
        Its configuration key, for errors.
    setting : object
        A scalar is fixed.  A list of two numbers is a range, of whole numbers if both are
        whole; any other list is unordered.  A table ``{around = VALUE, step = STEP}`` is
        normally distributed in random search and stepped evenly in a grid.
    minimum : float
        Least number that makes sense; a setting below it is refused, and what falls below
        it around a value is raised to it.

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


def combinations(
    ranges: Mapping[str, Values], count: int, search: Literal["random", "grid"], seed: int
) -> list[Combination]:
    """Choose at most `count` combinations of hyperparameters; the same seed, the same ones.

    Random search draws each value by itself.  A grid takes the smallest number of values per
    hyperparameter whose combinations are at least `count`, shuffles all of them, and takes
    the first `count` (Oryx's rules).

    Parameters
    ----------
    ranges : mapping of str to Values
        For each hyperparameter its values; one combination if all are fixed.
    count : int
        How many to choose; a grid has at most `MAX_COMBINATIONS`.
    search : {"random", "grid"}
        How they are chosen.
    seed : int
        Of the draw or the shuffle.

    Raises
    ------
    ConfigError
        If a grid is to be larger than `MAX_COMBINATIONS`.
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
