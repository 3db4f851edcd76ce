"""Jars of Spark's connectors and of the broker: resolved once, pinned by SHA-256.

Ivy, which comes inside pyspark, resolves them from Maven Central alone (or from
``$GEMSBOK_MAVEN_MIRROR``) into the state folder. It never reads a Maven or Ivy
cache of the user's: a pom without its jar there would break the resolution.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.sax.saxutils import quoteattr

from common.base.hashing import sha256_of_file
from stack import paths
from stack.errors import EXIT_UNAVAILABLE, UserError
from stack.java import java_path

STAMP = "jars.lock"
RETRY = "Check the network (GEMSBOK_MAVEN_MIRROR names a mirror) and call `bin/gemsbok` again."

# The Spark set leaves out what pyspark ships. The broker's set is apart from it,
# because it has another version of kafka-clients.
JAR_SETS: dict[str, tuple[str, ...]] = {
    "spark": (
        "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0",
        "io.delta:delta-spark_4.2_2.13:4.4.0",
    ),
    "kafka": (
        "org.apache.kafka:kafka_2.13:4.3.0",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
    ),
}

# Only the tests need these: a jar that holds PMML's XML schema. It comes alone, without the
# jars that its classes depend on.
TEST_JAR_SETS: dict[str, tuple[str, ...]] = {"pmml-schema": ("org.jpmml:pmml-model:1.7.8",)}


def main(arguments: list[str] | None = None) -> int:
    """Resolve the jars that are missing; with ``lock``, pin what is resolved now."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given == ["lock"]:
            write_lock()
        else:
            ensure()
    except UserError as error:
        print(f"gemsbok: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def ensure(jar_sets: Iterable[str] = JAR_SETS) -> None:
    """Bring each set of jars to what the lock file says; quick when it is there already.

    Raises
    ------
    UserError
        A jar cannot be had, or is not the one that the lock file pins.
    """
    for jar_set in jar_sets:
        if not is_complete(jar_set):
            print(f"gemsbok: Resolving the {jar_set} jars", file=sys.stderr, flush=True)
            install(jar_set)


def is_complete(jar_set: str, lock: Path = paths.JARS_LOCK) -> bool:
    """Whether the set was installed and verified by this very lock file."""
    stamp = paths.jars_dir(jar_set) / STAMP
    return stamp.exists() and stamp.read_bytes() == lock.read_bytes()


def jar_files(jar_set: str, lock: Path = paths.JARS_LOCK) -> list[Path]:
    """Return the set's jars, sorted.

    Raises
    ------
    UserError
        The set has not been installed.
    """
    if not is_complete(jar_set, lock):
        msg = f"The {jar_set} jars are not installed."
        raise UserError(msg, RETRY, EXIT_UNAVAILABLE)
    return sorted(paths.jars_dir(jar_set).glob("*.jar"))


def verify(jar_set: str, folder: Path, lock: Path = paths.JARS_LOCK) -> list[str]:
    """Compare the jars in `folder` with the lock file.

    Returns
    -------
    list of str
        One line for each jar that is missing, changed or not in the lock file.
    """
    pinned = read_lock(lock).get(jar_set, {})
    present = {path.name: path for path in folder.glob("*.jar")}
    problems = [f"{name} is missing" for name in sorted(pinned.keys() - present.keys())]
    problems += [f"{name} is not in jars.lock" for name in sorted(present.keys() - pinned.keys())]
    for name in sorted(pinned.keys() & present.keys()):
        found = sha256_of_file(present[name])
        if found != pinned[name]:
            problems.append(f"{name} has SHA-256 {found}, and jars.lock pins {pinned[name]}")
    return problems


def read_lock(lock: Path = paths.JARS_LOCK) -> dict[str, dict[str, str]]:
    """Return the lock file as set name -> file name -> SHA-256."""
    pinned: dict[str, dict[str, str]] = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            jar_set, digest, name = line.split()
            pinned.setdefault(jar_set, {})[name] = digest
    return pinned


def write_lock() -> None:
    """Resolve all sets and pin them; for a change of versions."""
    lines = ["# Made by `python -m stack.jars lock`: set, SHA-256, file name."]
    for jar_set in JAR_SETS | TEST_JAR_SETS:
        with _workplace() as work:
            for jar in sorted(resolve_by_ivy(jar_set, Path(work)).glob("*.jar")):
                lines.append(f"{jar_set} {sha256_of_file(jar)} {jar.name}")
    paths.JARS_LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")


def install(
    jar_set: str,
    lock: Path = paths.JARS_LOCK,
    resolve: Callable[[str, Path], Path] | None = None,
) -> None:
    """Resolve aside, verify, and move into place, so that a half-done set is never seen.

    Parameters
    ----------
    jar_set : str
        Which.
    lock : Path
        Pins it.
    resolve : callable, optional
        Takes the set and a folder, and returns the folder of its jars; asks Ivy by default.

    Raises
    ------
    UserError
        A jar cannot be had, or is not the one that the lock file pins.
    """
    with _workplace() as work:
        resolved = (resolve or resolve_by_ivy)(jar_set, Path(work))
        problems = verify(jar_set, resolved, lock)
        if problems:
            # What Ivy has kept is not what was pinned: the next try must download it anew.
            shutil.rmtree(_ivy_cache(), ignore_errors=True)
            msg = f"The {jar_set} jars do not match jars.lock: {'; '.join(problems)}."
            raise UserError(
                msg,
                RETRY,
                EXIT_UNAVAILABLE,
            )
        shutil.copyfile(lock, resolved / STAMP)
        target = paths.jars_dir(jar_set)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(Path(work) / "replaced")
        resolved.rename(target)


def _workplace() -> tempfile.TemporaryDirectory[str]:
    # In the state folder, not in /tmp: a rename must not cross file systems.
    paths.cache_dir().mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="jars-", dir=paths.cache_dir())


