"""The demo's own folder: its data, models and logs, apart from everything of the user's."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stack.errors import EXIT_UNAVAILABLE, UserError

_CONF = """\
# Written by `bin/gemsbok demo` at each start.
app = "{app}"
id = "demo"

[input_topic]
broker = "{broker}"
name = "demo.input"

[update_topic]
name = "demo.update"

[batch.storage]
data_dir = "{folder}/data"
model_dir = "{folder}/model"

# In short runs compiling for the highest speed takes longer than it saves.
[batch.spark.config]
"spark.driver.extraJavaOptions" = "{java}"
"spark.sql.warehouse.dir" = "{folder}/spark"

[speed.spark.config]
"spark.driver.extraJavaOptions" = "{java}"
"spark.sql.warehouse.dir" = "{folder}/spark"

[serving.api]
port = {port}
{tables}"""
_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@dataclass(frozen=True)
class Workspace:
    """The folder and what is in it.

    Attributes
    ----------
    folder : Path
        Holds everything that the demo writes, and is emptied when one starts.
    """

    folder: Path

    @property
    def conf(self) -> Path:
        """The configuration file of the demo's layers."""
        return self.folder / "demo.toml"

    @property
    def picture(self) -> Path:
        """Where the serving layer's first page looks for it."""
        return self.folder / "freshness.png"

    @property
    def models(self) -> Path:
        """The model store."""
        return self.folder / "model"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other demos out while this one works with the folder.

        Raises
        ------
        UserError
            If another one does.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = "Another demo is running, with the same folder."
                remedy = "End it by Ctrl-C where it runs, or give this one another GEMSBOK_HOME."
                raise UserError(message, remedy, EXIT_UNAVAILABLE) from None
            yield

    def clear(self) -> None:
        """Remove what an earlier demo has left."""
        for entry in self.folder.iterdir():
            if entry == self._lock:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def write_conf(self, app: str, broker: str, port: int, tables: str = "") -> None:
        """Write the layers' configuration.

        Parameters
        ----------
        app : str
            Model family.
        broker : str
            ``host:port`` of the demo's broker.
        port : int
            Where its serving layer is to listen.
        tables : str
            The family's own.
        """
        text = _CONF.format(
            app=app, broker=broker, port=port, folder=self.folder, java=_JAVA, tables=tables
        )
        self.conf.write_text(text, encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Return the environment of the demo's layers: without the user's own configuration.

        A variable such as ``GEMSBOK_INPUT_TOPIC__BROKER`` would win over the demo's file.
        """
        kept = ("GEMSBOK_HOME",)
        return {
            name: value
            for name, value in os.environ.items()
            if name in kept or not name.startswith("GEMSBOK_")
        }

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"
