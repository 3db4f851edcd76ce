"""The demo of ALS: past ratings in, training, and the live ratings."""

from __future__ import annotations

import time

from common.store.generations import Generation
from demo import picture
from demo.client import ServingClient
from demo.course import LAST_SECONDS, LAYER_SECONDS, Course, Options, Scene, Stage
from demo.data import Ratings, side_by_side
from demo.freshness import Arrivals
from demo.live import Match, spotlights
from demo.panel import RatingsView
from demo.scoreboard import PAGE, FrozenModel, Scoreboard
from demo.screen import Screen
from demo.show import Show
from demo.story import Story
from demo.summary import Counts, Freshness, HitRates, Summary
from stack.errors import UserError
from stack.processes import POLL_SECONDS

PAST_SHARE = 0.8
CONF = """
[als.hyperparams]
features = 30
lambda = 0.01
"""
SCENE = Scene("als", "/ingest", "ratings", CONF)


def story_of(ratings: Ratings, n_past: int, n_live: int) -> Story:
    """Return what is told before the live ratings."""
    n_users = len({rating.user for rating in ratings.rows})
    heading = (
        f"Gemsbok learns from {ratings.name}: {len(ratings.rows):,} ratings by {n_users:,} users"
    )
    plan = (
        f"The oldest {n_past:,} train a model; then {n_live:,} more come live, their "
        f"users side by side. Before each one two models are asked for {PAGE} items: the frozen "
        "one is as it was trained, the updated one is what the serving layer has by then."
    )
    return Story(heading, ratings.licence, plan)


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
        self._ratings = ratings
        self._past, future = ratings.split(PAST_SHARE)
        self._live = side_by_side(future)[: options.events]
        self._first_seconds = 0.0
        self.story = story_of(ratings, len(self._past), len(self._live))
        self._course = Course(SCENE, stage, self.story)

    @property
    def _serving(self) -> ServingClient:
        return self._course.serving

    def play(self, screen: Screen) -> Summary:
        """Play it to the end.

        Raises
        ------
        UserError
            If a process ends or refuses something.
        """
        with self._course.watched():
            return self._play(screen)

    def _play(self, screen: Screen) -> Summary:
        with screen.starting():
            self._course.start()
            self._course.send_past([rating.line() for rating in self._past])
            generation = self._course.train()
            self._recommend()
            frozen = FrozenModel.of(generation, self._past)
            match = self._match(generation, frozen)
            n_first = self._first_events(match, frozen)
        show = match.show
        show.started = time.monotonic()
        show.arrivals.start()
        try:
            with screen.playing(RatingsView(show)):
                match.play(self._live[n_first:], self._options.rate, self._layers.check)
                show.seconds = time.monotonic() - show.started
                self._settle(show, frozen)
        finally:
            show.arrivals.close()
        self._draw(show)
        return self._summary(show, show.seconds)

    def _recommend(self) -> None:
        with self.story.step("first recommendation") as step:
            self._course.await_model()
            step.note = self._first_recommendation()
            self._first_seconds = time.monotonic() - self._started

    def _first_recommendation(self) -> str:
        user = self._past[-1].user
        titles = map(self._ratings.title, self._serving.recommend(user) or ())
        return f"user {user}: {next(titles, 'nothing')}"

    def _match(self, generation: Generation, frozen: FrozenModel) -> Match:
        title = self._ratings.title
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
            self._course.await_end_of_batch()
            step.note = "the first live event is in the model"
        return n_first

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
        picture.draw(show.board, seconds, path, self._ratings.name)

    def _summary(self, show: Show, live_seconds: float) -> Summary:
        ratings, arrivals, workspace = self._ratings, show.arrivals, self._stage.workspace
        return Summary(
            ratings=ratings.name,
            licence=ratings.licence,
            app=self._options.app,
            generation=show.generation,
            events=Counts(
                past=len(self._past),
                live=len(show.board),
                acknowledged=len(self._past) + show.acknowledged,
                updates=self._course.n_updates(),
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
