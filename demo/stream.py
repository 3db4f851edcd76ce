"""A demo whose events are examples: both models are asked before each part, then it is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.store.generations import Generation
from demo.act import Act, LiveEvents
from demo.course import LAST_SECONDS, LAYER_SECONDS, Course, Options, Stage
from demo.live import ASKING_THREADS, Clock, ticks
from demo.next_steps import Kept
from demo.screen import Screen
from demo.stream_summary import StreamSummary
from stack.processes import POLL_SECONDS

#: Updates that have not grown for so long are all that there will be.
QUIET_SECONDS = 1.5


class StreamDemo:
    """One run of an act.

    Parameters
    ----------
    options : Options
        What is asked for.
    stage : Stage
        Folder and processes.
    act : Act
        What is shown.
    started : float
        Monotonic time at which the user started it.
    course : Course, optional
        What leads up to the live events; the act's own on this stage by default.
    quiet_seconds : float
        Updates that have not grown for so long are all that there will be.
    """

    def __init__(
        self,
        options: Options,
        stage: Stage,
        act: Act,
        started: float,
        course: Course | None = None,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        self._options = options
        self._act = act
        self._started = started
        self._layers = stage.layers
        self._workspace = stage.workspace
        self._course = course or Course(act.scene, stage, act.story)
        self._quiet_seconds = quiet_seconds
        self._live = LiveEvents(act)
        self.story = act.story

    def play(self, screen: Screen) -> StreamSummary:
        """Play it to the end.

        Raises
        ------
        UserError
            If a process ends or refuses something.
        """
        with self._course.watched():
            return self._play(screen)

    def _play(self, screen: Screen) -> StreamSummary:
        with ThreadPoolExecutor(ASKING_THREADS) as pool:
            with screen.starting():
                self._course.start()
                self._course.send_past(self._act.past)
                generation = self._course.train()
                first_answer = self._first_answer(generation)
                n_first = self._first_events(pool)
            self._live.started = time.monotonic()
            with screen.playing(self._live):
                self._events(n_first, pool)
                self._live.seconds = time.monotonic() - self._live.started
                self._settle()
        self._act.close()
        self._act.draw(self._workspace.picture)
        return StreamSummary(
            act=self._act,
            kept=Kept(
                self._act.scene.app,
                generation.id,
                str(self._workspace.conf),
                str(self._workspace.picture),
            ),
            acknowledged=len(self._act.past) + self._live.done,
            updates=self._course.n_updates(),
            live_seconds=self._live.seconds or 0.0,
            first_answer_seconds=first_answer,
            url=self._layers.url,
            running=self._options.keep,
        )

    def _first_answer(self, generation: Generation) -> float:
        with self.story.step("first prediction") as step:
            self._course.await_model()
            step.note = self._act.open(generation, self._course.serving)
        return time.monotonic() - self._started

    def _first_events(self, pool: ThreadPoolExecutor) -> int:
        """Send live events, one after the other, until the model has learned of the first."""
        with self.story.step("speed layer") as step:
            self._send(slice(0, 1), pool)
            self._layers.wait_for(
                lambda: self._course.n_updates() > 0, "The first update", LAYER_SECONDS
            )
            self._course.await_end_of_batch()
            step.note = "the first live event is in the model"
        return 1

    def _events(self, n_first: int, pool: ThreadPoolExecutor) -> None:
        rest = len(self._act.live) - n_first
        for part in ticks(rest, self._options.rate, Clock()):
            self._layers.check()
            self._send(slice(part.start + n_first, part.stop + n_first), pool)

    def _send(self, part: slice, pool: ThreadPoolExecutor) -> None:
        self._act.judge(part, pool)
        self._course.serving.ingest(self._act.live[part])
        self._live.done = part.stop

    def _settle(self) -> None:
        """Let the last events arrive in the model, for some seconds at most."""
        deadline = time.monotonic() + LAST_SECONDS
        updates, since = self._course.n_updates(), time.monotonic()
        while time.monotonic() < min(deadline, since + self._quiet_seconds):
            self._layers.check()
            time.sleep(POLL_SECONDS)
            found = self._course.n_updates()
            if found != updates:
                updates, since = found, time.monotonic()


def _kmeans(options: Options, cache: Path) -> Act:
    from demo.kmeans import KMeansAct
    from demo.shuttle import shuttle

    return KMeansAct(shuttle(cache), options.events)


def _forest(options: Options, cache: Path) -> Act:
    from demo.flights import flights
    from demo.forest_delay import DelayAct
    from demo.forest_lateness import LatenessAct

    act = DelayAct if options.regression else LatenessAct
    return act(flights(cache, options.regression), options.events)


#: For each family its act; the data are fetched when it is made.
ACTS: Mapping[str, Callable[[Options, Path], Act]] = {"kmeans": _kmeans, "forest": _forest}
