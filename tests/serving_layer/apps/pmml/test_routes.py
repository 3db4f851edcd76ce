"""Documents of other tools over HTTP: their scores are those tools', what is bad is refused."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from common.broker.memory import MemoryBroker
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.store.generations import ModelStore
from common.wire.messages import MODEL, MessageError
from serving_layer.apps.pmml.evaluator import SharedJava
from serving_layer.apps.pmml.routes import Serving
from serving_layer.model.consumer import Consumer
from serving_layer.model.generations import Sources
from serving_layer.run.app import create_app
from tests.serving_layer.held import Held

DOCUMENTS = Path(__file__).parent / "documents"
IRIS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
SPECIES = ("setosa", "versicolor", "virginica")
#: The probabilities that scikit-learn gives, with which the documents were written.
NETWORK = {
    (5.1, 3.5, 1.4, 0.2): (0.9924720906708158, 0.006714489233429031, 0.0008134200957552499),
    (7.0, 3.2, 4.7, 1.4): (0.012779765175089065, 0.9274894273118583, 0.059730807513052535),
    (5.9, 3.2, 4.8, 1.8): (0.0457700588626114, 0.40073566626287926, 0.5534942748745094),
    (6.3, 3.3, 6.0, 2.5): (0.0011871348439133852, 0.002942832820923533, 0.995870032335163),
}
FOREST = {
    (5.1, 3.5, 1.4, 0.2): (1.0, 0.0, 0.0),
    (5.9, 3.2, 4.8, 1.8): (0.0, 0.09803921568627451, 0.9019607843137255),
}
Asking = Callable[[str], FlaskClient]
# All but a few of these tests have a document scored.
pytestmark = pytest.mark.jvm


def text_of(name: str) -> str:
    return (DOCUMENTS / f"{name}.pmml").read_text(encoding="utf-8")


def settings_of(**changes: object) -> Any:
    flags = {f"pmml.{key}": value for key, value in changes.items()}
    return load(flags={"app": "pmml", "serving.api.read_only": True, **flags}, environment={})


def loaded(text: str, java: SharedJava | None = None, **changes: object) -> Serving:
    model = Serving(settings_of(heap="256m", **changes), java)
    model.load(ModelMessage(None, text))
    return model


@pytest.fixture
def asking() -> Asking:
    """A client of a serving layer that has loaded a document."""
    return lambda name: create_app(settings_of(), Held(loaded(text_of(name))), None).test_client()


def post(client: FlaskClient, body: str, kind: str = "text/csv", accept: str = "*/*") -> Any:
    return client.post("/predict", data=body, content_type=kind, headers={"Accept": accept})


@pytest.mark.parametrize(("name", "expected"), [("network", NETWORK), ("forest", FOREST)])
def test_scores_are_those_of_the_tool_that_wrote_it(
    asking: Asking, name: str, expected: dict[tuple[float, ...], tuple[float, ...]]
) -> None:
    rows = [dict(zip(IRIS, row, strict=True)) for row in expected]
    found = post(asking(name), json.dumps(rows), "application/json", "application/json").get_json()
    assert len(found) == len(expected) > 0
    for outputs, probabilities in zip(found, expected.values(), strict=True):
        assert [outputs[f"probability_{name}"] for name in SPECIES] == pytest.approx(
            probabilities, abs=1e-12
        )


def test_old_versions_and_every_form_of_a_row(asking: Asking) -> None:
    client = asking("regression")
    carpark = 132.37 + 7.1 * 30 + 0.01 * 1000 + 41.1
    street = carpark - 41.1 + 325.03
    lines = post(client, '30,1000,carpark\n\n[30,1000,"street"]\n').text.splitlines()
    assert [float(line) for line in lines] == pytest.approx([carpark, street])
    for body in (
        '[{"age": 30, "salary": 1000, "car_location": "street"}]',
        '{"age": "30", "salary": 1000.0, "car_location": "street"}',
        '[[30, 1000, "street"]]',
        '[30, 1000, "street"]',
        '{"age": 30, "salary": 1000, "car_location": "street"}\n[30, 1000, "street"]',
    ):
        reply = post(client, body, "application/json")
        assert next(map(float, reply.text.splitlines())) == pytest.approx(street), body
    one = client.get("/predict/30,1000,street")
    assert float(one.text) == pytest.approx(street)
    assert one.mimetype == "text/csv"


def test_a2_a_document_over_which_the_scorer_fails_is_refused() -> None:
    text = text_of("regression")
    start = text.index("<RegressionTable")
    target = '<Targets><Target><TargetValue defaultValue="0"/></Target></Targets>'
    with pytest.raises(MessageError, match="PMML4S cannot"):
        loaded(f"{text[:start]}{target}{text[start:]}")


def test_missing_and_invalid_values_are_what_the_document_makes_of_them(asking: Asking) -> None:
    client = asking("scorecard")
    lines = post(client, "2000,false\n500,false\n,true\n").text.splitlines()
    assert lines == ["31.0,OWNER", "16.0,INCOME", "25.0,INCOME"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("30,1000", "2 fields, not 3: age, salary, car_location"),
        ("old,1000,street", "'age' is double, and cannot be 'old'"),
        ("nan,1000,street", "'age' is double"),
        ("1_0,1000,street", "'age' is double"),
        ("30,1000,garage", "'car_location' has no value 'garage'; it has carpark, street"),
        ('{"age": 30, "colour": "red"}', "no field 'colour'"),
        ('{"age": [30]}', "'age'"),
        ('{"age": ', "unexpected"),
        ('"30', "quot"),
    ],
)
def test_a_row_that_does_not_fit_is_400_and_names_line_and_field(
    asking: Asking, row: str, told: str
) -> None:
    reply = post(asking("regression"), f"30,1000,street\n{row}\n")
    assert reply.status_code == 400
    error = reply.get_json()["error"]
    assert error["line"] == 2
    assert told in error["message"]


@pytest.mark.parametrize("body", ["", "[]", " \n"])
def test_a_body_without_rows_is_400(asking: Asking, body: str) -> None:
    reply = post(asking("regression"), body, "application/json")
    assert (reply.status_code, reply.get_json()["error"]["code"]) == (400, "empty_body")


@pytest.mark.parametrize("body", ["5", '[5, {"age": 30}]', "null", '[[[1], 2, "street"]]'])
def test_json_that_is_no_row_is_400(asking: Asking, body: str) -> None:
    reply = post(asking("regression"), body, "application/json")
    assert (reply.status_code, reply.get_json()["error"]["code"]) == (400, "bad_row")


def test_the_schema_shows_inputs_and_outputs(asking: Asking) -> None:
    found = asking("regression").get("/schema").get_json()
    assert (found["model"], found["function"]) == ("RegressionModel", "regression")
    assert [field["name"] for field in found["inputs"]] == ["age", "salary", "car_location"]
    assert found["inputs"][2] == {
        "name": "car_location",
        "type": "string",
        "kind": "categorical",
        "values": ["carpark", "street"],
    }
    assert found["outputs"] == ["predicted_claims"]


def test_its_pmml_is_the_document_itself(asking: Asking) -> None:
    assert asking("network").get("/model.pmml").text == text_of("network")


def deep(n: int) -> str:
    return text_of("regression").replace("</Header>", "<a>" * n + "</a>" * n + "</Header>")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('<!DOCTYPE PMML SYSTEM "file:///etc/passwd">' + text_of("regression"), "document type"),
        (deep(100_000), "deeper than 256"),
        (text_of("regression").replace("PMML-3_2", "PMML-9_9"), "root element"),
        (text_of("regression").replace("RegressionModel", "OracleModel"), "OracleModel"),
        ("not XML", "well-formed"),
        (text_of("regression") + " " * 20_000, "more than 10000 bytes"),
    ],
)
def test_what_cannot_be_trusted_or_scored_is_refused(text: str, told: str) -> None:
    with pytest.raises(MessageError, match=told):
        loaded(text, max_size=10_000_000 if "deeper" in told else 10_000)


def test_it_takes_no_updates() -> None:
    with pytest.raises(MessageError, match="no updates"):
        loaded(text_of("regression")).apply("UP")


def test_without_java_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MessageError, match="install Java 17"):
        loaded(text_of("regression"), SharedJava())


def test_a_java_process_that_died_is_replaced() -> None:
    shared = SharedJava()
    document = loaded(text_of("regression"), shared).document
    rows = [document.row("30,1000,street")]
    before = document.score(rows)
    first = shared.running
    assert first is not None
    first.process.kill()
    assert document.score(rows) == before
    assert shared.running is not first
    assert shared.running is not None
    shared.running.end()


def test_java_lets_go_of_documents_that_are_replaced() -> None:
    shared = SharedJava()
    kept = [loaded(text_of("regression"), shared).document]
    for name in ("scorecard", "regression", "scorecard"):
        kept[0] = loaded(text_of(name), shared).document
        gc.collect()
    assert shared.running is not None
    assert shared.running.n_documents == 2, "the newest, and the one that was there as it came"
    assert kept[0].score([kept[0].row("2000,false")])
    shared.running.end()


def test_the_last_good_document_goes_on_and_the_reason_is_told(tmp_path: Path) -> None:
    settings = settings_of()
    broker = MemoryBroker()
    broker.create_topic(settings.update_topic.name, 1)
    sources = Sources(lambda: broker, ModelStore(str(tmp_path)), lambda: Serving(settings))
    consumer = Consumer(settings, sources)
    consumer.connected = True
    producer = broker.producer()
    reader = broker.reader(settings.update_topic.name)

    def send(text: str) -> None:
        producer.send(settings.update_topic.name, MODEL, text)
        producer.flush(5.0)
        consumer.feed(reader.poll(timeout=5.0))
        consumer.swap_if_ready()

    def served() -> str | None:
        return consumer.model.document.text if isinstance(consumer.model, Serving) else None

    assert "bin/gemsbok model import FILE" in str(consumer.status()["missing"])
    send("<!DOCTYPE x>" + text_of("regression"))
    assert served() is None
    assert "document type" in str(consumer.status()["missing"])
    send(text_of("regression"))
    send(text_of("regression").replace("</PMML>", ""))
    assert consumer.counts["refused_models"] == 2
    assert served() == text_of("regression")
    send(text_of("scorecard"))
    assert served() == text_of("scorecard")
