"""Configuration as a user meets it: four sources, clear errors, a reference that is true."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from common import config
from common.config import ConfigError, Section, fingerprint
from common.config.keys import Keys
from common.config.reference import reference_markdown, reference_toml, toml_value
from common.config.sources import key_lines, typed
from common.runtime.configuration import load, load_with_origins, settings_type

ROOT = Path(__file__).resolve().parents[3]
Write = Any


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> Path:
        path = tmp_path / "app.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def refusal(path: Path | None = None, flags: Any = None, environment: Any = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, flags, environment or {})
    return str(caught.value)


def test_flag_beats_environment_beats_file_beats_default(write: Write) -> None:
    path = write("[serving.api]\nport = 1\nthreads = 2\nmax_body_bytes = 2048\n")
    environment = {"GEMSBOK_SERVING__API__PORT": "3", "GEMSBOK_SERVING__API__THREADS": "4"}
    settings, origins = load_with_origins(path, {"serving.api.port": "5"}, environment)
    api = settings.serving.api
    assert (api.port, api.threads, api.max_body_bytes, api.host) == (5, 4, 2048, "127.0.0.1")
    assert origins["serving.api.port"] == "flag"
    assert origins["serving.api.threads"] == "environment variable GEMSBOK_SERVING__API__THREADS"
    assert origins["serving.api.max_body_bytes"] == f"{path}:4"
    assert "serving.api.host" not in origins


def test_the_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMSBOK_ML__SEED", "7")
    assert load().ml.seed == 7
    assert load(environment={}).ml.seed == 1


def test_a_table_given_in_part_keeps_its_other_defaults(write: Write) -> None:
    settings = load(write('[speed.spark]\nmaster = "local[1]"\n'), environment={})
    assert settings.speed.spark.master == "local[1]"
    assert settings.speed.spark.driver_memory == "512m"
    assert settings.batch.spark.driver_memory == "1g"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("id", "42", "42"),
        ("id", "", None),
        ("input_topic.name", "true", "true"),
        ("batch.interval_seconds", "60", 60.0),
        ("batch.interval_seconds", ".5", 0.5),
        ("ml.eval.threshold", "-0.25", -0.25),
        ("ml.eval.threshold", "", None),
        ("serving.api.read_only", "true", True),
        ("input_schema.feature_names", '["a", "b"]', ["a", "b"]),
        ("broker.ssl_ca_file", "/etc/ca.pem", Path("/etc/ca.pem")),
        ("batch.spark.config", '{spark.a = 1, "b" = true}', {"spark.a": "1", "b": "true"}),
        ("batch.spark.config.spark.sql.caseSensitive", "true", {"spark.sql.caseSensitive": "true"}),
    ],
)  # fmt: skip
def test_text_of_a_flag_is_read_by_the_type_of_its_key(key: str, text: str, value: Any) -> None:
    found: Any = load(flags={key: text}, environment={})
    for name in key.partition(".spark.config")[0].split("."):
        found = getattr(found, name)
    assert (found.spark.config if ".spark.config" in key else found) == value


def test_spark_properties_of_all_sources_add_up(write: Write) -> None:
    path = write('[batch.spark.config]\nspark.a = 1\n"spark.b" = "file"\n')
    flags = {"batch.spark.config.spark.b": "flag"}
    environment = {"GEMSBOK_BATCH__SPARK__CONFIG": '{"spark.cD" = "x"}'}
    settings = load(path, flags, environment)
    assert settings.batch.spark.config == {"spark.a": "1", "spark.b": "flag", "spark.cD": "x"}
    assert settings.speed.spark.config == {}


def test_text_cannot_smuggle_in_a_second_key() -> None:
    assert typed("1\napp = 2", float) == "1\napp = 2"


def test_relative_folders_lie_in_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    storage = load(environment={}).batch.storage
    assert (storage.data_dir, storage.model_dir) == (f"{tmp_path}/data", f"{tmp_path}/model")
    flags = {"batch.storage.data_dir": "s3://bucket/x", "batch.storage.model_dir": "/srv/model"}
    storage = load(flags=flags, environment={}).batch.storage
    assert (storage.data_dir, storage.model_dir) == ("s3://bucket/x", "/srv/model")


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("batch.intervall_seconds", "batch.interval_seconds"),
        ("batch.interval-seconds", "batch.interval_seconds"),
        ("bacth.interval_seconds", "batch.interval_seconds"),
        ("serving.api.readOnly", "serving.api.read_only"),
        ("data_dir", "batch.storage.data_dir"),
        ("batch.data_dir", "batch.storage.data_dir"),
        ("input_topic.brokr", "input_topic.broker"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(key: str, wanted: str) -> None:
    assert f"{key} (flag): there is no such key; did you mean {wanted}?" in refusal(
        flags={key: "1"}
    )


def test_an_unknown_environment_variable_names_the_nearest_one() -> None:
    told = refusal(environment={"GEMSBOK_SERVING__API__PROT": "1"})
    assert "GEMSBOK_SERVING__API__PROT" in told
    assert "did you mean GEMSBOK_SERVING__API__PORT?" in told


def test_variables_of_the_starters_are_no_keys() -> None:
    assert load(environment={"GEMSBOK_HOME": "/x", "HOME": "/y"}).app == "als"


def test_an_unknown_table_lists_what_there_is(write: Write) -> None:
    told = refusal(write("[zzz]\nx = 1\n"))
    assert "zzz" in told
    assert "app.toml:1" in told
    assert "input_topic" in told


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("serving.api.port", "99999", "integer 0 to 65535"),
        ("batch.interval_seconds", "0", "number > 0"),
        ("batch.interval_seconds", "inf", "number > 0"),
        ("batch.interval_seconds", "nan", "number > 0"),
        ("batch.interval_seconds", "soon", "number > 0"),
        ("ml.eval.test_fraction", "1.5", "number 0 to 1"),
        ("ml.eval.hyperparam_search", "bayes", "one of random, grid"),
        ("input_schema.feature_names", "[1, 2]", "list of text"),
        ("input_topic.broker", "kafka", "host:port"),
        ("input_topic.name", "a b", "letters, digits"),
        ("batch.spark.driver_memory", "1 GB", "512m"),
        ("batch", "5", "is a table with the keys interval_seconds"),
        ("batch.spark.config", "5", "table of text"),
        ("serving.api.host", "", "text"),
        ("als.hyperparams.lambda", "-1", "number ≥ 0 or list of number ≥ 0"),
    ],
)
def test_a_refused_value_says_what_was_given_and_what_is_allowed(
    key: str, value: str, words: str
) -> None:
    told = refusal(flags={key: value})
    assert told.startswith(f"{key} ")
    assert "(flag): " in told
    assert words in told


def test_every_wrong_key_is_told_at_once_with_its_line(write: Write) -> None:
    path = write(
        '# one\napp = "als"\n\n[batch]\ninterval_seconds = -1\nnope = 1\n\n[ml]\nseed = "x"\n'
    )
    told = refusal(path).splitlines()
    assert len(told) == 3
    for line, place in (("interval_seconds = -1", 5), ("nope", 6), ('seed = "x"', 9)):
        assert any(line in one and f"app.toml:{place})" in one for one in told)


def test_a_secret_is_shown_nowhere() -> None:
    flags = {"broker.sasl_password": "hunter2"}
    settings = load(flags=flags, environment={})
    assert settings.broker.sasl_password is not None
    assert settings.broker.sasl_password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings) + settings.model_dump_json()
    told = refusal(flags={"broker.sasl_password": ["hunter2"]})
    assert "broker.sasl_password = ***" in told
    assert "hunter2" not in told


def test_a_missing_file_and_bad_toml_are_told(tmp_path: Path, write: Write) -> None:
    assert "there is no such file" in refusal(tmp_path / "none.toml")
    assert "cannot be read" in refusal(tmp_path)
    assert "line 2" in refusal(write('app = "als"\nbatch = \n'))
    path = tmp_path / "latin.toml"
    path.write_bytes(b'app = "\xe9"')
    assert "not UTF-8" in refusal(path)


def test_the_two_topics_must_differ() -> None:
    flags = {"input_topic.name": "x", "update_topic.name": "x"}
    assert "are both 'x'" in refusal(flags=flags)
    elsewhere = {**flags, "update_topic.broker": "elsewhere:9092"}
    assert load(flags=elsewhere, environment={}).update_broker == "elsewhere:9092"


def test_an_unknown_family_names_the_nearest_one() -> None:
    told = refusal(flags={"app": "wordcuont"})
    assert "did you mean 'wordcount'?" in told
    assert "als" in told
    assert "cannot be imported" in refusal(flags={"app": "no.such.module"})


@pytest.fixture
def own_family(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("ownpackage.rarity")
    monkeypatch.setitem(sys.modules, "ownpackage.rarity", module)
    monkeypatch.setitem(sys.modules, "ownpackage", types.ModuleType("ownpackage"))
    settings_type.cache_clear()
    return module


class OwnSettings(Section):
    """Rarity."""

    depth: int = Field(ge=1, description="How deep.")


def test_a_module_of_the_users_own_adds_its_section(own_family: Any) -> None:
    own_family.Settings = OwnSettings
    flags = {"app": "ownpackage.rarity", "rarity.depth": "3"}
    assert load(flags=flags, environment={}).section("rarity").depth == 3
    assert "rarity.depth: must be set" in refusal(flags={"app": "ownpackage.rarity"})
    assert "did you mean rarity.depth" in refusal(flags={**flags, "rarity.dept": "3"})


def test_a_module_may_have_no_keys_or_import_the_whole_class(own_family: Any) -> None:
    own_family.Settings = config.Settings
    assert not hasattr(load(flags={"app": "ownpackage.rarity"}, environment={}), "rarity")


def test_a_module_whose_section_is_taken_is_refused(
    own_family: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_family.Settings = OwnSettings
    monkeypatch.setitem(sys.modules, "ownpackage.batch", own_family)
    assert "[batch] of your module is taken" in refusal(flags={"app": "ownpackage.batch"})


def test_fingerprint_follows_the_values_and_not_their_source_nor_secrets(write: Write) -> None:
    by_flag = load(flags={"ml.seed": "2"}, environment={})
    by_file = load(write("[ml]\nseed = 2\n"), environment={})
    assert fingerprint(by_flag) == fingerprint(by_file)
    assert fingerprint(by_flag) != fingerprint(load(environment={}))
    one, two = (load(flags={"broker.sasl_password": p}, environment={}) for p in ("a", "b"))
    assert fingerprint(one) == fingerprint(two)


def test_the_reference_has_every_key_with_its_default(write: Write) -> None:
    text = reference_toml(settings_type())
    keys = Keys.of(settings_type())
    named = re.findall(r"^#(\w+) =", text, re.MULTILINE)
    assert len(named) == len(keys.fields) > 50
    settable = re.sub(r"^#(\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert load(write(settable), environment={}) == load(environment={})


def test_every_key_is_described() -> None:
    keys = Keys.of(settings_type())
    lacking = [path for path, field in keys.fields.items() if not field.description]
    assert len(keys.fields) > 50
    assert lacking == []


def test_the_reference_file_and_page_are_what_the_code_says() -> None:
    assert (ROOT / "conf/reference.toml").read_text(encoding="utf-8") == reference_toml(
        settings_type()
    )
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page.partition("<!-- keys -->\n\n")[2] == reference_markdown(settings_type())


def test_the_examples_load() -> None:
    examples = sorted(set((ROOT / "conf").glob("*.toml")) - {ROOT / "conf/reference.toml"})
    assert len(examples) >= 2
    for path in examples:
        assert load(path, environment={}).app == path.stem


def test_lines_of_quoted_keys_and_inline_tables() -> None:
    text = '[a."b.c"]\nd = { e = 1 }\n\n[x]\n  y.z = "["\n'
    assert key_lines(text) == {
        ("a", "b.c"): 1,
        ("a", "b.c", "d"): 2,
        ("x",): 4,
        ("x", "y", "z"): 5,
    }


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
)


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_toml_values_round_trip(value: Any) -> None:
    assert typed(toml_value(value), Any) == value


@given(st.text(min_size=1))
def test_text_keys_take_any_text(text: str) -> None:
    assert typed(text, str) == text
    assert typed(text, str | None) == text
