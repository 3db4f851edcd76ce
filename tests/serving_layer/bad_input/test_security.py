"""What hostile files, names and classes can do: nothing."""

from __future__ import annotations

import ast
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.__main__ import main
from common.apps.als.pmml import AlsModel, read_als_pmml, write_als_pmml
from common.base.paths import ROOT
from common.config import ConfigError
from common.pmml.documents import PmmlError
from common.telemetry.logs import OneLine
from serving_layer.apps.als.rescorer import load_providers
from serving_layer.http.replies import respond_ids
from tests.serving_layer.apps.als.fixture import pmml
from tests.serving_layer.bad_input.conftest import AlsServer
from tests.serving_layer.bad_input.test_update_topic import Readers

PACKAGES = ("common", "batch_layer", "speed_layer", "serving_layer", "stack", "demo", "cli")
HOSTILE = ["]]>", "&amp;<a>", "=1+1", '"quoted"', "\u202eevil", "<script>", "a b", "\\"]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that nobody should call."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        found.setblocking(False)
        yield found


def entities(listener: socket.socket) -> list[str]:
    port = listener.getsockname()[1]
    return [
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        f'<!DOCTYPE a [<!ENTITY e SYSTEM "http://127.0.0.1:{port}/">]>',
        f'<!DOCTYPE a SYSTEM "http://127.0.0.1:{port}/a.dtd">',
        f'<!DOCTYPE a [<!ENTITY % e SYSTEM "http://127.0.0.1:{port}/">%e;]>',
    ]


def test_s01_nothing_is_fetched_for_xml(listener: socket.socket) -> None:
    body = pmml().partition("?>")[2]
    for doctype in entities(listener):
        with pytest.raises(PmmlError, match="document type"):
            read_als_pmml(doctype + body)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_s02_entities_do_not_multiply() -> None:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    text = f'<!DOCTYPE a [<!ENTITY e0 "x">{levels}]><PMML>&e9;</PMML>'
    with pytest.raises(PmmlError, match="document type"):
        read_als_pmml(text)


def test_s03_depth_is_bounded() -> None:
    with pytest.raises(PmmlError, match="deeper"):
        read_als_pmml(pmml().replace("</PMML>", "<a>" * 200_000 + "</a>" * 200_000 + "</PMML>"))


def test_s22_a_reference_makes_nobody_call(tmp_path: Path, listener: socket.socket) -> None:
    readers = Readers(tmp_path)
    port = listener.getsockname()[1]
    for scheme in ("http", "https", "ftp", "s3", "hdfs", "gopher"):
        readers.send("MODEL-REF", f"{scheme}://127.0.0.1:{port}/model.pmml")
    for doctype in entities(listener):
        readers.send("MODEL", doctype + pmml().partition("?>")[2])
    codes = [code for code, _ in readers.letters()]
    assert codes == ["ref_denied"] * 6 + ["bad_model"] * 4
    readers.assert_serving()
    with pytest.raises(BlockingIOError):
        listener.accept()


FORBIDDEN_MODULES = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


def forbidden(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").partition(".")[0]}
        else:
            names = set()
        yield from names & FORBIDDEN_MODULES
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                yield node.func.id
            for keyword in node.keywords:
                allowed = isinstance(keyword.value, ast.Constant) and not keyword.value.value
                if keyword.arg in ("shell", "allow_pickle") and not allowed:
                    yield keyword.arg


def test_s05_the_code_unpickles_and_evaluates_nothing() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    found = {
        f"{path.relative_to(ROOT)}: {what}"
        for path in files
        for what in forbidden(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()
    assert list(forbidden(ast.parse("import pickle; eval('1'); f(shell=True)"))) != []


#: Loads a generation as serving and speed do, in a process that ends where something unpickles.
LOADING = """
import os, sys
from pathlib import Path

def watch(event, arguments):
    if event == "pickle.find_class":
        print("unpickled", arguments, file=sys.stderr)
        os._exit(3)

from tests.serving_layer.bad_input.test_update_topic import Readers
sys.addaudithook(watch)
readers = Readers(Path(sys.argv[1]))
readers.assert_serving()
print("served", readers.consumer.generation)
"""


@pytest.mark.slow
def test_s05_loading_a_generation_unpickles_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOADING, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "served 1000\n"), done.stderr


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "builtins.eval", "no.Such"])
def test_s06_a_plug_in_is_a_class_of_the_right_kind_that_the_configuration_names(name: str) -> None:
    with pytest.raises(ConfigError):
        load_providers(name)


def test_s07_an_id_cannot_write_to_the_log() -> None:
    hostile = "u\r\n2026-01-01 INFO forged\x1b[31m\u2028\x85"
    record = logging.LogRecord("x", logging.INFO, "", 0, "user %s", (hostile,), None)
    line = OneLine().format(record)
    assert len(line.splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", line)
    assert "forged" in line


def test_s08_csv_quotes_what_could_be_read_as_more_fields(als_server: AlsServer) -> None:
    app = als_server.served.app
    with app.test_request_context("/"):
        text = respond_ids(["=1+1,2", 'a"b', "c\nd", "plain"]).get_data(as_text=True)
    assert text == '"=1+1,2"\n"a""b"\n"c\nd"\nplain\n'


def test_s10_exported_pmml_escapes_ids() -> None:
    model = AlsModel(
        features=2, implicit=True, regularization=0.1, user_ids=HOSTILE, item_ids=HOSTILE, alpha=1.0
    )
    found = read_als_pmml(write_als_pmml(model))
    assert (list(found.user_ids), list(found.item_ids)) == (HOSTILE, HOSTILE)


def test_s15_the_configuration_is_shown_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = "hunter2-hunter2"
    sets = [
        *("--set", f"broker.sasl_password={secret}"),
        *("--set", f"serving.api.key_password={secret}"),
    ]
    for form in ([], ["--json"], ["--origin"]):
        assert main(["config", "show", *form, *sets]) == 0
        out = capsys.readouterr().out
        assert secret not in out
        assert out.count("***") == 2


def test_s25_what_a_layer_writes_is_for_its_owner(tmp_path: Path) -> None:
    script = (
        "import os, sys; from common.runtime import process; process.keep_files_private();"
        "os.makedirs(sys.argv[1]); open(sys.argv[1] + '/f', 'w').close()"
    )
    folder = tmp_path / "model"
    subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, check=True)
    assert [oct(path.stat().st_mode)[-3:] for path in (folder, folder / "f")] == ["700", "600"]
    for layer in ("batch", "speed", "serving"):
        text = (ROOT / f"{layer}_layer" / "__main__.py").read_text(encoding="utf-8")
        assert "process.keep_files_private()" in text


def test_s26_every_dependency_is_locked_by_its_hash() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    requirements = [
        line for line in text.splitlines() if line and not line.lstrip().startswith("#")
    ]
    assert len(requirements) > 40
    assert [line for line in requirements if "--hash=sha256:" not in line] == []
