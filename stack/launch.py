"""The command lines that start the layers."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from common.base.paths import ROOT, home
from stack.errors import EXIT_UNAVAILABLE, UserError
from stack.identity import children

if TYPE_CHECKING:
    from common.config import Settings

ByPython = Annotated[
    bool, typer.Option("--python", help="Start it by Python alone, without spark-submit.")
]


@dataclass(frozen=True)
class Launch:
    """A command and the environment variables that it needs beside the present ones.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    variables : mapping
        The variables.
    script : str, optional
        The driver's Python program, where the command is spark-submit's.
    """

    command: Sequence[str]
    variables: Mapping[str, str]
    script: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of the new process."""
        return {**os.environ, **self.variables}

    def __str__(self) -> str:
        """Return lines that can be copied to a shell."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.variables.items()]
        lines = [[shlex.quote(self.command[0])]]
        for word in self.command[1:]:
            # An option on a line of its own, with its value.
            if word.startswith("-") or not lines[-1][-1].startswith("-"):
                lines.append([])
            lines[-1].append(shlex.quote(word))
        return " \\\n  ".join([*variables, *map(" ".join, lines)])

    def show(self) -> None:
        """Print the command to standard error."""
        print(self, file=sys.stderr, flush=True)

    def exec(self) -> NoReturn:
        """Become this process."""
        os.execvpe(self.command[0], list(self.command), self.environment)

    def supervise(self) -> int:
        """Run spark-submit to its end, and stop the driver when this process is told to stop.

        spark-submit is a Java process that starts the driver's Python.  Told to stop itself,
        as Ctrl-C would, it takes Spark away from the driver at once, and does not stop it.

        Returns
        -------
        int
            The driver's exit code; 128 + n where signal n has ended spark-submit.
        """
        process = subprocess.Popen(self.command, env=self.environment, start_new_session=True)

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop(process.pid))
        code = process.wait()
        return code if code >= 0 else 128 - code

    def stop(self, pid: int) -> None:
        """Tell the driver that the spark-submit of this number has started to stop.

        It is told by its script from spark-submit's other children: Python's workers, and
        commands by which Hadoop asks about files.  Before there is one, spark-submit is told.
        """
        for found in children(pid, self.script) or [pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found, signal.SIGTERM)


def layer_arguments(conf: Path | None, sets: Sequence[str] | None) -> list[str]:
    """Return the arguments by which a layer finds the same configuration."""
    arguments = ["--conf", str(conf.absolute())] if conf else []
    for one in sets or ():
        arguments += ["--set", one]
    return arguments


def by_python(layer: str, arguments: Sequence[str]) -> Launch:
    """Return how to start a layer by Python alone.

    Parameters
    ----------
    layer : str
        ``batch``, ``speed`` or ``serving``.
    arguments : sequence of str
        The layer's own arguments.
    """
    # A folder of the user's that is named `common` must not be imported.
    safe = ["-P"] if sys.version_info >= (3, 11) else []
    return Launch([sys.executable, *safe, "-m", f"{layer}_layer", *arguments], _variables())


def run_on_spark(
    layer: str, settings: Settings, arguments: Sequence[str], python: bool
) -> NoReturn:
    """Run the batch or speed layer in the foreground, and leave with its exit code.

    Raises
    ------
    UserError
        If the family has no such layer, or Spark's jars are not there.
    """
    from common.runtime.families import has_layer
    from common.runtime.spark import SparkSetupError

    if not has_layer(settings.app, layer):
        message = f'app = "{settings.app}" has no {layer} layer: it is for serving alone.'
        raise UserError(message, "Start it by `bin/gemsbok serving`.")

    if python:
        by_python(layer, arguments).exec()
    try:
        launch = by_spark_submit(layer, settings, arguments)
    except SparkSetupError as error:
        raise UserError(str(error), exit_code=EXIT_UNAVAILABLE) from None
    launch.show()
    raise typer.Exit(launch.supervise())


def by_spark_submit(layer: str, settings: Settings, arguments: Sequence[str]) -> Launch:
    """Return how to start the batch or speed layer by spark-submit.

    The properties are those that the layer would set itself: spark-submit must have them
    before the driver's Java process starts.
    """
    from common.runtime.spark import spark_properties

    table = settings.batch.spark if layer == "batch" else settings.speed.spark
    properties = spark_properties(table, application_name(layer, settings), home())
    command = [str(spark_home() / "bin" / "spark-submit")]
    command += ["--master", properties.pop("spark.master")]
    command += ["--name", properties.pop("spark.app.name")]
    for name, value in properties.items():
        command += ["--conf", f"{name}={value}"]
    script = str(ROOT / f"{layer}_layer" / "__main__.py")
    command += [script, *arguments]
    spark = {"SPARK_HOME": str(spark_home()), "PYSPARK_PYTHON": sys.executable}
    return Launch(command, {**_variables(), **spark}, script)


def application_name(layer: str, settings: Settings) -> str:
    """Return a layer's name in Spark's logs and on the cluster."""
    return f"gemsbok-{layer}-{settings.id or settings.app}"


def spark_home() -> Path:
    """Return the folder of the Spark that came with pyspark, without importing it."""
    found = importlib.util.find_spec("pyspark")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _variables() -> dict[str, str]:
    path = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    # Folders that the starters have put there already need not be there twice.
    entries = [entry for entry in dict.fromkeys(path) if entry]
    return {"GEMSBOK_HOME": str(home()), "PYTHONPATH": os.pathsep.join(entries)}
