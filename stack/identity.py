"""Which process a number stands for: when it started, what it runs, which ones it has started.

Read from ``/proc`` where there is one, and from ``ps`` elsewhere.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def start_mark(pid: int) -> str | None:
    """Return when the process started, in a form of the system's own; None if it has ended."""
    if not _has_proc():
        return _ps("lstart=", "-p", str(pid)).strip() or None
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else fields[19]


def command_line(pid: int) -> str:
    """Return the process's command line; empty when it has ended, reaped or not."""
    if not _has_proc():
        return _ps("command=", "-ww", "-p", str(pid))
    return b" ".join(_words(pid)).decode(errors="replace")


def children(pid: int, script: str | None = None) -> list[int]:
    """Return the numbers of the processes that the process has started and that still run.

    Parameters
    ----------
    pid : int
        The process.
    script : str, optional
        Only those that run this Python program.
    """
    if not _has_proc():
        pairs = [line.split() for line in _ps("pid=,ppid=", "-A").splitlines()]
    else:
        found = [entry.name for entry in Path("/proc").glob("[0-9]*")]
        pairs = [[name, fields[1]] for name in found if (fields := _stat(int(name)))]
    numbers = [int(child) for child, parent in pairs if int(parent) == pid]
    return [child for child in numbers if script is None or _runs(child, script)]


def _runs(pid: int, script: str) -> bool:
    if not _has_proc():
        return f" {script}" in _ps("args=", "-p", str(pid)).partition(" -")[0]
    return _words(pid)[1:2] == [os.fsencode(script)]


def _words(pid: int) -> list[bytes]:
    """Return the words of the process's command line; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/<pid>/stat`` from the state (third) on; None if it ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name before them is in brackets and may have brackets and blanks.
    return stat.rpartition(")")[2].split()


def _ps(columns: str, *which: str) -> str:
    command = ["ps", "-o", columns, *which]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
