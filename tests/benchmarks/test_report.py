"""What is printed of a benchmark, and what is not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.__main__ import ran
from benchmarks.report import Figure, run


def measure(given: argparse.Namespace) -> Iterator[Figure]:
    yield Figure("size", "rows", [given.rows], notes={"rounds": given.rounds})
    if given.fail:
        message = "a request failed"
        raise RuntimeError(message)


def called(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("rows", 1000), ("rounds", 3), ("fail", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    run("sample", measure, parser, arguments, rows=10, rounds=1)


def test_an_error_leaves_no_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a request failed"):
        called("--fail", "1", "--out", str(tmp_path))
    assert "size" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_quick_run_sets_the_other_options_low_unless_they_are_given(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    called("--out", str(tmp_path))
    assert "size: 1,000 rows; rounds 3" in capsys.readouterr().out
    called("--quick", "--rounds", "2")
    assert "size: 10 rows; rounds 2" in capsys.readouterr().out
    found = json.loads((tmp_path / "sample.json").read_text(encoding="utf-8"))
    assert [figure["median"] for figure in found["figures"]] == [1000]
    assert (tmp_path / "sample.png").read_bytes().startswith(b"\x89PNG")


def test_a_benchmark_that_fails_is_told(tmp_path: Path) -> None:
    assert not ran("no_such_benchmark", tmp_path, quick=True)
