"""Model generations on storage: written aside, made visible atomically, verified when read.

A generation is a folder ``<model_dir>/<id>/`` with the family's files and a ``manifest.json``;
for readers it exists once its manifest exists.  No file is ever unpickled.
"""

from __future__ import annotations

import errno
import hmac
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from common.base.errors import CodedError
from common.base.hashing import sha256_hex, sha256_of_file
from common.store.files import LocalFiles, store_files
from common.store.position import Position
from common.store.signing import read_key, signature

if TYPE_CHECKING:
    from common.config import Storage

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
#: File beside the manifest with its signature, in a store that has a key.
SIGNATURE = "manifest.hmac"
#: File beside the manifest that says that the broker has acknowledged the generation's MODEL.
PUBLISHED = "published"
#: File beside the manifest, written before the generation's first message is sent.
POSITION = "position.json"
#: Bytes; a model's text above this is refused.
MAX_MODEL_BYTES = 512 * 1024 * 1024
#: Folder of generations that are still being written; readers ignore it.
PARTIAL = ".partial"
#: What a file that is not there, or cannot be, says; any other OSError says that the store is away.
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
#: Bytes of a file's name; object stores take no longer ones.
_MAX_NAME_BYTES = 1024


class StoreError(CodedError, RuntimeError):
    """A generation is bad: gone, damaged or forged; the text names the file and the reason.

    A store that does not answer raises OSError instead: this says nothing about the generation,
    and the same call may succeed later.
    """

    CODE = "bad_model"


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``: files, cut, and how the generation was trained.

    Attributes
    ----------
    generation : int
        Its id: milliseconds since 1970 when training started, and always above its parent's id.
    app : str
        The family that built it.
    model_file : str
        Name of the file that MODEL carries (``model.pmml`` for the learning families).
    files : mapping of str to str
        SHA-256 (hex) of each file of the generation by its relative path.
    topic_id : str
        The broker's identity of the input topic that the cut refers to.
    cut : mapping of int to int
        For each input partition the first offset that is *not* part of the training history.
    history_version : int or None
        Delta version of the training history.
    data_range : (int, int) or None
        Oldest and newest Kafka timestamp (ms) in that version.
    created : int
        Milliseconds since 1970 when the manifest was written.
    engine, hyperparameters, metrics, candidates
        How it was trained, its evaluation, and the other candidates.
    parent : int or None
        The previous generation; for a rollback, the generation that was restored.
    configuration_sha256, code_version : str
        Hash of the configuration and version of the code that built it.
    unknown : mapping
        Fields of a later version, which are skipped and kept.
    """

    generation: int
    app: str
    model_file: str
    files: Mapping[str, str]
    topic_id: str
    cut: Mapping[int, int]
    history_version: int | None = None
    data_range: tuple[int, int] | None = None
    created: int = 0
    engine: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    candidates: tuple[Mapping[str, Any], ...] = ()
    parent: int | None = None
    configuration_sha256: str = ""
    code_version: str = ""
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the bytes of ``manifest.json``."""
        found = asdict(self)
        unknown = found.pop("unknown")
        return json.dumps({**unknown, **found}, indent=2, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, where: str = MANIFEST) -> Manifest:
        """Parse ``manifest.json``; raises StoreError if it is malformed."""
        try:
            values = json.loads(data)
            values["cut"] = {
                int(partition): int(offset) for partition, offset in values["cut"].items()
            }
            values["data_range"] = tuple(values["data_range"]) if values["data_range"] else None
            values["candidates"] = tuple(values["candidates"])
            known = {field.name for field in fields(cls)} - {"unknown"}
            unknown = {name: values.pop(name) for name in values.keys() - known}
            return cls(**values, unknown=unknown)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            message = f"{where} is not a manifest: {error}"
            raise StoreError(message) from error


