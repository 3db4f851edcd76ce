"""The verb bench: one command for all benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.__main__ import main


@pytest.mark.slow
def test_a_benchmark_writes_its_figures_with_the_conditions_and_a_plot(tmp_path: Path) -> None:
    assert main(["bench", "--quick", "--only", "fold_in", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "fold_in.json").read_text(encoding="utf-8"))
    assert {"processor", "load_average", "load_average_after", "versions"} <= set(found)
    whole, one_side = found["figures"][:2]
    assert len(whole["values"]) == 5
    assert whole["median"] > 0
    assert one_side["peer"] == "a NumPy loop"
    assert one_side["ratio"] > 0
    assert (tmp_path / "fold_in.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_benchmark_is_refused_with_the_known_ones(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--only", "nothing", "--out", str(tmp_path)]) == 2
    assert "fold_in" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
