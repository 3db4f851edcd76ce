"""``gemsbok config``, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.__main__ import main
from common.config.reference import reference_markdown, reference_toml
from common.runtime.configuration import settings_type

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "app.toml"
    path.write_text('app = "wordcount"\n\n[batch]\ninterval_seconds = 60\n', encoding="utf-8")
    return path


def test_show_prints_every_key_with_its_value(conf: Path, capsys: Captured) -> None:
    assert main(["config", "show", "--conf", str(conf), "--set", "ml.seed=7"]) == 0
    rows = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert len(rows) > 50
    assert rows["app"] == '"wordcount"'
    assert rows["batch.interval_seconds"] == "60.0"
    assert rows["ml.seed"] == "7"
    assert rows["id"] == "not set"


def test_show_says_where_each_value_was_given(
    conf: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMSBOK_SERVING__API__PORT", "8081")
    flags = ["--set", "ml.seed=7", "--set", "batch.spark.config.spark.x=1"]
    assert main(["config", "show", "--conf", str(conf), "--origin", "--json", *flags]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["batch.interval_seconds"] == {"value": 60.0, "origin": f"{conf}:4"}
    assert shown["ml.seed"] == {"value": 7, "origin": "flag"}
    assert shown["serving.api.port"] == {
        "value": 8081,
        "origin": "environment variable GEMSBOK_SERVING__API__PORT",
    }
    assert shown["batch.spark.config"] == {"value": {"spark.x": "1"}, "origin": "flag"}
    assert shown["id"] == {"value": None, "origin": "default"}


def test_show_hides_secrets(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMSBOK_BROKER__SASL_PASSWORD", "hunter2")
    assert main(["config", "show"]) == 0
    out = capsys.readouterr().out
    assert 'broker.sasl_password\t"***"' in out
    assert "hunter2" not in out


def test_check_of_a_good_file_is_one_line(conf: Path, capsys: Captured) -> None:
    assert main(["config", "check", "--conf", str(conf)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("OK: app wordcount, 2 values given")
    assert out.count("\n") == 1


def test_check_tells_every_mistake_and_ends_with_2(conf: Path, capsys: Captured) -> None:
    conf.write_text('[batch]\ninterval = 1\n\n[ml]\nseed = "x"\n', encoding="utf-8")
    assert main(["config", "check", "--conf", str(conf)]) == 2
    told = capsys.readouterr().err
    assert f"batch.interval ({conf}:2): there is no such key" in told
    assert f'ml.seed = "x" ({conf}:5): allowed: integer' in told


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("ml.seed", "--set ml.seed: is not KEY=VALUE"),
        ("=3", "--set =3: is not KEY=VALUE"),
        ("input_schema.num_features=3", "input_schema does not say what the features are"),
        ("app=alss", "did you mean 'als'?"),
    ],
)
def test_check_of_wrong_flags(flag: str, words: str, capsys: Captured) -> None:
    assert main(["config", "check", "--set", flag]) == 2
    assert words in capsys.readouterr().err


def test_the_variable_names_the_file(
    conf: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMSBOK_CONF", str(conf))
    assert main(["config", "check"]) == 0
    assert "app wordcount" in capsys.readouterr().out


def test_reference_is_printed_as_toml_or_tables(capsys: Captured) -> None:
    assert main(["config", "reference"]) == 0
    assert capsys.readouterr().out == reference_toml(settings_type())
    assert main(["config", "reference", "--markdown"]) == 0
    assert capsys.readouterr().out == reference_markdown(settings_type())
