"""Ageing: what is older than the configured hours goes (-1 keeps all, 0 removes everything)."""

from __future__ import annotations

import logging

from batch_layer.history.table import END_OF_TIME, History
from common.config import Storage
from common.store.generations import ModelStore, StoreError

log = logging.getLogger(__name__)

_HOUR_MS = 3_600_000


def reference_time(clock: int, newest_event: int) -> int:
    """Return the time (ms) against which age is measured.

    The earlier of the clock and the newest event: neither a clock that runs ahead nor an event
    from the future makes recent data look old.
    """
    return min(clock, newest_event)


def age_history(history: History, storage: Storage, reference: int) -> bool:
    """Remove history rows past their age; return whether there were any."""
    before = _limit(storage.max_age_data_hours, reference)
    if before is None or not history.age(before):
        return False
    log.info("history: rows older than %d hours removed", storage.max_age_data_hours)
    return True


def age_generations(store: ModelStore, app: str, storage: Storage, reference: int) -> list[int]:
    """Remove an app's generations past their age; return their ids.

    The newest stays unless the age is 0: it is the model that serves.  One whose manifest cannot
    be read stays too, for somebody to look at.
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
