"""The key that signs generations: whoever has it not cannot make one that is served."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path

from common.config_sources import ConfigError

#: Bytes that a key has at least: as many as the hash.
KEY_BYTES = 32


def signature(key: bytes, data: bytes) -> str:
    """HMAC-SHA256 of `data`, as 64 hexadecimal digits."""
    return hmac.new(key, data, hashlib.sha256).hexdigest()


def read_key(path: Path) -> bytes:
    """Read the key that signs manifests.

    Raises
    ------
    ConfigError
        If there is no such file, others may read it, or it is shorter than 32 bytes.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            key = file.read()
    except OSError as error:
        message = f"batch.storage.key_file: {path} cannot be read: {error.strerror}"
        raise ConfigError(message) from error
    if mode & 0o077:
        message = f"batch.storage.key_file: others may read {path}: chmod 600 {path}"
        raise ConfigError(message)
    if len(key) < KEY_BYTES:
        message = (
            f"batch.storage.key_file: {path} has {len(key)} bytes, {KEY_BYTES} are needed: "
            f"head -c {KEY_BYTES} /dev/urandom > {path}"
        )
        raise ConfigError(message)
    return key
