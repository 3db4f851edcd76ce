"""The command lines of an Oryx user, as they are, against the real server."""

from __future__ import annotations

import gzip
import shlex
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving_layer.run.app import create_app
from tests.forests import CLASSES
from tests.serving_layer.apps.als import fixture as als_fixture
from tests.serving_layer.apps.als.fixture import OddOutProvider
from tests.serving_layer.apps.forest import test_resources as test_forest_v1
from tests.serving_layer.apps.kmeans import test_routes as test_kmeans
from tests.serving_layer.held import Held, input_topic, sent_lines

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")

JSON = "-H 'Accept: application/json'"
CSV = "-H 'Content-Type: text/csv'"
EVENTS = "a,B,1\nc,B\nc,D,5.5\nc,D,\na,C,2,123456789\n"
#: What these events are on the input topic, without the time of those that name none.
SENT = ["a,B,1.0", "c,B,1", "c,D,5.5", "c,D,", "a,C,2.0"]


@dataclass
class Oryx:
    """A server at ``http://server``, and a shell that can reach it."""

    url: str
    served: Any
    folder: Path

    def curl(self, line: str) -> tuple[int, str]:
        """Run ``curl …``: the status and what it writes."""
        command = shlex.split(line.replace("http://server", self.url))
        assert command[0] == "curl"
        found = subprocess.run(
            [*command, "-sS", "-w", "\n%{http_code}"],
            cwd=self.folder,
            capture_output=True,
            timeout=30,
            check=True,
        )
        body, _, status = found.stdout.decode().rpartition("\n")
        return int(status), body

    def sent(self) -> list[str]:
        """Lines on the input topic, without their time."""
        return [value.rpartition(",")[0] for _, value in self.served.sent()]


Start = Callable[..., Oryx]


@pytest.fixture
def start(tmp_path: Path, run: Callable[..., Any]) -> Start:
    def started(**flags: Any) -> Oryx:
        served = als_fixture.serve(als_fixture.from_files(tmp_path), **flags)
        running = run(served.app, body_bytes=10_000_000, held_bytes=40_000_000)
        return Oryx(f"http://{running.host}:{running.port}", served, tmp_path)

    return started


@pytest.fixture
def oryx(start: Start) -> Oryx:
    return start()


@pytest.mark.parametrize(
    ("line", "status", "begins"),
    [
        ("curl http://server/ready", 200, ""),
        ("curl -I http://server/ready", 200, "HTTP/1.1 200"),
        ("curl http://server/", 200, "<!DOCTYPE html>"),
        ("curl http://server/index.html", 200, "<!DOCTYPE html>"),
        ("curl http://server/recommend/U0", 200, "I1,0.465"),
        ("curl 'http://server/recommend/U5?howMany=1&offset=1'", 200, "I"),
        ("curl 'http://server/recommend/U4?considerKnownItems=true'", 200, "I7,2.004"),
        ("curl 'http://server/recommend/U0?rescorerParams=a&rescorerParams=b'", 200, "I1,"),
        (f"curl {JSON} http://server/recommend/U0", 200, '[{"id":"I1","value":0.465'),
        ("curl http://server/recommendToMany/U0/U1", 200, "I"),
        ("curl http://server/recommendToAnonymous/I0=2.5/I4", 200, "I"),
        ("curl http://server/recommendWithContext/U0/", 200, "I1,0.465"),
        ("curl http://server/recommendWithContext/U0/I1=3/I2", 200, "I"),
        ("curl http://server/similarity/I0/I4/I6", 200, "I7,"),
        ("curl http://server/similarityToItem/I0/I1/I2", 200, "0.904260"),
        ("curl http://server/estimate/U0/I0/I1/I2", 200, "0.387613"),
        ("curl http://server/estimateForAnonymous/I1/I0=1/I4", 200, "0."),
        ("curl http://server/because/U0/I4", 200, "I4,"),
        ("curl http://server/mostSurprising/U0", 200, "I0,0.387613"),
        ("curl http://server/mostPopularItems", 200, "I"),
        (f"curl {JSON} http://server/mostPopularItems", 200, '[{"id":"I'),
        ("curl http://server/mostActiveUsers", 200, "U5,7\nU"),
        ("curl http://server/popularRepresentativeItems", 200, "I"),
        ("curl http://server/knownItems/U1", 200, "I1\nI4\nI5\nI7\nI8\n"),
        ("curl http://server/knownItems/X1", 200, ""),
        ("curl http://server/item/allIDs", 200, "I0\n"),
        (f"curl {JSON} http://server/user/allIDs", 200, '["U0","U1"'),
        (
            "curl -H 'Accept: text/csv;q=0.1, application/json' http://server/knownItems/U1",
            200,
            '["I1"',
        ),
        ("curl -H 'Accept: text/csv;q=0, */*' http://server/knownItems/U1", 200, "I1"),
        (
            "curl -H 'Accept: text/plain' http://server/recommendToAnonymous/a%3Db=2",
            400,
            "the model says nothing of any of the items a=b",
        ),
        ("curl http://server/recommend/Z", 404, '{"error":{"code":"unknown_id"'),
        ("curl -H 'Accept: text/plain' http://server/recommend/Z", 404, "unknown user 'Z'"),
        ("curl -H 'Accept: text/html' http://server/recommend/Z", 404, "<!DOCTYPE html>"),
        ("curl http://server/recommend", 404, '{"error":'),
        ("curl http://server/recommendWithContext/U0", 404, '{"error":'),
        ("curl 'http://server/recommend/U0?howMany=100001'", 400, '{"error":'),
        ("curl http://server/recommendToAnonymous/Z1/Z2", 400, '{"error":'),
        ("curl -X POST http://server/recommend/U0", 405, '{"error":'),
        ("curl -H 'Accept: image/png' http://server/recommend/U0", 406, '{"error":'),
        ("curl --compressed http://server/recommend/U0", 200, "I1,0.465"),
    ],
)
def test_queries(oryx: Oryx, line: str, status: int, begins: str) -> None:
    got, body = oryx.curl(line)
    assert (got, body[: len(begins)]) == (status, begins)
    assert begins or body == ""


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ("curl -X POST http://server/pref/U1/I1", "U1,I1,1"),
        (f"curl -X POST {CSV} -d 2.5 http://server/pref/U1/I1", "U1,I1,2.5"),
        ("curl -H 'Content-Type: application/json' -d 2.5 http://server/pref/U1/I1", "U1,I1,2.5"),
        ("curl -X DELETE http://server/pref/U1/I1", "U1,I1,"),
        ("curl -X POST http://server/pref/a%2Fb/%F0%9F%A6%8C%20%3D%25", "a/b,🦌 =%,1"),
    ],
)
def test_preferences(oryx: Oryx, line: str, sent: str) -> None:
    assert oryx.curl(line) == (204, "")
    assert oryx.sent() == [sent]


