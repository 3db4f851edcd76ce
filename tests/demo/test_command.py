"""The verb: its options, and that nothing stays behind when it is interrupted or fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.__main__ import main
from demo import run
from demo.layers import Layers
from demo.play import Demo
from stack.errors import UserError


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A home for the demo; has an entry for each time that all processes were stopped."""
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    calls: list[str] = []

    def stop(self: Layers) -> bool:
        calls.append("stop")
        return False

    monkeypatch.setattr(Layers, "stop", stop)
    return calls


@pytest.fixture
def ratings(tmp_path: Path) -> str:
    path = tmp_path / "own.csv"
    path.write_text("".join(f"u{n % 5},i{n % 9},3,{n + 1}\n" for n in range(200)))
    return str(path)


def failing(error: BaseException) -> object:
    def play(self: Demo, screen: object) -> None:
        raise error

    return play


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "Interrupted; everything is stopped."),
        (UserError("The batch layer ended.", "See batch.log."), 1, "The batch layer ended."),
    ],
)
def test_everything_is_stopped_whatever_happens(
    stopped: list[str],
    ratings: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    told: str,
) -> None:
    monkeypatch.setattr(Demo, "play", failing(error))
    assert main(["demo", "--ratings", ratings]) == code
    # Once at the start for an earlier demo, once at the end.
    assert stopped == ["stop", "stop"]
    captured = capsys.readouterr()
    assert told in captured.out + captured.err
    # The folder is free again.
    assert run.stop() is False


def test_bad_ratings_are_told_before_anything_starts(
    stopped: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("no ratings\n")
    assert main(["demo", "--ratings", str(bad)]) == 1
    assert "bad.csv, line 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--app", "chess"],
        ["--rate", "0"],
        ["--events", "1"],
        ["--app", "kmeans", "--ratings", "own.csv"],
        ["--regression"],
    ],
)
def test_wrong_calls_are_refused(arguments: list[str]) -> None:
    assert main(["demo", *arguments]) == 2


def test_stop_without_a_demo(stopped: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--stop"]) == 0
    assert capsys.readouterr().out == "No demo was running.\n"
