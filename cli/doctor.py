"""Verb ``doctor``: whether this machine has what Gemsbok needs, and what to do where not."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import typer

from cli.output import print_json, readable_bytes
from stack import jars, java, paths, ports
from stack.errors import UserError
from stack.local_kafka import DEFAULT_PORT, LocalKafka

SERVING_PORT = 8080
MINIMUM_FREE_BYTES = 2 * 1024**3
MINIMUM_PYTHON = (3, 10)
REINSTALL = "Remove .venv and call `bin/gemsbok` again."


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, whether it is right, and the remedy if not."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def doctor(
    broker: Annotated[
        str, typer.Option(help="Broker to reach, host:port; by default the embedded one.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this machine and the installation; exit code 1 when something failed."""
    checks = list(run_checks(broker))
    failed = any(not check.ok for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [_fields(check) for check in checks]})
    else:
        _print(checks)
    raise typer.Exit(1 if failed else 0)


def run_checks(broker: str = "") -> Iterator[Check]:
    """Yield the findings one by one.

    Parameters
    ----------
    broker
        Address of the broker to reach, ``host:port``; empty for the embedded one.
    """
    yield check_python()
    yield check_java()
    yield check_packages()
    for jar_set in jars.JAR_SETS:
        yield check_jars(jar_set)
    yield check_versions()
    embedded = LocalKafka(paths.home())
    yield check_broker(broker, embedded)
    yield check_port("broker port", DEFAULT_PORT, embedded)
    yield check_port("serving port", SERVING_PORT, embedded)
    yield check_disk()


def check_python() -> Check:
    """Check the version of the Python that runs this."""
    found = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= MINIMUM_PYTHON
    return Check("python", ok, f"{found} at {sys.executable}", "Install Python 3.10 or newer.")


def check_java() -> Check:
    """Check Java's version, and that it has the module that Spark needs."""
    try:
        found = java.inspect(java.java_path())
    except (UserError, OSError) as error:
        return Check("java", False, getattr(error, "message", str(error)), java.REMEDY)
    lack = "" if found.has_module else f", without the module {java.REQUIRED_MODULE}"
    ok = found.version >= java.MINIMUM_VERSION and found.has_module
    return Check("java", ok, f"{found.version} at {found.path}{lack}", java.REMEDY)


def check_packages() -> Check:
    """Check the installed packages against the lock file."""
    wrong = []
    for name, version in locked_versions().items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != version:
            wrong.append(f"{name} is {found}, locked is {version}")
    return Check("packages", not wrong, "; ".join(wrong) or "as in requirements.lock", REINSTALL)


def locked_versions() -> dict[str, str]:
    """Return name -> version of the lock file's packages that belong on this machine."""
    from packaging.requirements import Requirement

    versions = {}
    for line in paths.REQUIREMENTS_LOCK.read_text(encoding="utf-8").splitlines():
        if re.match(r"[\w.-]+==", line):
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                versions[requirement.name] = str(requirement.specifier).removeprefix("==")
    return versions


def check_jars(jar_set: str) -> Check:
    """Check each jar of the set by its SHA-256."""
    folder = paths.jars_dir(jar_set)
    problems = jars.verify(jar_set, folder)
    found = "; ".join(problems) or f"as in jars.lock, at {folder}"
    return Check(
        f"{jar_set} jars", not problems, found, f"Remove {folder} and call `bin/gemsbok` again."
    )


def check_versions() -> Check:
    """Check that the connector was published for the Spark that is installed."""
    spark = importlib.metadata.version("pyspark")
    connector = jars.JAR_SETS["spark"][0].rsplit(":", 1)[1]
    found = f"Spark {spark}, Kafka connector {connector}"
    return Check("versions", spark == connector, found, REINSTALL)


def check_broker(address: str, embedded: LocalKafka) -> Check:
    """Check that the broker accepts connections; none given and none started is no failure."""
    if not address and not embedded.is_running():
        return Check("broker", True, "the embedded broker is not running, and no other was named")
    address = address or embedded.address
    remedy = f"See that a broker listens at {address}, or start one: `bin/gemsbok kafka start`."
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        return Check("broker", False, f"{address!r} is not host:port", "Give it as host:port.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        return Check("broker", False, f"{address}: {error}", remedy)
    return Check("broker", True, f"{address} accepts connections")


def check_port(name: str, port: int, embedded: LocalKafka) -> Check:
    """Check that the port is free, or taken by the embedded broker itself."""
    if ports.is_free(port):
        return Check(name, True, f"{port} is free")
    if embedded.is_running() and embedded.address.endswith(f":{port}"):
        return Check(name, True, f"{port} is the embedded broker's")
    remedy = "Stop that process, or take another port by --port or the configuration."
    return Check(name, False, f"{port} is taken by {ports.owner(port)}", remedy)


def check_disk() -> Check:
    """Check the free space where the state folder lies."""
    folder = paths.home()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{readable_bytes(free)} free at {folder}"
    return Check(
        "disk", free >= MINIMUM_FREE_BYTES, found, "Free some space, or move GEMSBOK_HOME."
    )


def _fields(check: Check) -> dict[str, str | bool]:
    return asdict(check if not check.ok else replace(check, remedy=""))


def _print(checks: list[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = _mark(check.ok)
        print(f"{mark}  {check.name:<{width}}  {check.found}")
        if not check.ok:
            print(f"{'':6}  {'':<{width}}  {check.remedy}")


def _mark(ok: bool) -> str:
    word = "ok    " if ok else "failed"
    style: Callable[..., str] = typer.style
    return style(word, fg="green" if ok else "red") if sys.stdout.isatty() else word
