"""File access for the model store: a local folder, or a URI that pyarrow.fs supports."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pyarrow import fs


class StoreFiles(Protocol):
    """The storage operations that a store needs; names are relative to `root`.

    Attributes
    ----------
    root : str
        Folder that contains all files of the store.
    """

    root: str

    def folders(self) -> list[str]:
        """Return the names of the folders in the root; empty if it does not exist."""

    def has(self, name: str) -> bool:
        """Whether the file exists."""

    def read(self, name: str) -> BinaryIO:
        """Open a file for reading; raises OSError if that fails."""

    def write(self, name: str) -> BinaryIO:
        """Open a file for writing; an existing one is replaced."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def remove_folder(self, name: str) -> None:
        """Remove a folder and its content."""


class LocalFiles:
    """Files in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.root = str(folder.resolve())

    def folders(self) -> list[str]:
        """Return the names of the folders in the root; empty if it does not exist."""
        root = Path(self.root)
        return [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []

    def has(self, name: str) -> bool:
        """Whether the file exists."""
        return self._path(name).is_file()

    def read(self, name: str) -> BinaryIO:
        """Open a file for reading; raises OSError if that fails."""
        return self._path(name).open("rb")

    def write(self, name: str) -> BinaryIO:
        """Open a file for writing; an existing one is replaced."""
        return self._path(name).open("wb")

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._path(name).unlink()

    def remove_folder(self, name: str) -> None:
        """Remove a folder and its content."""
        shutil.rmtree(self._path(name))

    def _path(self, name: str) -> Path:
        return Path(self.root, name)


class RemoteFiles:
    """Files below a URI, through pyarrow.fs."""

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._fs = filesystem
        self.root = root

    def folders(self) -> list[str]:
        """Return the names of the folders in the root; empty if it does not exist."""
        from pyarrow import fs

        entries = self._fs.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        return [entry.base_name for entry in entries if entry.type == fs.FileType.Directory]

    def has(self, name: str) -> bool:
        """Whether the file exists."""
        return bool(self._fs.get_file_info(self._path(name)).is_file)

    def read(self, name: str) -> BinaryIO:
        """Open a file for reading; raises OSError if that fails."""
        return cast("BinaryIO", self._fs.open_input_stream(self._path(name)))

    def write(self, name: str) -> BinaryIO:
        """Open a file for writing; an existing one is replaced."""
        self._fs.create_dir(str(PurePosixPath(self._path(name)).parent), recursive=True)
        return cast("BinaryIO", self._fs.open_output_stream(self._path(name)))

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._fs.delete_file(self._path(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder and its content."""
        self._fs.delete_dir(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"


def store_files(location: str) -> StoreFiles:
    """Return the files under a folder or URI.

    Raises
    ------
    ValueError
        If pyarrow.fs does not support the URI.
    """
    if "://" not in location:
        return LocalFiles(Path(location))
    if location.startswith("file://"):
        return LocalFiles(Path(unquote(urlsplit(location).path)))
    # Imported here: a process with a local store saves 30 MB.
    from pyarrow import fs

    return RemoteFiles(*fs.FileSystem.from_uri(location))
