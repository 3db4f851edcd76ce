"""Starts the demo in its folder, and stops what it has started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from cli import paths
from cli.demo.data import Ratings, movielens, ratings_file
from cli.demo.interrupts import Interrupts
from cli.demo.layers import Layers
from cli.demo.play import Demo, Options, Stage
from cli.demo.screen import screen_for
from cli.demo.summary import Summary
from cli.demo.workspace import Workspace


@dataclass(frozen=True)
class Teller:
    """Who shows what happens.

    Attributes
    ----------
    console : Console
        Where it is shown.
    on_summary : callable
        Gets the summary as soon as there is one, before everything is stopped.
    """

    console: Console
    on_summary: Callable[[Summary], None]


def run(options: Options, teller: Teller, started: float) -> Summary:
    """Run the demo, and stop what it has started unless it is to be kept.

    Parameters
    ----------
    options : Options
        What is asked for.
    teller : Teller
        Shows it.
    started : float
        Monotonic time at which the user started it.

    Returns
    -------
    Summary
        When everything is stopped, unless it is to be kept.

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
            summary = demo.play(screen_for(demo.story, teller.console))
            teller.on_summary(summary)
        except BaseException:
            _stop(layers, interrupts, teller.console)
            raise
        if not options.keep:
            _stop(layers, interrupts, teller.console)
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


def _ratings(options: Options) -> Ratings:
    return ratings_file(options.ratings) if options.ratings else movielens(paths.cache_dir())
