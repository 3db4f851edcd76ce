"""The demo's processes: a broker of its own and the three layers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from demo.workspace import Workspace
from stack import ports
from stack.configuration import settings_of
from stack.errors import EXIT_UNAVAILABLE, UserError
from stack.files import last_lines
from stack.launch import Launch, by_python, layer_arguments
from stack.layers import LISTENING
from stack.local_kafka import DEFAULT_PORT, LocalKafka, PortTakenError
from stack.processes import POLL_SECONDS, Background
from stack.topics import create_topics

SERVING_PORT = 8080
BATCH, SPEED, SERVING = NAMES = ("batch", "speed", "serving")
STOP_SECONDS = 20.0


class Layers:
    """Starts, watches and stops them; they are found again by the workspace's folder.

    Parameters
    ----------
    workspace : Workspace
        Holds their configuration, data, process files and logs.
    launch : callable
        Takes a layer's name and arguments, and says how it is started.
    broker : LocalKafka, optional
        The one of the workspace by default.
    """

    def __init__(
        self,
        workspace: Workspace,
        launch: Callable[[str, Sequence[str]], Launch] = by_python,
        broker: LocalKafka | None = None,
    ) -> None:
        self._workspace = workspace
        self._launch = launch
        self._processes = {name: Background(workspace.folder, name) for name in NAMES}
        self._expected: set[str] = set()
        self._serving_port = SERVING_PORT
        self.broker = broker or LocalKafka(workspace.folder)

    @property
    def url(self) -> str:
        """Address of the serving layer."""
        return f"http://{ports.LOOPBACK}:{self._serving_port}"

    def start_broker(self, app: str, conf: str = "") -> None:
        """Start the broker, configure the layers for it, and make their topics.

        Parameters
        ----------
        app : str
            Model family.
        conf : str
            Its tables of the configuration.

        Raises
        ------
        UserError
            If it does not come up.
        """
        self.broker.port = ports.preferred(DEFAULT_PORT)
        try:
            self.broker.start()
        except PortTakenError:
            # Another broker was started at the same moment.
            self.broker.port = 0
            self.broker.start()
        self._serving_port = ports.preferred(SERVING_PORT)
        self._workspace.write_conf(app, self.broker.address, self._serving_port, conf)
        create_topics(settings_of(self._workspace.conf))

    def start(self, name: str, *arguments: str) -> None:
        """Start a layer; `arguments` follow those that name its configuration."""
        launch = self._launch(name, [*layer_arguments(self._workspace.conf, None), *arguments])
        environment = {**self._workspace.environment(), **launch.variables}
        url = self.url if name == SERVING else ""
        self._processes[name].start(launch.command, environment, url)
        self._expected.add(name)

    def is_running(self, name: str) -> bool:
        """Whether a layer's process lives."""
        return self._processes[name].find() is not None

    def is_listening(self) -> bool:
        """Whether it is this serving layer, and no other, that has the port."""
        return self._processes[SERVING].has_logged(LISTENING)

    def last_message(self, name: str) -> str:
        """Return what a layer has logged last; empty before it has logged anything."""
        log = last_lines(self._processes[name].log, count=50)
        messages = re.findall(rf" INFO {name}_layer\S*: (.*)", log)
        return messages[-1] if messages else ""

    def release(self, name: str) -> None:
        """Take note that a layer has done its work and may end."""
        self._expected.discard(name)

    def check(self) -> None:
        """See that everything that was started still runs.

        Raises
        ------
        UserError
            If something has ended: with the last lines of its log, and where that is.
        """
        for name in sorted(self._expected):
            if not self.is_running(name):
                raise self._processes[name].failure()
        if not self.broker.is_running():
            message = "The demo's broker ended."
            raise UserError(message, f"See {self.broker.log}.", EXIT_UNAVAILABLE)

    def wait_for(self, reached: Callable[[], bool], what: str, timeout_seconds: float) -> None:
        """Wait until `reached` says so, watching the processes meanwhile.

        Raises
        ------
        UserError
            If a process ends, or it takes too long.
        """
        deadline = time.monotonic() + timeout_seconds
        while not reached():
            self.check()
            if time.monotonic() > deadline:
                message = f"{what} took more than {timeout_seconds:.0f} s."
                remedy = f"See the logs in {self.broker.log.parent}."
                raise UserError(message, remedy, EXIT_UNAVAILABLE)
            time.sleep(POLL_SECONDS)

    def stop(self) -> bool:
        """Stop the layers, all at once, and then the broker; False when nothing ran."""
        self._expected.clear()
        with ThreadPoolExecutor(len(NAMES)) as pool:
            stopping = [pool.submit(one.stop, STOP_SECONDS) for one in self._processes.values()]
        stopped = [future.result() for future in stopping]
        return self.broker.stop() or any(stopped)