@pytest.mark.parametrize(
    "line",
    [
        f"curl {CSV} --data-binary @data.csv http://server/ingest",
        "curl -H 'Content-Type: text/plain' --data-binary @data.csv http://server/ingest",
        f"curl {CSV} -H 'Content-Encoding: gzip' --data-binary @data.csv.gz http://server/ingest",
        f"curl {CSV} -H 'Content-Encoding: deflate' --data-binary @data.z http://server/ingest",
        "curl -F file=@data.csv http://server/ingest",
        "curl -F 'file=@data.csv;type=text/csv' http://server/ingest",
        "curl -F 'file=@data.csv.gz;type=application/gzip' http://server/ingest",
        "curl -F 'file=@data.csv.gz;type=application/x-gzip' http://server/ingest",
        "curl -F 'file=@data.zip;type=application/zip' http://server/ingest",
        "curl -F a=@head.csv -F 'b=@tail.csv.gz;type=application/gzip' http://server/ingest",
        f"curl {CSV} -H 'Expect: 100-continue' --data-binary @data.csv http://server/ingest",
    ],
)
def test_ingest_in_every_form(oryx: Oryx, line: str) -> None:
    text = EVENTS.encode()
    lines = EVENTS.splitlines(keepends=True)
    (oryx.folder / "data.csv").write_bytes(text)
    (oryx.folder / "data.csv.gz").write_bytes(gzip.compress(text))
    (oryx.folder / "data.z").write_bytes(zlib.compress(text))
    (oryx.folder / "head.csv").write_text("".join(lines[:2]))
    (oryx.folder / "tail.csv.gz").write_bytes(gzip.compress("".join(lines[2:]).encode()))
    with zipfile.ZipFile(oryx.folder / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/first.csv", "".join(lines[:2]))
        archive.writestr("second.csv", "".join(lines[2:]))
    assert oryx.curl(line) == (204, "")
    assert oryx.sent() == SENT
    key, last = oryx.served.sent()[4]
    assert last == "a,C,2.0,123456789"
    assert key


def test_a_large_file_arrives_whole(oryx: Oryx) -> None:
    events = "".join(f"user-{number},item-{number},1,{number + 1}\n" for number in range(60_000))
    (oryx.folder / "data.csv").write_text(events)
    assert len(events) > 1_500_000
    line = f"curl {CSV} --data-binary @data.csv http://server/ingest"
    assert oryx.curl(line) == (204, "")
    assert len(oryx.sent()) == 60_000


def test_bad_lines_are_refused(oryx: Oryx) -> None:
    for body in ("a", "a,b,c", "a,b,1,0"):
        status, text = oryx.curl(f"curl {CSV} -d '{body}' http://server/ingest")
        assert (status, '"line":1' in text) == (400, True)
    assert oryx.curl(f"curl {CSV} -d 'aBc!' http://server/pref/U1/I1")[0] == 400
    assert oryx.sent() == []


def test_a_read_only_server_refuses_writes_even_bad_ones(start: Start) -> None:
    oryx = start(serving__api__read_only=True)
    for line in (
        "curl -X POST http://server/pref/U1/I1",
        "curl -X DELETE http://server/pref/U1/I1",
        f"curl {CSV} -d 'bad' http://server/ingest",
    ):
        status, body = oryx.curl(line)
        assert (status, "Serving Layer is read-only" in body) == (403, True)
    assert oryx.curl("curl http://server/estimate/U0/I0")[0] == 200


def test_a_context_path_and_a_chain_of_rescorers(start: Start) -> None:
    odd = f"{OddOutProvider.__module__}.OddOutProvider"
    oryx = start(
        serving__api__context_path="/shop", als__rescorer_provider_class=[als_fixture.NAME, odd]
    )
    assert oryx.curl("curl http://server/recommend/U0")[0] == 404
    plain = "curl http://server/shop/recommend/U0"
    assert [row[:2] for row in oryx.curl(plain)[1].split()] == ["I8", "I2", "I6"]
    assert oryx.curl(f"{plain}?rescorerParams=x") == (200, "")


def test_every_query_answers_head_as_get_without_a_body(oryx: Oryx) -> None:
    values = {"user": "U0", "users": "U0", "item": "I1", "items": "I1", "to": "I0"}
    app = oryx.served.app
    paths = [
        rule.build({name: values.get(name, "docs.css") for name in rule.arguments})
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ())
    ]
    built = ["".join(found[1:]) for found in paths if found is not None]
    assert len(built) > 30
    with httpx.Client(base_url=oryx.url, timeout=30) as client:
        for path in built:
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.headers.get("content-type") == get.headers.get("content-type"), path


