"""What a test does to a process, its files, its disk and its clock.

Processes are the :class:`tests.integration.stack.Layer` objects that the test started: each is
the leader of a group of its own, and only that group is signalled.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.stack import Layer
from tests.waiting import wait_until


def fail_at(failpoint: str, hit: int = 1) -> dict[str, str]:
    """Return the environment by which a layer kills its own group at a failpoint."""
    return {"GEMSBOK_FAILPOINT": f"{failpoint}:{hit}"}


@contextmanager
def paused(layer: Layer) -> Iterator[None]:
    """Stop a layer and its children by SIGSTOP for the length of the block."""
    os.killpg(layer.process.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: state(layer.process.pid) == "T", "the process is stopped")
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(layer.process.pid, signal.SIGCONT)


def state(pid: int) -> str | None:
    """Return the state letter of a process as the kernel tells it; None where it has ended."""
    found = _stat(pid)
    return None if found is None else found[0]


def group_members(group: int) -> list[int]:
    """Return the processes of a group that still run; a zombie has ended."""
    members = []
    for entry in Path("/proc").glob("[0-9]*"):
        found = _stat(int(entry.name))
        if found is not None and found[0] != "Z" and int(found[2]) == group:
            members.append(int(entry.name))
    return members


def _stat(pid: int) -> list[str] | None:
    """Return the fields of a process that follow its name: state, parent, group, …"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def truncate(path: Path, share: float = 0.5) -> int:
    """Cut a file to a share of its bytes; returns how many it lost."""
    size = path.stat().st_size
    kept = int(size * share)
    os.truncate(path, kept)
    return size - kept


def flip(path: Path, seed: int) -> int:
    """Flip one bit of a file; returns the byte's position."""
    draw = random.Random(seed)
    data = bytearray(path.read_bytes())
    at = draw.randrange(len(data))
    data[at] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    return at


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a tmpfs of so many MiB on a new folder for the length of the block."""
    if os.geteuid() != 0:
        pytest.skip("to mount a small disk takes root")
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily, as a process of the test may still hold a file of it.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write a file until its disk has no room left; returns the file."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(65536))
    return path


def shifted_clock(shift: str) -> dict[str, str]:
    """Return the environment by which a process sees another time, such as ``+1d`` or ``-1d``.

    Skips where libfaketime is not installed (on Debian the package ``libfaketime``).
    """
    given = os.environ.get("LIBFAKETIME")
    found = [Path(given)] if given else sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT*"))
    if not found:
        pytest.skip("libfaketime is not installed: apt-get install libfaketime, or LIBFAKETIME")
    # Waiting is by the monotonic clock, which stays as it is.
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": shift,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
