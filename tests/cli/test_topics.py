"""Verbs topics and ingest."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cli.__main__ import main
from cli.lines import CHUNK_LINES
from common.broker import read_all
from common.broker.memory import MemoryBroker
from common.config import Settings

ADDRESS = "memory://test-topics"
HERE = ("--set", f"input_topic.broker={ADDRESS}", "--set", "app=wordcount")


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    MemoryBroker.forget(ADDRESS)
    yield MemoryBroker.named(ADDRESS)
    MemoryBroker.forget(ADDRESS)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main([*arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_setup_creates_four_topics_once(
    broker: MemoryBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "topics", "setup", *HERE)
    assert code == 0
    assert out.splitlines() == [
        f"input topic gemsbok.input at {ADDRESS}: created, 4 partitions",
        f"update topic gemsbok.update at {ADDRESS}: created, 1 partition",
        f"dead-letter topic gemsbok.input.dlq at {ADDRESS}: created, 1 partition",
        f"dead-letter topic gemsbok.update.dlq at {ADDRESS}: created, 1 partition",
    ]
    _, out, _ = run(capsys, "topics", "setup", "--json", *HERE)
    assert [topic["created"] for topic in json.loads(out)] == [False] * 4
    assert [topic["difference"] for topic in json.loads(out)] == [""] * 4


def test_setup_tells_another_number_of_partitions(
    broker: MemoryBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    broker.create_topic("gemsbok.input", 2)
    code, out, _ = run(capsys, "topics", "setup", *HERE)
    assert code == 0
    assert "exists, 2 partitions; the configuration says 4" in out.splitlines()[0]
    info = broker.topic("gemsbok.input")
    assert info is not None
    assert info.partitions == 2


def test_the_update_topic_takes_the_largest_model_and_keeps_it(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stack.topics import wanted_topics

    settings = Settings.model_validate({"update_topic": {"retention_hours": 2}})
    update = wanted_topics(settings)[1]
    assert update.config["retention.ms"] == "7200000"
    assert int(update.config["max.message.bytes"]) > settings.update_topic.max_size


def test_send_writes_lines_by_the_familys_key_and_tail_shows_them(
    broker: MemoryBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("the fox\n\nthe \x1b[31mdog\nlast")
    run(capsys, "topics", "setup", *HERE)
    code, out, _ = run(capsys, "topics", "send", str(file), *HERE)
    assert (code, out) == (0, "3 lines sent to gemsbok.input.\n")
    code, out, _ = run(capsys, "topics", "tail", "--from-beginning", "--limit", "3", *HERE)
    assert code == 0
    shown = {line.partition("\t")[2] for line in out.splitlines()}
    assert shown == {"the fox", "the \\x1b[31mdog", "last"}
    found = list(read_all(broker.reader("gemsbok.input"), broker.end_offsets("gemsbok.input")))
    from common.apps.wordcount import Lines

    lines, sent = Lines(Settings()), ["the fox", "the \x1b[31mdog", "last"]
    keys = lines.keys(sent, lines.read(pa.array(sent)).columns)
    assert sorted(record.key or b"" for record in found) == sorted(key.encode() for key in keys)


def test_send_keeps_lines_that_the_family_cannot_read(
    broker: MemoryBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines.csv.gz"
    file.write_bytes(gzip.compress(b'u1,i1\n"never closed\n'))
    als = (*HERE[:2], "--set", "app=als")
    run(capsys, "topics", "setup", *als)
    code, out, _ = run(capsys, "topics", "send", str(file), "--json", *als)
    assert code == 0
    assert json.loads(out) == {"topic": "gemsbok.input", "sent": 2}
    assert sum(broker.end_offsets("gemsbok.input").values()) == 2


def test_tail_follows_the_chosen_topic_as_json(
    broker: MemoryBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "topics", "setup", *HERE)
    producer = broker.producer()
    producer.send("gemsbok.input", "k", "event")
    producer.send("gemsbok.update", "UP", "[1]", [("generation", b"7"), ("raw", b"\xff")])
    arguments = ("topics", "tail", "--update", "--from-beginning", "--limit", "1", "--json")
    code, out, _ = run(capsys, *arguments, *HERE)
    assert code == 0
    shown = json.loads(out)
    assert shown.pop("timestamp") > 0
    assert shown == {
        "topic": "gemsbok.update",
        "partition": 0,
        "offset": 0,
        "key": "UP",
        "headers": [["generation", "7"], ["raw", "\ufffd"]],
        "value": "[1]",
    }


def test_tail_shortens_headers(broker: MemoryBroker, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "topics", "setup", *HERE)
    broker.producer().send("gemsbok.update", "MODEL", "<PMML/>", [("sha256", b"0123456789abcdef")])
    arguments = ("topics", "tail", "--update", "--from-beginning", "--limit", "1")
    _, out, _ = run(capsys, *arguments, *HERE)
    assert out.endswith(" MODEL sha256=0123456789ab…\t<PMML/>\n")


def test_an_absent_topic_and_an_absent_file_are_told(
    broker: MemoryBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "topics", "tail", "--input", *HERE)
    assert code == 69
    assert "topics setup" in err
    code, _, err = run(capsys, "topics", "send", str(tmp_path / "none"), *HERE)
    assert code == 1
    assert "none cannot be read: No such file" in err


class Serving(HTTPServer):
    """A serving layer as far as events go."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Ingest)
        self.url = f"http://127.0.0.1:{self.server_port}/base"
        self.bodies: list[str] = []
        self.status = 204


