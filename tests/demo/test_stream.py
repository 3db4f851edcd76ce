"""The course of a demo of examples: what is asked, sent and told, in which order."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from common.store.generations import Generation
from demo.act import Act
from demo.client import ServingClient
from demo.course import Course, Options, Scene, Stage
from demo.interrupts import Interrupts
from demo.layers import Layers
from demo.screen import screen_for
from demo.story import Story
from demo.stream import StreamDemo
from demo.workspace import Workspace
from stack.errors import UserError

N_LIVE = 40


class Counting(Act):
    """Writes down what it is asked."""

    def __init__(self, log: list[str]) -> None:
        self.scene = Scene("kmeans", "/add", "numbers", "")
        self.story = Story("Numbers", "Free.", "They are counted.")
        self.past = [str(number) for number in range(100)]
        self.live = [f"live {number}" for number in range(N_LIVE)]
        self.log = log
        self.judged = 0

    def open(self, generation: Generation, serving: ServingClient) -> str:
        self.log.append("open")
        return "three"

    def judge(self, part: slice, pool: ThreadPoolExecutor) -> None:
        assert self.judged == part.start
        self.judged = part.stop
        self.log.append("judge")

    def close(self) -> None:
        self.log.append("close")

    def measures(self) -> Mapping[str, tuple[str, str, str]]:
        return {"counted": ("0", str(self.judged), "")}

    def results(self) -> dict[str, Any]:
        return {"counted": self.judged}

    def draw(self, path: Path) -> None:
        path.write_bytes(b"PNG")


class FakeServing:
    """Takes events, and has an update for each."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.lines: list[str] = []
        self.closed = False

    def ingest(self, lines: Sequence[str]) -> None:
        self.log.append("send")
        self.lines += lines

    def close(self) -> None:
        self.closed = True


class FakeLayers:
    """Processes that all run, or of which one has ended."""

    url = "http://127.0.0.1:1"

    def __init__(self) -> None:
        self.ended = False

    def check(self) -> None:
        if self.ended:
            message = "The speed layer ended."
            raise UserError(message)

    def wait_for(self, reached: Callable[[], bool], what: str, timeout_seconds: float) -> None:
        assert reached(), what


class FakeCourse(Course):
    """All steps up to the live events, none of which takes any time."""

    def __init__(self, scene: Scene, stage: Stage, story: Story) -> None:
        super().__init__(scene, stage, story)
        self.log: list[str] = []
        self.serving: Any = FakeServing(self.log)

    def start(self) -> None:
        with self.story.step("broker") as step:
            step.note = "at 1.2.3.4"

    def send_past(self, lines: Sequence[str]) -> None:
        assert len(lines) == 100

    def train(self) -> Any:
        class Trained:
            id = 7

        return Trained()

    def await_model(self) -> None: ...

    def await_end_of_batch(self) -> None: ...

    def n_updates(self) -> int:
        return len(self.serving.lines)


class Played:
    """A demo, and what it works with."""

    def __init__(self, folder: Path) -> None:
        self.act = Counting([])
        self.layers = FakeLayers()
        stage = Stage(Workspace(folder), cast(Layers, self.layers), Interrupts())
        self.course = FakeCourse(self.act.scene, stage, self.act.story)
        options = Options(app="kmeans", rate=400)
        self.demo = StreamDemo(options, stage, self.act, 0.0, self.course, quiet_seconds=0.1)


@pytest.fixture
def prepared(tmp_path: Path) -> Played:
    return Played(tmp_path)


def played(demo: StreamDemo) -> tuple[Any, str]:
    console = Console(file=io.StringIO(), width=100)
    summary = demo.play(screen_for(demo.story, console))
    summary.show(console)
    assert isinstance(console.file, io.StringIO)
    return summary, console.file.getvalue()


def test_every_part_is_judged_before_it_is_sent_and_all_is_told(prepared: Played) -> None:
    summary, told = played(prepared.demo)
    course = prepared.course
    assert course.serving.lines == [f"live {number}" for number in range(N_LIVE)]
    assert course.serving.closed
    asked = prepared.act.log
    assert asked.count("judge") == course.log.count("send") >= 2
    assert (asked[0], asked[-1]) == ("open", "close")
    found = summary.to_json()
    assert found["events"] == {"past": 100, "live": N_LIVE}
    assert (found["acknowledged"], found["updates"]) == (100 + N_LIVE, N_LIVE)
    assert (found["app"], found["generation"], found["counted"]) == ("kmeans", 7, N_LIVE)
    assert json.loads(json.dumps(found)) == found
    assert Path(found["picture"]).read_bytes() == b"PNG"
    for text in (
        "Numbers\nFree.\nThey are counted.\n",
        "broker: 0.0 s  at 1.2.3.4",
        "first prediction: 0.0 s  three",
        "40 of 40 live events",
        "140 of 140 sent",
        "bin/gemsbok demo --app kmeans --keep",
    ):
        assert text in told


def test_a_process_that_ends_ends_the_demo(prepared: Played) -> None:
    prepared.layers.ended = True
    with pytest.raises(UserError, match="The speed layer ended"):
        played(prepared.demo)
    assert prepared.course.serving.closed