def _ivy_cache() -> Path:
    return paths.cache_dir() / "ivy"


def resolve_by_ivy(jar_set: str, work: Path) -> Path:
    """Let Ivy put the set's jars into ``work/jars``, and return that folder."""
    settings, module, target = work / "ivysettings.xml", work / "ivy.xml", work / "jars"
    settings.write_text(settings_xml(os.environ.get("GEMSBOK_MAVEN_MIRROR", "")), encoding="utf-8")
    module.write_text(_module_xml(jar_set), encoding="utf-8")
    command = [str(java_path()), "-XX:TieredStopAtLevel=1", f"-Duser.home={work}"]
    command += ["-cp", str(_ivy_jar()), "org.apache.ivy.Main", "-warn"]
    command += ["-settings", str(settings), "-ivy", str(module), "-cache", str(_ivy_cache())]
    command += ["-confs", "default", "-types", "jar", "bundle"]
    command += ["-retrieve", f"{target}/[artifact]-[revision](-[classifier]).[ext]"]
    done = subprocess.run(
        command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        log = paths.cache_dir() / f"ivy-{jar_set}.log"
        log.write_text(done.stdout, encoding="utf-8")
        what = f"The {jar_set} jars cannot be resolved: {_reason(done.stdout)}. All of it: {log}"
        raise UserError(what, RETRY, EXIT_UNAVAILABLE)
    return target


def _reason(output: str) -> str:
    """Pick the line of Ivy's output that names the trouble."""
    told = [line.strip(" :\t") for line in output.splitlines()]
    marks = ("Server access error", "download failed", "not found", "Exception")
    return next((line for mark in marks for line in told if mark in line), "Ivy failed")


def settings_xml(mirror: str) -> str:
    """Return Ivy's settings: one resolver, Maven Central or its mirror."""
    root = f" root={quoteattr(mirror.rstrip('/') + '/')}" if mirror else ""
    return (
        '<ivysettings><settings defaultResolver="central"/><resolvers>'
        f'<ibiblio name="central" m2compatible="true" usepoms="true"{root}/>'
        "</resolvers></ivysettings>\n"
    )


def _module_xml(jar_set: str) -> str:
    lines = ['<ivy-module version="2.0">', f'<info organisation="gemsbok" module="{jar_set}"/>']
    lines += ['<configurations><conf name="default"/></configurations>', "<dependencies>"]
    transitive = "false" if jar_set in TEST_JAR_SETS else "true"
    for coordinates in (JAR_SETS | TEST_JAR_SETS)[jar_set]:
        organisation, name, version = coordinates.split(":")
        lines.append(
            f'<dependency org="{organisation}" name="{name}" rev="{version}"'
            f' conf="default->default" transitive="{transitive}"/>'
        )
    if jar_set == "spark":
        shipped = module_names(path.name for path in pyspark_jars().glob("*.jar"))
        lines += [f'<exclude module="{name}"/>' for name in shipped]
    return "\n".join([*lines, "</dependencies>", "</ivy-module>", ""])


def module_names(file_names: Iterable[str]) -> list[str]:
    """Return the module names in jar file names: a ``-`` and a digit begin the version.

    >>> module_names(["hive-shims-2.3.10.jar", "algebra_2.13-2.8.0.jar"])
    ['algebra_2.13', 'hive-shims']
    """
    return sorted({re.sub(r"-\d.*|\.jar$", "", name) for name in file_names})


def pyspark_jars() -> Path:
    """Return the folder of the jars that pyspark ships."""
    # Found, not imported: importing pyspark takes most of a second.
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        msg = "pyspark is not installed."
        raise UserError(msg, "Remove .venv and call `bin/gemsbok` again.", EXIT_UNAVAILABLE)
    return Path(spec.origin).parent / "jars"


def _ivy_jar() -> Path:
    return next(pyspark_jars().glob("ivy-*.jar"))


if __name__ == "__main__":
    sys.exit(main())
