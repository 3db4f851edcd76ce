"""The key that signs generations."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import ConfigError
from common.store.signing import read_key, signature


def test_signatures_are_those_of_the_standard() -> None:
    # RFC 4231, case 2.
    assert signature(b"Jefe", b"what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_a_key_is_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(path)
    path.write_bytes(b"k" * 31)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="31 bytes, 32 are needed"):
        read_key(path)
    path.write_bytes(b"k" * 32)
    assert read_key(path) == b"k" * 32
