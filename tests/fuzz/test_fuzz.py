"""A short run of each target: the corpus, what hypothesis makes of it, and some of atheris."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.base.paths import ROOT
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = 150
#: The targets that atheris tries here too, and how long; the others take it by command alone.
GUIDED = ("lines", "json", "compressed", "pmml", "reference")
SECONDS = 1


def seeds(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_read(name: str) -> None:
    inputs = seeds(name)
    assert len(inputs) >= 3
    for data in inputs:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds_and_any_bytes_are_read(name: str) -> None:
    known = seeds(name)

    @settings(max_examples=EXAMPLES)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        seed = data.draw(st.sampled_from([b"", *known]))
        at = data.draw(st.integers(0, len(seed)))
        cut = data.draw(st.integers(0, 8))
        new = data.draw(st.one_of(st.binary(max_size=40), st.sampled_from(known)))
        TARGETS[name](seed[:at] + new + seed[at + cut :])

    run()


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python"
)
def test_guided_by_coverage(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", *GUIDED, "--seconds", str(SECONDS)]
    done = subprocess.run(
        [*command, "--found", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.split(r"^target (\w+)$", done.stderr, flags=re.MULTILINE)
    assert told[1::2] == list(GUIDED)
    assert all("DONE" in one or "Done" in one for one in told[2::2]), done.stderr
