"""The course of every demo up to the live events: processes, past events, and training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from rich.console import Console

from common.store.generations import Generation, ModelStore
from demo.client import ServingClient
from demo.interrupts import Interrupts
from demo.layers import BATCH, SERVING, SPEED, Layers
from demo.screen import Screen
from demo.story import Story
from demo.workspace import Workspace
from stack.errors import UserError

#: Events of one request while the past is sent.
LINES = 4000
LAYER_SECONDS = 120.0
TRAINING_SECONDS = 900.0
#: What the last events get to become visible.
LAST_SECONDS = 10.0


@dataclass(frozen=True)
class Options:
    """What the user asks for.

    Attributes
    ----------
    ratings : Path or None
        A file of ratings in the place of MovieLens (ALS).
    app : str
        Model family.
    rate : float
        Live events per second.
    events : int or None
        Live events at most; all if None.
    keep : bool
        Leave everything running.
    regression : bool
        Predict a number and not a class (forest).
    """

    ratings: Path | None = None
    app: str = "als"
    rate: float = 280.0
    events: int | None = None
    keep: bool = False
    regression: bool = False


@dataclass(frozen=True)
class Stage:
    """What a demo plays on.

    Attributes
    ----------
    workspace : Workspace
        Its folder, empty.
    layers : Layers
        Its processes, none of which runs yet.
    interrupts : Interrupts
        Keeps signals away while a process is being started.
    """

    workspace: Workspace
    layers: Layers
    interrupts: Interrupts


class Told(Protocol):
    """What has come of a demo."""

    def to_json(self) -> dict[str, object]:
        """Return it as values that JSON knows."""

    def show(self, console: Console) -> None:
        """Print it for people."""


class Play(Protocol):
    """One run of a family's demo."""

    story: Story

    def play(self, screen: Screen) -> Told:
        """Play it to the end; raises UserError if a process ends or refuses something."""


@dataclass(frozen=True)
class Scene:
    """What the layers of a demo are told.

    Attributes
    ----------
    app : str
        Model family.
    route : str
        Takes events.
    events : str
        What they are called.
    conf : str
        The family's tables of the configuration.
    """

    app: str
    route: str
    events: str
    conf: str


class Course:
    """The steps that all demos have.

    Parameters
    ----------
    scene : Scene
        The family.
    stage : Stage
        Folder and processes.
    story : Story
        Where the steps are told.
    """

    def __init__(self, scene: Scene, stage: Stage, story: Story) -> None:
        self.scene = scene
        self.stage = stage
        self.layers = stage.layers
        self.story = story

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Let what happens in the block be told by whoever knows best, and close the client.

        Raises
        ------
        UserError
            If a process has ended: it says more than the one that misses it.
        """
        try:
            yield
        except UserError:
            self.layers.check()
            raise
        finally:
            self.serving.close()

    @cached_property
    def serving(self) -> ServingClient:
        """The serving layer; its address is known when the layers have been started."""
        return ServingClient(self.layers.url, self.scene.route)

    def start(self) -> None:
        """Start the broker, the serving layer and the speed layer."""
        with self.story.step("broker") as step:
            self.layers.start_broker(self.scene.app, self.scene.conf)
            step.note = f"Kafka at {self.layers.broker.address}"
        with self.story.step("serving layer") as step:
            self._launch(SERVING)
            self._launch(SPEED)
            self.layers.wait_for(self._is_serving, "The serving layer", LAYER_SECONDS)
            step.note = self.layers.url

    def send_past(self, lines: Sequence[str]) -> None:
        """Send the events that train the model."""
        with self.story.step(f"past {self.scene.events} in", total=len(lines)) as step:
            for start in range(0, len(lines), LINES):
                chunk = lines[start : start + LINES]
                self.serving.ingest(chunk)
                step.done += len(chunk)
            step.note = f"{step.done:,} events acknowledged"

    def train(self) -> Generation:
        """Run the batch layer until its generation is published."""
        store = ModelStore(str(self.stage.workspace.models))
        found: list[Generation] = []

        def is_trained() -> bool:
            step.note = self.layers.last_message(BATCH) or "starting Spark"
            newest = store.newest()
            if newest is None or not store.is_published(newest.id):
                return False
            found.append(newest)
            return True

        with self.story.step("batch layer") as step:
            self._launch(BATCH, "--once")
            self.layers.wait_for(is_trained, "Training", TRAINING_SECONDS)
            self.layers.release(BATCH)
            step.note = f"generation {found[0].id}"
        return found[0]

    def await_model(self) -> None:
        """Wait until the serving layer has loaded the model."""
        self.layers.wait_for(self.serving.is_ready, "Loading the model", LAYER_SECONDS)

    def await_end_of_batch(self) -> None:
        """Wait for what the batch layer still tidies up: it would slow the live events down."""
        self.layers.wait_for(
            lambda: not self.layers.is_running(BATCH), "The batch layer's end", LAYER_SECONDS
        )

    def n_updates(self) -> int:
        """Return how many updates of the speed layer the served model has taken in."""
        return int(self.serving.status()["model"]["counts"].get("updates", 0))

    def _is_serving(self) -> bool:
        return self.layers.is_listening() and self.serving.is_up()

    def _launch(self, name: str, *arguments: str) -> None:
        with self.stage.interrupts.held():
            self.layers.start(name, *arguments)