def test_k_means(tmp_path: Path, run: Callable[..., Any]) -> None:
    settings = test_kmeans.configured(test_kmeans.PLAIN)
    serving = test_kmeans.serving_of(settings, test_kmeans.three())
    app = create_app(settings, Held(serving), None)
    oryx = reached(run(app), tmp_path)
    assert oryx.curl("curl http://server/assign/10,-1.0") == (200, "3")
    assert oryx.curl("curl http://server/distanceToNearest/5,3") == (200, "5.0")
    (tmp_path / "data.csv").write_text("-1.5,0.5\n-1,0\n")
    line = f"curl {CSV} --data-binary @data.csv http://server/assign"
    assert oryx.curl(line) == (200, "4\n4\n")
    assert oryx.curl("curl http://server/assign/10")[0] == 400
    assert oryx.curl("curl -X POST http://server/add/1,2")[0] == 403


def test_the_forest(tmp_path: Path, run: Callable[..., Any]) -> None:
    broker = input_topic()
    app = test_forest_v1.served(broker, classification=True).application
    oryx = reached(run(app), tmp_path)
    status, name = oryx.curl("curl 'http://server/predict/,1.5,red,-2,,'")
    assert (status, name in CLASSES) == (200, True)
    (tmp_path / "data.csv").write_text(",1.5,red,-2,,\n,1.5,red,-2,,\n")
    line = f"curl {CSV} --data-binary @data.csv http://server/predict"
    assert oryx.curl(line) == (200, f"{name}\n{name}\n")
    status, text = oryx.curl("curl 'http://server/classificationDistribution/,1.5,red,-2,,'")
    rows = dict(line.rsplit(",", 1) for line in text.split("\n") if line)
    assert list(rows) == list(CLASSES)
    assert sum(map(float, rows.values())) == pytest.approx(1)
    assert oryx.curl("curl http://server/feature/importance") == (200, "0.5\n0.25\n0.25\n")
    assert oryx.curl("curl http://server/feature/importance/0") == (200, "0.5")
    assert oryx.curl("curl http://server/feature/importance/3")[0] == 400
    assert oryx.curl("curl -X POST 'http://server/train/,1.5,red,-2,,yes'") == (204, "")
    (tmp_path / "data.csv").write_text(",1,red,2,,no\n")
    assert oryx.curl(f"curl {CSV} --data-binary @data.csv http://server/train") == (204, "")
    assert sent_lines(broker) == [",1.5,red,-2,,yes", ",1,red,2,,no"]


def reached(running: Any, folder: Path) -> Oryx:
    return Oryx(f"http://{running.host}:{running.port}", None, folder)
