"""Starts the demo in its folder, and stops what it has started."""

from __future__ import annotations

from rich.console import Console

from demo.course import Options, Play, Stage, Told
from demo.data import Ratings, movielens, ratings_file
from demo.interrupts import Interrupts
from demo.layers import Layers
from demo.screen import screen_for
from demo.workspace import Workspace
from stack import paths


def run(options: Options, console: Console, started: float) -> Told:
    """Run the demo, and stop what it has started unless it is to be kept.

    Parameters
    ----------
    options : Options
        What is asked for.
    console : Console
        Where it is shown.
    started : float
        Monotonic time at which the user started it.

    Returns
    -------
    Told
        What came of it, when everything is stopped, unless it is to be kept.

    Raises
    ------
    UserError
        If something fails; nothing is left running.
    KeyboardInterrupt
        If it is interrupted; nothing is left running.
    """
    workspace = Workspace(paths.home() / "demo")
    with workspace.claimed(), Interrupts() as interrupts:
        layers = Layers(workspace)
        with interrupts.held():
            layers.stop()
            workspace.clear()
        stage = Stage(workspace, layers, interrupts)
        try:
            play = _play(options, stage, started)
            summary = play.play(screen_for(play.story, console))
            summary.show(console)
        except BaseException:
            _stop(layers, interrupts, console)
            raise
        if not options.keep:
            _stop(layers, interrupts, console)
    return summary


def stop() -> bool:
    """Stop what a demo has left running; False when there was nothing.

    Raises
    ------
    UserError
        If a demo is under way.
    """
    workspace = Workspace(paths.home() / "demo")
    with workspace.claimed():
        return Layers(workspace).stop()


def _stop(layers: Layers, interrupts: Interrupts, console: Console) -> None:
    with interrupts.held(), console.status("Stopping …"):
        layers.stop()


def _play(options: Options, stage: Stage, started: float) -> Play:
    """Return the demo of a family, with its data."""
    if options.app == "als":
        from demo.play import Demo

        return Demo(options, stage, _ratings(options), started)
    from demo.stream import ACTS, StreamDemo

    return StreamDemo(options, stage, ACTS[options.app](options, paths.cache_dir()), started)


def _ratings(options: Options) -> Ratings:
    return ratings_file(options.ratings) if options.ratings else movielens(paths.cache_dir())