class Ingest(BaseHTTPRequestHandler):
    """Takes what the real one takes, and refuses lines that say so."""

    server: Serving

    def do_POST(self) -> None:
        assert self.path == "/base/ingest"
        assert self.headers["Content-Encoding"] == "gzip"
        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"]))).decode()
        split = body.split("\n")
        if self.server.status == 204 and "bad" not in split:
            self.server.bodies.append(body)
            self.send_response(204)
            self.end_headers()
            return
        error: dict[str, Any] = {"code": "outcome_unknown", "message": "not acknowledged"}
        if "bad" in split:
            error = {"code": "bad_line", "message": "2 tokens", "line": split.index("bad") + 1}
        told = json.dumps({"error": error}).encode()
        self.send_response(400 if "bad" in split else self.server.status)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serving() -> Iterator[Serving]:
    with Serving() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_ingest_sends_all_lines_in_chunks(
    serving: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines.csv"
    more = ["x,0"] * (CHUNK_LINES - 3)
    file.write_bytes("\n".join(["\ufeffa,1\r", "ü,2", "", *more, "c,3", "d,4"]).encode())
    code, out, _ = run(capsys, "ingest", str(file), "--url", serving.url, "--json")
    assert code == 0
    assert json.loads(out)["lines"] == CHUNK_LINES + 1
    assert serving.bodies == ["\n".join(["a,1", "ü,2", "", *more]), "c,3\nd,4"]


def test_ingest_names_the_files_line_that_was_refused(
    serving: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines.csv"
    first = [str(number) for number in range(CHUNK_LINES)]
    file.write_text("\n".join([*first, "4", "bad", "6", "7", ""]))
    code, out, err = run(capsys, "ingest", str(file), "--url", f"{serving.url}/")
    assert (code, out) == (1, "")
    where = f"{file}, line {CHUNK_LINES + 2}: 2 tokens (HTTP 400)"
    assert f"{where}. Lines 1 to {CHUNK_LINES} of {file} were ingested." in err
    assert serving.bodies == ["\n".join(first)]


def test_ingest_tells_when_the_outcome_is_unknown(
    serving: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serving.status = 503
    file = tmp_path / "lines.csv"
    file.write_text("1\n2\n")
    code, _, err = run(capsys, "ingest", str(file), "--url", serving.url)
    assert code == 69
    assert "lines 1 to 2: not acknowledged (HTTP 503). No line before it was sent." in err
    assert "Of lines 1 to 2 some may have been written." in err


def test_ingest_stops_at_what_is_not_utf8(
    serving: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines.csv"
    file.write_bytes(b"1\n2\n\xff\n")
    code, _, err = run(capsys, "ingest", str(file), "--url", serving.url)
    assert code == 1
    assert f"{file}, line 3: not UTF-8" in err
    assert "The lines before it were sent" in err
    assert serving.bodies == ["1\n2"]


def test_ingest_without_a_serving_layer_says_what_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines.csv"
    file.write_text("1\n")
    code, _, err = run(capsys, "ingest", str(file), "--url", "http://127.0.0.1:1")
    assert code == 69
    assert "does not answer" in err
    assert "bin/gemsbok serving" in err
    code, _, err = run(capsys, "ingest", str(file), "--url", "localhost:8080")
    assert code == 1
    assert "is not an address" in err
