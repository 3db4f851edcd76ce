"""Signs manifests; generations without a valid signature are rejected."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from common.base.private_files import PrivateFileError, read_private
from common.config.sources import ConfigError

#: Smallest length of a key: the length of the hash.
KEY_BYTES = 32


def signature(key: bytes, data: bytes) -> str:
    """Return the HMAC-SHA256 of `data`, as 64 hexadecimal digits."""
    return hmac.new(key, data, hashlib.sha256).hexdigest()


def read_key(path: Path) -> bytes:
    """Read the key that signs manifests.

    Raises
    ------
    ConfigError
        If the file does not exist, others may read it, or it is shorter than 32 bytes.
    """
    try:
        key = read_private(path)
    except PrivateFileError as error:
        message = f"batch.storage.key_file: {error}"
        raise ConfigError(message) from error
    if len(key) < KEY_BYTES:
        message = (
            f"batch.storage.key_file: {path} has {len(key)} bytes, {KEY_BYTES} are needed: "
            f"head -c {KEY_BYTES} /dev/urandom > {path}"
        )
        raise ConfigError(message)
    return key
