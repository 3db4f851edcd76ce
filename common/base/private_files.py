"""Reading files with secrets, which only their owner may read."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


class PrivateFileError(OSError):
    """A file with a secret cannot be read, or is readable by others; the text says which."""


def read_private(path: Path) -> bytes:
    """Return the content of a file that only its owner may read.

    Raises
    ------
    PrivateFileError
        If the file cannot be read, or its group or others have any permission on it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise PrivateFileError(message) from error
    if mode & 0o077:
        message = f"{path} can be read by others (mode {mode:o}): chmod 600 {path}"
        raise PrivateFileError(message)
    return data


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, so that a reader finds the old text or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A file that `mkstemp` makes has mode 600 from its first moment.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
