"""Starts the demo in its folder, and stops what it has started."""

from __future__ import annotations

from rich.console import Console

from cli import paths
from cli.demo.data import Ratings, movielens, ratings_file
from cli.demo.interrupts import Interrupts
from cli.demo.layers import Layers
from cli.demo.play import Demo, Options, Stage
from cli.demo.screen import screen_for
from cli.demo.summary import Summary
from cli.demo.workspace import Workspace


def run(options: Options, console: Console, started: float) -> Summary:
    """Run the demo, and stop what it has started unless it is to be kept.

    Parameters
    ----------
    options : Options
        What is asked for.
    console : Console
        Where it is shown.
    started : float
        Monotonic time at which the user started it.

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
            demo = Demo(options, stage, _ratings(options), started)
            summary = demo.play(screen_for(demo.story, console))
        except BaseException:
            with interrupts.held():
                layers.stop()
            raise
        if not options.keep:
            with interrupts.held():
                layers.stop()
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


def _ratings(options: Options) -> Ratings:
    return ratings_file(options.ratings) if options.ratings else movielens(paths.cache_dir())
