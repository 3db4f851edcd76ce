"""Which generation is good: the one rule by which every reader takes one from the store."""

from __future__ import annotations

from collections.abc import Callable

from common.store.generations import Generation, ModelStore, StoreError


class GoodGenerations:
    """The generations of one app in a store, without those that were refused.

    Parameters
    ----------
    app : str
        The family.
    store : ModelStore
        The generations.

    Attributes
    ----------
    refused : dict of int to str
        Why a generation cannot be used, by its id.
    """

    def __init__(self, app: str, store: ModelStore) -> None:
        self._app = app
        self._store = store
        self.refused: dict[int, str] = {}

    def refuse(self, generation: int, reason: object) -> None:
        """Remember that a generation cannot be used: the next older one is taken."""
        self.refused[generation] = str(reason) or repr(reason)

    def accept(self, generation: int) -> None:
        """Forget that a generation was refused: it could be used after all."""
        self.refused.pop(generation, None)

    def newest(self, on_bad: Callable[[int, Exception], None]) -> Generation | None:
        """Return the newest generation of the app that was not refused; None if there is none.

        Parameters
        ----------
        on_bad : callable
            Told of one whose manifest is bad; it is to refuse it.

        Raises
        ------
        OSError
            If the store does not answer, which says nothing of any generation.
        """
        for id_ in reversed(self._store.ids()):
            if id_ in self.refused:
                continue
            try:
                found = self._store.get(id_)
            except StoreError as error:
                on_bad(id_, error)
                continue
            if found.manifest.app == self._app:
                return found
        return None