@dataclass(frozen=True)
class Generation:
    """A complete generation in a store, with its manifest."""

    manifest: Manifest
    store: ModelStore
    manifest_sha256: str
    # Verified copies of a remote store's files: nobody else writes where they lie.
    _copies: dict[str, Path] = field(default_factory=dict, repr=False, compare=False)

    @property
    def id(self) -> int:
        """Id of the generation."""
        return self.manifest.generation

    @property
    def reference(self) -> str:
        """The path of its model file, which is the value of a MODEL-REF."""
        return self.store.locate(f"{self.id}/{self.manifest.model_file}")

    def path(self, name: str) -> Path:
        """Return the local path of one of its files, whose SHA-256 has been verified.

        Raises
        ------
        StoreError
            If the manifest does not name the file, or it is gone, or its SHA-256 differs.
        """
        expected = self.manifest.files.get(name)
        if expected is None:
            known = ", ".join(sorted(self.manifest.files))
            message = f"generation {self.id} has no file {name!r} (it has: {known})"
            raise StoreError(message)
        if name in self._copies:
            return self._copies[name]
        path = self.store.fetch(f"{self.id}/{name}")
        with _gone_is_bad(str(path)):
            actual = sha256_of_file(path)
        if actual != expected:
            message = f"{path} is damaged: its SHA-256 is {actual}, the manifest says {expected}"
            raise StoreError(message, "checksum")
        if not self.store.local:
            self._copies[name] = path
        return path

    def check(self) -> None:
        """Verify all files, so that every reader refuses a damaged one, whichever it needs.

        Raises
        ------
        StoreError
            If one is gone or damaged.
        OSError
            If the store does not answer.
        """
        for name in self.manifest.files:
            self.path(name)

    def model_text(self) -> str:
        """Return the model file's text, verified."""
        return self.store.read_model(self.path(self.manifest.model_file))

    @property
    def position(self) -> Position | None:
        """Where its messages begin on the update topic; None where nobody has written it down."""
        return self.store.position(self.id)


