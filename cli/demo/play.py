"""The demo's course: past ratings in, training, and the live ratings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cli.demo import picture
from cli.demo.client import ServingClient
from cli.demo.data import Ratings, side_by_side
from cli.demo.freshness import Arrivals
from cli.demo.interrupts import Interrupts
from cli.demo.layers import BATCH, SERVING, SPEED, Layers
from cli.demo.live import Match, spotlights
from cli.demo.scoreboard import FrozenModel, Scoreboard
from cli.demo.screen import Screen
from cli.demo.story import Show, Story
from cli.demo.summary import Counts, Freshness, HitRates, Summary
from cli.demo.workspace import Workspace
from cli.errors import UserError
from cli.processes import POLL_SECONDS
from common.model_store import Generation, ModelStore

PAST_SHARE = 0.8
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
        A file of ratings in the place of MovieLens.
    app : str
        Model family.
    rate : float
        Live events per second.
    events : int or None
        Live events at most; all if None.
    keep : bool
        Leave everything running.
    """

    ratings: Path | None = None
    app: str = "als"
    rate: float = 280.0
    events: int | None = None
    keep: bool = False


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


class Demo:
    """One run of the demo.

    Parameters
    ----------
    options : Options
        What is asked for.
    stage : Stage
        Folder and processes.
    ratings : Ratings
        What is learned from.
    started : float
        Monotonic time at which the user started it.
    """

    def __init__(self, options: Options, stage: Stage, ratings: Ratings, started: float) -> None:
        self._options = options
        self._stage = stage
        self._layers = stage.layers
        self._started = started
        self._past, future = ratings.split(PAST_SHARE)
        self._live = side_by_side(future)[: options.events]
        self._first_seconds = 0.0
        self.story = Story(ratings, len(self._past), len(self._live))

    @cached_property
    def _serving(self) -> ServingClient:
        """The serving layer; its address is known when the layers have been started."""
        return ServingClient(self._layers.url)

    def play(self, screen: Screen) -> Summary:
        """Play it to the end.

        Raises
        ------
        UserError
            If a process ends or refuses something.
        """
        try:
            return self._play(screen)
        except UserError:
            # A process that has died says more than the one that misses it.
            self._layers.check()
            raise
        finally:
            self._serving.close()

    def _play(self, screen: Screen) -> Summary:
        with screen.starting():
            self._start()
            self._send_past()
            generation = self._train()
            frozen = FrozenModel.of(generation, self._past)
            match = self._match(generation, frozen)
            n_first = self._first_events(match, frozen)
        show = match.show
        show.started = time.monotonic()
        show.arrivals.start()
        try:
            with screen.playing(show):
                match.play(self._live[n_first:], self._options.rate, self._layers.check)
                show.seconds = time.monotonic() - show.started
                self._settle(show, frozen)
        finally:
            show.arrivals.close()
        self._draw(show)
        return self._summary(show, show.seconds)

    def _start(self) -> None:
        with self.story.step("broker") as step:
            self._layers.start_broker(self._options.app)
            step.note = f"Kafka at {self._layers.broker.address}"
        with self.story.step("serving layer") as step:
            self._launch(SERVING)
            self._launch(SPEED)
            self._layers.wait_for(self._serving.is_up, "The serving layer", LAYER_SECONDS)
            step.note = self._layers.url

    def _launch(self, name: str, *arguments: str) -> None:
        with self._stage.interrupts.held():
            self._layers.start(name, *arguments)

    def _send_past(self) -> None:
        past = self._past
        with self.story.step("past ratings in", total=len(past)) as step:
            for start in range(0, len(past), LINES):
                chunk = past[start : start + LINES]
                self._serving.ingest([rating.line() for rating in chunk])
                step.done += len(chunk)
            step.note = f"{step.done:,} events acknowledged"

    def _train(self) -> Generation:
        store = ModelStore(str(self._stage.workspace.models))
        found: list[Generation] = []

        def is_trained() -> bool:
            step.note = self._layers.last_message(BATCH) or "starting Spark"
            newest = store.newest()
            if newest is None or not store.is_published(newest.id):
                return False
            found.append(newest)
            return True

        with self.story.step("batch layer") as step:
            self._launch(BATCH, "--once")
            self._layers.wait_for(is_trained, "Training", TRAINING_SECONDS)
            self._layers.release(BATCH)
            step.note = f"generation {found[0].id}"
        with self.story.step("first recommendation") as step:
            self._layers.wait_for(self._serving.is_ready, "Loading the model", LAYER_SECONDS)
            step.note = self._first_recommendation()
            self._first_seconds = time.monotonic() - self._started
        return found[0]

    def _first_recommendation(self) -> str:
        user = self._past[-1].user
        titles = map(self.story.ratings.title, self._serving.recommend(user) or ())
        return f"user {user}: {next(titles, 'nothing')}"

    def _match(self, generation: Generation, frozen: FrozenModel) -> Match:
        title = self.story.ratings.title
        show = Show(
            total=len(self._live),
            board=Scoreboard(),
            arrivals=Arrivals(self._serving.recommend),
            generation=generation.id,
            spotlights=spotlights(self._live, frozen, title),
            title=title,
        )
        return Match(frozen, self._serving, show)

    def _first_events(self, match: Match, frozen: FrozenModel) -> int:
        """Send the first live events, and wait until the speed layer has folded them in.

        They end with the first one of an item that the model knows: nothing can become visible
        by the others.  Freshness is not measured with them: the speed layer is still starting.
        """
        known = [frozen.knows_item(event.item) for event in self._live]
        if True not in known:
            message = "No item of the live ratings was there before: nothing can be learned."
            raise UserError(message, "Give ratings whose items recur over time.")
        n_first = known.index(True) + 1
        first = self._live[:n_first]
        with self.story.step("speed layer") as step:
            match.judge(first)
            match.send(first)
            for event in first:
                match.show.arrivals.leave_out(event.user)
            last = first[-1]
            self._layers.wait_for(
                lambda: self._serving.knows(last.user, last.item), "The first update", LAYER_SECONDS
            )
            # What the batch layer still tidies up would slow the live events down.
            self._layers.wait_for(self._batch_has_ended, "The batch layer's end", LAYER_SECONDS)
            step.note = "the first live event is in the model"
        return n_first

    def _batch_has_ended(self) -> bool:
        return not self._layers.is_running(BATCH)

    def _settle(self, show: Show, frozen: FrozenModel) -> None:
        """Let the last events arrive in the model, for some seconds at most."""
        last = next(event for event in reversed(self._live) if frozen.knows_item(event.item))
        deadline = time.monotonic() + LAST_SECONDS
        while time.monotonic() < deadline:
            if not show.arrivals.n_missing and self._serving.knows(last.user, last.item):
                break
            self._layers.check()
            time.sleep(POLL_SECONDS)

    def _draw(self, show: Show) -> None:
        seconds = [arrival.seconds for arrival in show.arrivals.seen]
        path = self._stage.workspace.picture
        picture.draw(show.board, seconds, path, self.story.ratings.name)

    def _summary(self, show: Show, live_seconds: float) -> Summary:
        ratings, arrivals, workspace = self.story.ratings, show.arrivals, self._stage.workspace
        counts = self._serving.status()["model"]["counts"]
        return Summary(
            ratings=ratings.name,
            licence=ratings.licence,
            app=self._options.app,
            generation=show.generation,
            events=Counts(
                past=len(self._past),
                live=len(show.board),
                acknowledged=len(self._past) + show.acknowledged,
                updates=counts.get("updates", 0),
            ),
            hit_rate=HitRates.of(show.board),
            freshness=Freshness(
                newcomers=len(arrivals.seen),
                not_visible=arrivals.n_missing,
                p50_seconds=arrivals.percentile(50),
                p95_seconds=arrivals.percentile(95),
            ),
            live_seconds=live_seconds,
            first_recommendation_seconds=self._first_seconds,
            picture=str(workspace.picture),
            conf=str(workspace.conf),
            url=self._layers.url,
            running=self._options.keep,
        )
