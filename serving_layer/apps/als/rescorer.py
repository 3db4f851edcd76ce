"""Rescorers: a user's own code that filters results or changes their scores.

The class that ``als.rescorer_provider_class`` names is asked for each request::

    class Shop(RescorerProvider):
        def recommend(self, user_ids, args):
            return InStock() if "in-stock" in args else None

    class InStock(Rescorer):
        def is_filtered(self, id):
            return id not in STOCK

Several classes are chained: a result that any of them filters is out, and a score goes through
all of them in order (Oryx's rule).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from common.config import ConfigError, Settings

KEY = "als.rescorer_provider_class"

Scores = NDArray[np.float64]


class Rescorer:
    """Filters results and changes their scores; this one leaves everything as it is.

    A rescorer that only filters is asked about the best results, until there are enough of
    them.  One that overrides :meth:`rescore` may lift any result to the top, so that it is
    asked about all of them: override :meth:`rescore_all` too where that takes too long.
    """

    def is_filtered(self, id: str) -> bool:
        """Tell whether a result may not be shown."""
        return False

    def rescore(self, id: str, score: float) -> float:
        """Return the new score of a result; NaN filters it."""
        return score

    def rescore_all(self, ids: Sequence[str], scores: Scores) -> Scores:
        """Return the new scores of many results, NaN where one is filtered.

        Parameters
        ----------
        ids : sequence of str
            Results.
        scores : ndarray, shape (len(ids),)
            Their scores; not to be written.
        """
        return np.array(
            [
                math.nan if self.is_filtered(id) else self.rescore(id, score)
                for id, score in zip(ids, scores.tolist(), strict=True)
            ],
            np.float64,
        )

    @property
    def only_filters(self) -> bool:
        """Whether no score ever changes."""
        kind = type(self)
        return kind.rescore is Rescorer.rescore and kind.rescore_all is Rescorer.rescore_all


class RescorerProvider:
    """Chooses a rescorer for each request; None stands for none.

    `args` are the request's ``rescorerParams``, one for each time that it is given.
    """

    def recommend(self, user_ids: Sequence[str], args: Sequence[str]) -> Rescorer | None:
        """For recommendations to one user or, together, to several."""
        return None

    def recommend_to_anonymous(
        self, item_ids: Sequence[str], args: Sequence[str]
    ) -> Rescorer | None:
        """For recommendations to a user of whom these items alone are known."""
        return None

    def most_similar_items(self, args: Sequence[str]) -> Rescorer | None:
        """For items similar to others."""
        return None

    def most_popular_items(self, args: Sequence[str]) -> Rescorer | None:
        """For the items that most users know; it is asked for its filter alone."""
        return None

    def most_active_users(self, args: Sequence[str]) -> Rescorer | None:
        """For the users who know most items; it is asked for its filter alone."""
        return None


class _Chain(Rescorer):
    """Several rescorers as one."""

    def __init__(self, rescorers: Sequence[Rescorer]) -> None:
        self.rescorers = tuple(rescorers)

    def is_filtered(self, id: str) -> bool:
        return any(rescorer.is_filtered(id) for rescorer in self.rescorers)

    def rescore_all(self, ids: Sequence[str], scores: Scores) -> Scores:
        for rescorer in self.rescorers:
            # NaN goes on as NaN: what one has filtered no other brings back.
            scores = np.where(np.isnan(scores), np.nan, rescorer.rescore_all(ids, scores))
        return scores

    def rescore(self, id: str, score: float) -> float:
        for rescorer in self.rescorers:
            if not math.isnan(score):
                score = rescorer.rescore(id, score)
        return score

    @property
    def only_filters(self) -> bool:
        return all(rescorer.only_filters for rescorer in self.rescorers)


class _ProviderChain(RescorerProvider):
    """Several providers as one."""

    def __init__(self, providers: Sequence[RescorerProvider]) -> None:
        self.providers = tuple(providers)

    def recommend(self, user_ids: Sequence[str], args: Sequence[str]) -> Rescorer | None:
        return self._each(lambda provider: provider.recommend(user_ids, args))

    def recommend_to_anonymous(
        self, item_ids: Sequence[str], args: Sequence[str]
    ) -> Rescorer | None:
        return self._each(lambda provider: provider.recommend_to_anonymous(item_ids, args))

    def most_similar_items(self, args: Sequence[str]) -> Rescorer | None:
        return self._each(lambda provider: provider.most_similar_items(args))

    def most_popular_items(self, args: Sequence[str]) -> Rescorer | None:
        return self._each(lambda provider: provider.most_popular_items(args))

    def most_active_users(self, args: Sequence[str]) -> Rescorer | None:
        return self._each(lambda provider: provider.most_active_users(args))

    def _each(self, ask: Callable[[RescorerProvider], Rescorer | None]) -> Rescorer | None:
        return chain([ask(provider) for provider in self.providers])


def chain(rescorers: Sequence[Rescorer | None]) -> Rescorer | None:
    """Make one of several rescorers; None are left out, and one alone is returned as it is."""
    found = [rescorer for rescorer in rescorers if rescorer is not None]
    if len(found) > 1:
        return _Chain(found)
    return found[0] if found else None


def load_providers(names: str | Sequence[str] | None) -> RescorerProvider:
    """Make the providers that the configuration names, as one.

    Parameters
    ----------
    names : str, sequence of str or None
        Dotted names of classes, ``package.module.Class``; commas separate several.

    Raises
    ------
    ConfigError
        If a name leads to no class that can be used; the text names the key.
    """
    given = [names] if isinstance(names, str) else list(names or ())
    providers = [_load(name.strip()) for text in given for name in text.split(",")]
    return providers[0] if len(providers) == 1 else _ProviderChain(providers)


def providers_of(settings: Settings) -> RescorerProvider:
    """Return the configured providers: the same ones whoever asks, in every form of a route.

    Raises
    ------
    ConfigError
        See :func:`load_providers`.
    """
    names = settings.section("als").rescorer_provider_class
    return _loaded(names if names is None or isinstance(names, str) else tuple(names))


_loaded = lru_cache(maxsize=8)(load_providers)


def _load(name: str) -> RescorerProvider:
    module, dot, attribute = name.rpartition(".")
    if not dot or not module:
        message = f'{KEY}: {name!r} is not the dotted name of a class, like "shop.rescorers.Shop"'
        raise ConfigError(message)
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        message = f"{KEY}: {name!r} cannot be loaded: {error}; is its folder in PYTHONPATH?"
        raise ConfigError(message) from error
    if not (isinstance(kind, type) and issubclass(kind, RescorerProvider)):
        message = (
            f"{KEY}: {name!r} does not extend serving_layer.apps.als.rescorer.RescorerProvider"
        )
        raise ConfigError(message)
    try:
        return kind()
    except Exception as error:
        message = f"{KEY}: {name!r} cannot be made without arguments: {error}"
        raise ConfigError(message) from error