class ModelStore:
    """The generations in a local folder or below a URI of pyarrow.fs (S3, HDFS, …).

    On a local disk a generation becomes visible by one rename of its folder.  Object stores cannot
    rename folders: there the manifest is written last, and readers ignore a folder without one.

    Parameters
    ----------
    location : str
        Folder or URI; created with the first generation.
    key : bytes, optional
        Signs the manifests of new generations, and those without its signature are refused.
        A manifest has the SHA-256 of every file, so write access to the store or to the update
        topic is not enough to have another model served: that takes the key.
    max_model_bytes : int
        A model's text above this is refused.
    """

    def __init__(
        self, location: str, key: bytes | None = None, max_model_bytes: int = MAX_MODEL_BYTES
    ) -> None:
        self.location = location
        self._key = key
        self._max_model_bytes = max_model_bytes
        self._files = store_files(location)
        self._root = self._files.root
        self._local = isinstance(self._files, LocalFiles)

    @cached_property
    def _cache(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="gemsbok-store-")

    @classmethod
    def of(cls, storage: Storage) -> ModelStore:
        """Open the store that the configuration names.

        Raises
        ------
        ConfigError
            If the key file cannot be used.
        """
        key = None if storage.key_file is None else read_key(storage.key_file)
        return cls(storage.model_dir, key)

    @property
    def local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return self._local

    @property
    def signed(self) -> bool:
        """Whether generations without a valid signature are rejected."""
        return self._key is not None

    def close(self) -> None:
        """Remove the copies of a remote store's files; its generations cannot be read any more."""
        if not self._local:
            self._cache.cleanup()

    def locate(self, name: str) -> str:
        """Return the full path of `name` under the store's root."""
        return f"{self._root}/{name}"

    def new(self, generation: int) -> Path:
        """Return an empty local folder for the files of a new generation."""
        parent = Path(self._root) / PARTIAL if self._local else Path(self._cache.name)
        folder = parent / str(generation)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def commit(self, folder: Path, manifest: Manifest) -> Generation:
        """Store the files in `folder` as a generation and make it visible.

        Parameters
        ----------
        folder : Path
            A folder from :meth:`new`.
        manifest : Manifest
            The manifest; `files` is filled in here.
        """
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = {path.relative_to(folder).as_posix(): path for path in files}
        manifest = replace(manifest, files={n: sha256_of_file(path) for n, path in names.items()})
        data = manifest.to_json()
        (folder / MANIFEST).write_bytes(data)
        if self._key is not None:
            (folder / SIGNATURE).write_text(signature(self._key, data), encoding="ascii")
            files.append(folder / SIGNATURE)
        if self._local:
            for path in [*files, folder / MANIFEST, folder]:
                _fsync(path)
            folder.rename(self.locate(str(manifest.generation)))
            _fsync(Path(self._root))
        else:
            # The manifest is last: it makes the generation visible.
            for path in [*files, folder / MANIFEST]:
                name = path.relative_to(folder).as_posix()
                self._upload(path, f"{manifest.generation}/{name}")
            shutil.rmtree(folder)
        return Generation(manifest, self, sha256_hex(data))

    def ids(self) -> list[int]:
        """Return the ids of all complete generations, oldest first."""
        folders = [int(name) for name in self._files.folders() if name.isdecimal()]
        return sorted(id_ for id_ in folders if self._files.has(f"{id_}/{MANIFEST}"))

    def get(self, generation: int, manifest_sha256: str | None = None) -> Generation:
        """Open a generation.

        Raises
        ------
        StoreError
            If it does not exist, or its manifest has another hash than expected or no valid
            signature.
        OSError
            If the store does not answer.
        """
        name = f"{generation}/{MANIFEST}"
        if not self._files.has(name):
            message = f"generation {generation} is not in the model store {self.location}"
            raise StoreError(message)
        with _gone_is_bad(self.locate(name)), self._files.read(name) as stream:
            data = stream.read()
        actual_sha256 = sha256_hex(data)
        if manifest_sha256 not in (None, actual_sha256):
            message = f"{self.locate(name)} is not the manifest that was published"
            raise StoreError(message, "checksum")
        if self._key is not None:
            self._check_signature(generation, self._key, data)
        manifest = Manifest.from_json(data, self.locate(name))
        if manifest.generation != generation:
            message = f"{self.locate(name)} says that it is generation {manifest.generation}"
            raise StoreError(message)
        return Generation(manifest, self, actual_sha256)

    def newest(self) -> Generation | None:
        """Open the newest generation; None if the store is empty."""
        ids = self.ids()
        return self.get(ids[-1]) if ids else None

    def remove(self, generation: int) -> None:
        """Remove a generation; its manifest first, so that no reader opens an incomplete one."""
        self._files.remove(f"{generation}/{MANIFEST}")
        self._files.remove_folder(str(generation))

    def discard_partial(self) -> None:
        """Remove the unfinished generations of killed writers."""
        if self._local:
            shutil.rmtree(Path(self._root) / PARTIAL, ignore_errors=True)

    def mark_published(self, generation: int) -> None:
        """Record that the broker has acknowledged this generation on the update topic."""
        with self._files.write(f"{generation}/{PUBLISHED}") as stream:
            stream.write(b"")

    def is_published(self, generation: int) -> bool:
        """Whether :meth:`mark_published` was called for this generation."""
        return self._files.has(f"{generation}/{PUBLISHED}")

    def position(self, generation: int) -> Position | None:
        """Return where a generation's messages begin; None where nobody has written it down."""
        name = f"{generation}/{POSITION}"
        if not self._files.has(name):
            return None
        try:
            with _gone_is_bad(self.locate(name)), self._files.read(name) as stream:
                return Position.from_json(stream.read())
        except (StoreError, ValueError) as error:
            log.warning("%s is passed over: %s", self.locate(name), error)
            return None

    def note_position(self, generation: int, position: Position) -> None:
        """Write down where a generation's messages begin; what is known of this topic stays.

        The first who publishes a generation is right: readers may have begun there already.
        """
        found = self.position(generation)
        if found is not None and found.topic_id == position.topic_id:
            return
        name = f"{generation}/{POSITION}"
        if not self._local:
            with self._files.write(name) as stream:
                stream.write(position.to_json())
            return
        aside = Path(self.locate(f"{name}.new"))
        aside.write_bytes(position.to_json())
        _fsync(aside)
        aside.rename(self.locate(name))
        _fsync(aside.parent)

    def fetch(self, name: str) -> Path:
        """Return a local path of a file; `name` is its path relative to the store's root.

        Raises
        ------
        StoreError
            If the path leads out of the store, or there is no regular file of this name.
        OSError
            If the store does not answer.
        """
        parts = PurePosixPath(name).parts
        lawful = name.isprintable() and len(name.encode()) <= _MAX_NAME_BYTES
        if not parts or name.startswith("/") or ".." in parts or not lawful:
            message = f"{name!r} is not a path inside the model store {self.location}"
            raise StoreError(message, "ref_denied")
        return self._regular(Path(self.locate(name))) if self._local else self._download(name)

    def read_reference(self, reference: str) -> str:
        """Read the model text at the path in a MODEL-REF.

        Raises
        ------
        StoreError
            If the file is outside the store, not a regular file, gone, or too large.
        OSError
            If the store does not answer.
        """
        reference = reference.removeprefix("file://") if self._local else reference
        prefix = f"{self._root}/"
        bare = reference.partition("://")[2] if "://" in reference else reference
        if not bare.startswith(prefix):
            message = f"MODEL-REF {reference!r} lies outside the model store {self.location}"
            raise StoreError(message, "ref_denied")
        return self.read_model(self.fetch(bare[len(prefix) :]))

    def read_model(self, path: Path) -> str:
        """Read a model's file; what is too large is not brought into memory.

        Raises
        ------
        StoreError
            If it is too large, or no text in UTF-8.
        """
        size, limit = path.stat().st_size, self._max_model_bytes
        if size > limit:
            message = f"{path} has {size} bytes; a model of more than {limit} is not read"
            raise StoreError(message)
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            message = f"{path} is not text in UTF-8: {error}"
            raise StoreError(message) from error

    def _check_signature(self, generation: int, key: bytes, manifest: bytes) -> None:
        name = f"{generation}/{SIGNATURE}"
        actual = b""
        if self._files.has(name):
            with self._files.read(name) as stream:
                actual = stream.read(128)
        if not hmac.compare_digest(actual, signature(key, manifest).encode()):
            message = (
                f"{self.locate(name)} is not the signature of our key (batch.storage.key_file)"
            )
            raise StoreError(message, "bad_signature")

    def _regular(self, path: Path) -> Path:
        inside = Path(os.path.realpath(path)) == path
        with _gone_is_bad(str(path)):
            regular = stat.S_ISREG(path.lstat().st_mode)
        if not (inside and regular):
            message = f"{path} is not a regular file inside the model store"
            raise StoreError(message, "ref_denied")
        return path

    def _upload(self, source: Path, name: str) -> None:
        with source.open("rb") as data, self._files.write(name) as sink:
            shutil.copyfileobj(data, sink, 1 << 20)

    def _download(self, name: str) -> Path:
        target = Path(self._cache.name) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # Aside: what is there may be mapped into memory.
        aside = target.with_name(f"{target.name}.new")
        with (
            _gone_is_bad(self.locate(name)),
            self._files.read(name) as data,
            aside.open("wb") as sink,
        ):
            shutil.copyfileobj(data, sink, 1 << 20)
        return aside.rename(target)


@contextmanager
def _gone_is_bad(where: str) -> Iterator[None]:
    """Turn the errors of a file that is not there into StoreError; others pass."""
    try:
        yield
    except OSError as error:
        if not (isinstance(error, FileNotFoundError) or error.errno in _GONE):
            raise
        message = f"{where} cannot be read: {error.strerror or error}"
        raise StoreError(message) from error


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
