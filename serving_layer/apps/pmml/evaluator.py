"""PMML4S, which pypmml brings: scores documents of other tools, in a Java process beside this one.

pypmml's own start of that process asks for no token, so that anybody on the machine could run
code in it, and does not survive its end; only its jars are used.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any, TypeVar

from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
from py4j.protocol import Py4JError, Py4JJavaError

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0

T = TypeVar("T")


class EvaluatorError(RuntimeError):
    """Java does not start, or a document cannot be loaded or scored; the text says why."""


class ScoreError(EvaluatorError):
    """PMML4S fails over the rows that it was given."""


class _GoneError(EvaluatorError):
    """The Java process is not there any more."""


class Evaluator:
    """One document, loaded.

    All documents of this process share one Java process.  It starts with the first of them,
    listens on loopback alone, and asks for a token; where it has died, the next call starts
    another.

    Parameters
    ----------
    document : str
        PMML that :func:`common.pmml.documents.parse` has let through: PMML4S itself resolves
        external entities, and has no bounds.
    heap : str
        Of the Java process, as ``512m``.
    shared : SharedJava, optional
        Where the process comes from; that of all documents by default.

    Raises
    ------
    EvaluatorError
        If Java does not start, or the document is none that PMML4S can score.
    """

    def __init__(self, document: str, heap: str, shared: SharedJava | None = None) -> None:
        self._document = document
        self._heap = heap
        self._shared = shared or SHARED
        self._java, self._model = self._loaded(None)
        told = self._java.told
        try:
            self.inputs: list[str] = told(self._model.inputNames(), list)
            self.outputs: list[str] = told(self._model.outputNames(), list)
            self.element: str = told(self._model.modelElement(), str)
            self.function: str = told(self._model.functionName(), str)
        except Py4JJavaError as error:
            message = f"PMML4S cannot say what the document scores: {self._java.reason(error)}"
            raise EvaluatorError(message) from error

    def score(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Score rows.

        Parameters
        ----------
        names : sequence of str
            Input fields.
        rows : sequence of sequence of value
            Strings, numbers and booleans in the order of `names`; None is a missing value.

        Returns
        -------
        list of list
            For each row its outputs, in the order of `outputs`; None where the document gives
            no value.

        Raises
        ------
        ScoreError
            If it fails over these rows.
        EvaluatorError
            If Java has ended and does not start again.
        """
        table = json.dumps({"columns": list(names), "data": rows}, allow_nan=False)
        java, model = self._java, self._model
        try:
            text = java.predicted(model, table)
        except _GoneError as error:
            log.warning("%s; another is started", error)
            self._java, self._model = java, model = self._loaded(java)
            text = java.predicted(model, table)
        result = json.loads(text)
        order = [result["columns"].index(name) for name in self.outputs]
        return [[row[column] for column in order] for row in result["data"]]

    def _loaded(self, dead: JavaProcess | None) -> tuple[JavaProcess, Any]:
        java = self._shared.get(self._heap, dead)
        try:
            return java, java.load(self, self._document)
        except Py4JJavaError as error:
            message = f"PMML4S cannot load the document: {java.reason(error)}"
        except Py4JError as error:
            message = f"the Java process ended while it loaded the document: {error}"
        raise EvaluatorError(message)


@dataclass(frozen=True, eq=False)
class JavaProcess:
    """A Java process, and the way to it.

    What Java holds for us is let go of by name.  Left to Python's collector, as is py4j's way,
    it would be said over the network at any moment, and to a process that may have ended.
    """

    process: Popen[bytes]
    gateway: JavaGateway
    _held: list[tuple[weakref.ref[Evaluator], Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def start(cls, heap: str) -> JavaProcess:
        """Start a process with so much heap; raises EvaluatorError where that fails."""
        try:
            port, token, process = launch_gateway(
                classpath=str(_jars() / "*"),
                javaopts=[f"-Xmx{heap}"],
                java_path=_java_path(),
                die_on_exit=True,
                enable_auth=True,
                return_proc=True,
            )
        except (OSError, ValueError) as error:
            message = f"Java does not start: {error}"
            raise EvaluatorError(message) from error
        parameters = GatewayParameters(port=port, auth_token=token, enable_memory_management=False)
        return cls(process, JavaGateway(gateway_parameters=parameters))

    @property
    def n_documents(self) -> int:
        """How many documents Java holds."""
        return len(self._held)

    def load(self, owner: Evaluator, document: str) -> Any:
        """Load a document for as long as its owner lives, and let go of those without one."""
        with self._lock:
            for entry in list(self._held):
                if entry[0]() is None:
                    self._held.remove(entry)
                    self.gateway.detach(entry[1])
            model = self.gateway.jvm.org.pmml4s.model.Model.fromString(document)
            self._held.append((weakref.ref(owner), model))
            return model

    def predicted(self, model: Any, table: str) -> str:
        """Return what PMML4S says of a table of rows."""
        try:
            return str(model.predict(table))
        except Py4JJavaError as error:
            message = f"the rows cannot be scored: {self.reason(error)}"
            raise ScoreError(message) from error
        except Py4JError as error:
            message = f"the Java process that scores has ended: {error}"
            raise _GoneError(message) from error

    def reason(self, error: Py4JJavaError) -> str:
        """Return what Java has thrown: the name of its class, and its text."""
        kind, colon, text = self.told(error.java_exception, str).partition(": ")
        return f"{kind.rpartition('.')[2]}{colon}{text}"

    def told(self, held: Any, read: Callable[[Any], T]) -> T:
        """Read something that Java holds for us, and let go of it."""
        try:
            return read(held)
        finally:
            self.gateway.detach(held)

    def end(self) -> None:
        """End the process."""
        self.gateway.close()
        self.process.kill()
        self.process.wait(STOP_SECONDS)
        if self.process.stdin is not None:
            self.process.stdin.close()


class SharedJava:
    """The one Java process of this process; it starts when the first document comes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._java: JavaProcess | None = None

    @property
    def running(self) -> JavaProcess | None:
        """The process; None where none has been asked for yet."""
        return self._java

    def get(self, heap: str, dead: JavaProcess | None) -> JavaProcess:
        """Return it; another one where it is `dead` or has ended."""
        with self._lock:
            found = self._java
            if found is not None and (found is dead or found.process.poll() is not None):
                self._java = None
                found.end()
            if self._java is None:
                self._java = JavaProcess.start(heap)
            return self._java


#: That of all documents.
SHARED = SharedJava()


def _jars() -> Path:
    # Found, not imported: it would load another way into Java, which is not used.
    spec = importlib.util.find_spec("pypmml")
    if spec is None or spec.origin is None:
        message = "pypmml is not installed; pip install pypmml"
        raise EvaluatorError(message)
    return Path(spec.origin).parent / "jars"


def _java_path() -> str:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(Path(home, "bin", "java") if home else "java")
    if found is None:
        where = f"JAVA_HOME is {home}, which has no bin/java" if home else "no java is on PATH"
        message = f"{where}; install Java 17 or newer, or set JAVA_HOME to it"
        raise FileNotFoundError(message)
    return found
