"""How often somebody may fail, ask and write."""

from __future__ import annotations

from typing import Any

import pytest

from serving_layer.access.quotas import Buckets
from serving_layer.access.shared_ttl_table import SET_SLOTS, SLOTS_PER_RECORD
from tests.serving_layer.access.conftest import Guarded, code


@pytest.fixture
def settings() -> dict[str, Any]:
    # So slow that a bucket does not fill again while a test goes on.
    return {
        "serving__api__auth__bad_logins_per_minute": 20,
        "serving__api__auth__requests_per_second": 1.0,
        "serving__api__auth__events_per_second": 0.5,
    }


def test_s16_the_21st_bad_login_of_a_minute_is_429(guarded: Guarded) -> None:
    bad = {"Authorization": "Bearer wrong"}
    replies = [guarded.client.get("/recommend/U0", headers=bad) for _ in range(25)]
    statuses = [reply.status_code for reply in replies]
    assert statuses[:20] == [401] * 20
    refused = [reply for reply in replies if reply.status_code == 429]
    assert code(refused[0]) == (429, "too_many_logins")
    assert int(refused[0].headers["Retry-After"]) >= 1
    # Who guesses wrong does not lock out who knows.
    assert guarded.get("/recommend/U0", "read").status_code == 200


def test_s18_requests_above_the_quota_are_429(guarded: Guarded) -> None:
    replies = [guarded.get("/knownItems/U0", "read") for _ in range(40)]
    refused = [reply for reply in replies if reply.status_code == 429]
    assert [reply.status_code for reply in replies[:10]] == [200] * 10
    assert code(refused[0]) == (429, "too_many_requests")
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert guarded.get("/knownItems/U0", "admin").status_code == 200


def test_s18_events_above_the_quota_are_429_and_not_written(guarded: Guarded) -> None:
    assert guarded.ingest("u,i\n" * 5, "ingest").status_code == 204
    reply = guarded.ingest("u,i\n" * 5, "ingest")
    assert code(reply) == (429, "too_many_events")
    assert int(reply.headers["Retry-After"]) >= 1
    assert len(guarded.served.sent()) == 5
    assert guarded.ingest("u,i\n" * 5, "admin").status_code == 204


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    buckets = Buckets(2.0, lambda: now[0])
    assert [buckets.take("a") for _ in range(20)] == [0.0] * 20
    assert buckets.take("a") == 0.5
    assert buckets.take("b") == 0.0
    now[0] = 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("a", 3) == 1.5
    now[0] = 100.0
    assert [buckets.take("a", 5) for _ in range(4)] == [0.0] * 4
    assert buckets.take("a") > 0


def test_more_than_a_bucket_holds_is_allowed_once_and_waited_for() -> None:
    now = [0.0]
    buckets = Buckets(2.0, lambda: now[0])
    assert buckets.take("a", 50) == 0.0
    assert buckets.take("a") == 15.5
    now[0] = 15.5
    assert buckets.take("a") == 0.0


def test_the_number_of_names_is_bounded() -> None:
    buckets = Buckets(0.1, lambda: 0.0, burst=2.0, max_names=SET_SLOTS // SLOTS_PER_RECORD)
    assert [buckets.take("waits") for _ in range(2)] == [0.0, 0.0]
    for name in range(SET_SLOTS):
        assert buckets.take(str(name)) == 0.0
    # Who has nothing left is remembered longest.
    assert buckets.take("waits") == 10.0
