"""The client against the real server."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from gemsbok_client import ApiError, Client, ClientError, Event, IngestError, UnreachableError
from gemsbok_client.version import VERSION

import common
from serving_layer.run.app import create_app
from tests.client.conftest import QUICK, Live
from tests.forests import oryx_model
from tests.serving_layer.apps.forest import test_routes as test_forest
from tests.serving_layer.apps.kmeans import test_routes as test_kmeans
from tests.serving_layer.apps.pmml import test_routes as test_pmml
from tests.serving_layer.held import Held

README = Path(__file__).parents[2] / "client" / "README.md"


def test_the_readme_s_example_works(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    for user, vector in (("ann", [1.0, 0.5]), ("bob", [0.5, 1.0])):
        live.add("X", user, vector, "I1")
    for item, vector in (("tea", [1.0, 0.1]), ("milk", [0.9, 0.2])):
        live.add("Y", item, vector)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example.replace("http://localhost:8080", live.url), names)
    assert [value.rsplit(",", 1)[0] for _, value in live.served.sent()] == [
        "ann,tea,1.0",
        "ann,milk,2.5",
    ]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 + 3
    assert printed[0].startswith("milk ")
    assert printed[-1] == "nobody unknown_id"
    assert set(names["frame"]["user"]) == {"ann", "bob"}


def test_the_version_is_the_server_s(client: Client) -> None:
    assert client.version() == common.__version__ == VERSION


def test_recommendations_with_filters_and_pages(client: Client) -> None:
    found = client.recommend("U0", how_many=2)
    assert [item.id for item in found] == ["I1", "I5"]
    assert found[0].score == pytest.approx(0.4653969)
    assert [item.id for item in client.recommend("U0", offset=4)] == ["I3", "I6"]
    filtered = client.recommend("U0", include=["I8", "I0"], consider_known_items=True)
    assert [item.id for item in filtered] == ["I0", "I8"]


def test_recommendations_after_some_items(client: Client) -> None:
    anonymous = client.recommend_after({"I0": 2.5, "I4": 1.0}, how_many=3)
    assert len(anonymous) == 3
    assert not {"I0", "I4"} & {item.id for item in anonymous}
    known = client.recommend_after({"I1": 1.0}, user="U0", include=["I5", "I1", "I4"])
    assert [item.id for item in known] == ["I5"]


def test_more_users_than_one_request_takes(client: Client) -> None:
    users = [f"U{number % 8}" for number in range(1201)]
    found = list(client.recommend_many(users, how_many=1))
    assert [result.user for result in found] == users
    assert {result.user: result.error for result in found}["U7"] == "unknown_id"
    assert sum(len(result.items) for result in found) == sum(user != "U7" for user in users)


def test_recommendations_as_a_frame(client: Client) -> None:
    frame = client.recommendations_frame(["U0", "nobody", "U4"], how_many=2)
    assert list(frame.columns) == ["user", "rank", "item", "score"]
    assert frame[["user", "rank"]].values.tolist() == [["U0", 1], ["U0", 2], ["U4", 1], ["U4", 2]]
    assert frame["item"][0] == "I1"
    assert frame.attrs["unknown_users"] == ["nobody"]


@pytest.mark.parametrize(
    "id", ["a/b", "a=b", "50%", "a b", "é", "e\u0301", "🦌", "..", "?#", "%2F"]
)
def test_ids_of_any_characters(live: Live, id: str) -> None:
    live.add("X", id, [1.0, 0.0], "I0")
    live.add("Y", id, [1.0, 0.0])
    with live.client() as client:
        assert client.known_items(id) == ["I0"]
        assert client.similar_items(id, how_many=1)
        assert [row.score for row in client.estimates(id, [id, "none"])] == [1.0, None]
        assert client.because(id, id)[0].id == "I0"
        assert client.ingest([Event(id, id)]) == 1
    assert len(live.served.sent()) == 1


def test_popular_items(client: Client) -> None:
    first, second = client.popular_items(how_many=2)
    assert first.count >= second.count > 0


def test_an_error_carries_what_the_server_says(client: Client) -> None:
    with pytest.raises(ApiError, match="unknown user 'nobody'") as caught:
        client.recommend("nobody")
    assert (caught.value.status, caught.value.code) == (404, "unknown_id")
    assert len(caught.value.request_id or "") == 16
    with pytest.raises(ApiError) as caught:
        client.recommend("U0", how_many=0)
    assert caught.value.faults[0]["parameter"] == "how_many"


def test_events_go_in_batches_and_none_is_lost(live: Live) -> None:
    events = (Event(f"u{number}", "i", timestamp=number + 1) for number in range(2501))
    with live.client() as client:
        assert client.ingest(events, batch_size=1000, progress=True) == 2501
    sent = [value for _, value in live.served.sent()]
    assert sent == [f"u{number},i,1.0,{number + 1}" for number in range(2501)]


def test_a_frame_s_missing_cells_are_left_out(live: Live) -> None:
    frame = pd.DataFrame(
        {"user": ["a", "b"], "item": ["x", "y"], "strength": [2.0, None], "timestamp": [5, 6]}
    )
    with live.client() as client:
        assert client.ingest(frame) == 2
    assert [value for _, value in live.served.sent()] == ["a,x,2.0,5", "b,y,1.0,6"]


def test_a_frame_s_ids_may_be_integers(live: Live) -> None:
    frame = pd.DataFrame({"user": [17, 18], "item": [5, 6], "timestamp": [1, 2]})
    with live.client() as client:
        assert client.ingest(frame) == 2
        with pytest.raises(IngestError, match="#/events/0/user"):
            client.ingest([{"user": 1.5, "item": "x"}])
    assert [value for _, value in live.served.sent()] == ["17,5,1.0,1", "18,6,1.0,2"]


def test_a_bad_batch_says_what_was_written_before_it(live: Live) -> None:
    events: list[Any] = [Event("a", "x"), Event("b", "y"), {"user": "c"}, Event("d", "z")]
    with (
        live.client() as client,
        pytest.raises(IngestError, match="2 events are written") as caught,
    ):
        client.ingest(events, batch_size=2)
    assert (caught.value.acknowledged, caught.value.outcome_unknown) == (2, False)
    assert isinstance(caught.value.__cause__, ApiError)
    assert caught.value.__cause__.faults[0]["pointer"] == "#/events/0/item"
    assert len(live.served.sent()) == 2


def test_what_is_not_json_is_not_sent(live: Live) -> None:
    events = [Event("a", "x"), Event("b", "y", strength=float("nan"))]
    with live.client() as client, pytest.raises(IngestError, match="cannot be sent") as caught:
        client.ingest(events, batch_size=1)
    assert (caught.value.acknowledged, caught.value.outcome_unknown) == (1, False)
    assert len(live.served.sent()) == 1


def test_records_are_assigned_in_every_form(run: Callable[..., Any]) -> None:
    settings = test_kmeans.configured({"feature_names": ["x", "y"], "categorical_features": []})
    serving = test_kmeans.serving_of(settings, test_kmeans.three())
    running = run(create_app(settings, Held(serving), None))
    frame = pd.DataFrame({"y": [0.0, -1.0], "x": [1.0, 10.0]})
    with Client(f"http://{running.host}:{running.port}", retry=QUICK) as client:
        rows: list[Any] = [{"x": 1, "y": 0}, [10, -1.0]]
        for records in (rows, frame):
            assert [found.cluster for found in client.assign(records)] == [2, 3]
        assert sum(found.cluster == 2 for found in client.assign([[1, 0]] * 5001)) == 5001
        with pytest.raises(ApiError, match="no feature 'z'"):
            list(client.assign([{"x": 1, "z": 0}]))


def test_records_are_predicted(run: Callable[..., Any]) -> None:
    settings = test_forest.configured(test_forest.ORYX)
    serving = test_forest.serving_of(oryx_model(), settings)
    running = run(create_app(settings, Held(serving), None))
    with Client(f"http://{running.host}:{running.port}", retry=QUICK) as client:
        found = list(client.predict([["B", 0, None], {"0": "A", "1": -5}]))
    assert [one.value for one in found] == pytest.approx([2010 / 3, 67])
    assert found[0].probabilities is None


@pytest.mark.jvm
def test_records_are_scored_by_a_document_of_another_tool(run: Callable[..., Any]) -> None:
    document = Held(test_pmml.loaded(test_pmml.text_of("regression")))
    running = run(create_app(test_pmml.settings_of(), document, None))
    with Client(f"http://{running.host}:{running.port}", retry=QUICK) as client:
        found = list(client.score([{"age": 30, "salary": 1000, "car_location": "carpark"}]))
    assert found == [{"predicted_claims": pytest.approx(132.37 + 7.1 * 30 + 0.01 * 1000 + 41.1)}]


def test_waiting_says_what_is_missing(live: Live) -> None:
    with live.client() as client:
        client.wait_until_ready()
        assert client.readiness().fraction_loaded == 1.0
        live.served.app.extensions["gemsbok"].current.model = None
        assert client.readiness().missing == "no model generation yet"
        with pytest.raises(ClientError, match="no model generation yet"):
            client.wait_until_ready(timeout=0)


def test_nobody_there(tmp_path: Path) -> None:
    with Client("http://127.0.0.1:9", retry=QUICK) as client:
        with pytest.raises(UnreachableError, match="/version"):
            client.version()
        with pytest.raises(IngestError) as caught:
            client.ingest([Event("a", "b")])
        assert not caught.value.outcome_unknown
        with pytest.raises(ClientError, match="not ready after 0 s"):
            client.wait_until_ready(timeout=0)


def test_the_model_as_pmml(client: Client) -> None:
    assert client.pmml().startswith(b"<?xml")
