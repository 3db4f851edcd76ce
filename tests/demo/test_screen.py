"""What is shown: on terminals of several sizes, and as plain lines."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from demo import picture
from demo.data import Rating, Ratings
from demo.freshness import Arrival
from demo.panel import RatingsView, gain, show_panel
from demo.play import story_of
from demo.scoreboard import Rates
from demo.screen import PlainScreen, TerminalScreen, screen_for
from demo.show import Show, Spotlight
from demo.story import Story
from tests.demo.fakes import FakeServing, show_of

TITLE = "A title that is rather long, as those of films can be, Part"


@pytest.fixture
def story() -> Story:
    rows = [Rating("u1", "i1", 5.0, 1), Rating("u2", "i1", 4.0, 2)]
    return story_of(Ratings("Films", rows, {}, "May be used."), n_past=1, n_live=1)


@pytest.fixture
def show() -> Show:
    made = show_of(40, FakeServing([]))
    made.title = lambda item: f"{TITLE} {item}"
    for number in range(20):
        made.board.add("i", ["i"] if number < 5 else [], ["i"] if number < 10 else [], number < 8)
    made.arrivals.seen.append(Arrival("812", 0.74, ["1", "2", "3", "4", "5"]))
    old, new = f"{TITLE} 1", f"{TITLE} 2"
    made.spotlights = [Spotlight(str(user), [old] * 3, [old, new, new], 3) for user in range(3)]
    return made


def console(width: int = 80, height: int = 24, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=terminal)


def text_of(one: Console) -> str:
    assert isinstance(one.file, io.StringIO)
    return one.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_events_fit_a_terminal(show: Show, width: int) -> None:
    one = console(width, terminal=False)
    one.print(show_panel(show))
    lines = text_of(one).splitlines()
    # All of them and the cursor's.
    assert 15 < len(lines) < 24
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "20/40" in text
    assert "25.0 %   50.0 %  +100 %" in text
    assert "User 812 did not exist; 0.7 s after a first event:" in text
    assert "p50 0.74 s" in text
    assert text.count(TITLE[:20]) >= 10


def test_nothing_is_shown_too_early() -> None:
    one = console(terminal=False)
    one.print(show_panel(show_of(5, FakeServing([]))))
    assert "No new user yet." in text_of(one)


def test_a_terminal_gets_what_is_done_and_where_it_stands(story: Story) -> None:
    one = console()
    screen = screen_for(story, one)
    assert isinstance(screen, TerminalScreen)
    with screen.starting():
        with story.step("broker") as step:
            step.note = "at 1.2.3.4"
        story.begin("past", total=4).done = 2
    text = text_of(one)
    assert "Gemsbok learns from Films: 2 ratings by 2 users" in text
    assert "May be used." in text
    assert "at 1.2.3.4" in text
    assert "past" in text


def test_without_a_terminal_there_are_plain_lines(story: Story, show: Show) -> None:
    one = console(terminal=False)
    screen = screen_for(story, one)
    assert isinstance(screen, PlainScreen)
    with screen.starting(), story.step("broker") as step:
        step.note = "at 1.2.3.4"
    with screen.playing(RatingsView(show)):
        pass
    lines = text_of(one).splitlines()
    assert "\x1b" not in text_of(one)
    assert len([line for line in lines if line.startswith("broker: 0.0 s  at 1.2.3.4")]) == 1
    assert [line for line in lines if line.startswith("20 of 40 live events")]
    assert lines[-1].startswith("User 812 did not exist")


def test_gain_over_nothing_is_not_told() -> None:
    assert gain(Rates(0.0, 0.1)) == ""
    assert gain(Rates(0.1, 0.05)) == "-50 %"


@pytest.mark.parametrize("seconds", [[], [0.3, 0.4, 2.0]])
def test_the_picture_is_drawn(show: Show, tmp_path: Path, seconds: list[float]) -> None:
    path = tmp_path / "new" / "picture.png"
    picture.draw(show.board, seconds, path, "Films")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
