from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import fs

from common.store.files import LocalFiles, RemoteFiles, StoreFiles, store_files


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_files_and_folders(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "store"
    files: StoreFiles = LocalFiles(root)
    if kind == "remote":
        files = RemoteFiles(fs.LocalFileSystem(), str(root))
    assert (files.root, files.folders()) == (str(root), [])
    (root / "1").mkdir(parents=True)
    (root / "file").touch()
    with files.write("1/a") as stream:
        stream.write(b"abc")
    with files.read("1/a") as stream:
        assert stream.read(2) == b"ab"
    assert [files.has(name) for name in ("1/a", "1/b", "1")] == [True, False, False]
    assert files.folders() == ["1"]
    files.remove("1/a")
    assert not files.has("1/a")
    files.remove_folder("1")
    assert files.folders() == []
    with pytest.raises(OSError, match="1/a"):
        files.read("1/a")


def test_a_store_is_named_by_a_folder_or_a_uri(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    for location in (str(folder), folder.as_uri(), f"file://{folder}"):
        found = store_files(location)
        assert isinstance(found, LocalFiles)
        assert found.root == str(folder)
    assert isinstance(store_files("mock://bucket/models"), RemoteFiles)
    with pytest.raises(ValueError, match="nowhere"):
        store_files("nowhere://models")
