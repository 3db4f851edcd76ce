"""Removes expired history and generations (hours: -1 keeps all, 0 removes everything)."""

from __future__ import annotations

import logging

from batch_layer.history.table import END_OF_TIME, History
from common.config import Storage
from common.store.generations import ModelStore, StoreError

log = logging.getLogger(__name__)

_HOUR_MS = 3_600_000


def reference_time(clock: int, newest_event: int) -> int:
    """Return the time (ms) relative to which age is measured.

    It is the earlier of the clock and the newest event, so that neither a fast clock nor an event
    from the future makes recent data look old.
    """
    return min(clock, newest_event)


def age_history(history: History, storage: Storage, reference: int) -> bool:
    """Remove expired rows from the history; return whether there were any."""
    before = _limit(storage.max_age_data_hours, reference)
    if before is None or not history.age(before):
        return False
    log.info("history: rows older than %d hours removed", storage.max_age_data_hours)
    return True


def age_generations(store: ModelStore, app: str, storage: Storage, reference: int) -> list[int]:
    """Remove an app's expired generations; return their ids.

    The newest one is kept unless the limit is 0, because it is being served.  A generation with
    an unreadable manifest is kept too, for an operator to inspect.
    """
    before = _limit(storage.max_age_model_hours, reference)
    if before is None:
        return []
    ids = [id_ for id_ in store.ids() if _is_of(store, id_, app)]
    candidates = ids if storage.max_age_model_hours == 0 else ids[:-1]
    removed = [id_ for id_ in candidates if id_ < before]
    for id_ in removed:
        store.remove(id_)
        log.info("generation %d removed: older than %d h", id_, storage.max_age_model_hours)
    return removed


def _is_of(store: ModelStore, id_: int, app: str) -> bool:
    try:
        return store.get(id_).manifest.app == app
    except StoreError as error:
        log.warning("generation passed over: %s", error)
        return False


def _limit(hours: int, reference: int) -> int | None:
    if hours < 0:
        return None
    return END_OF_TIME if hours == 0 else reference - hours * _HOUR_MS
