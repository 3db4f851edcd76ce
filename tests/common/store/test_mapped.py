"""Arrays in files: shared until written, and never written back."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from common.store.mapped import mapped_rows

N_COLUMNS = 50


def rows(count: int) -> NDArray[np.float32]:
    return np.arange(count * N_COLUMNS, dtype=np.float32).reshape(count, N_COLUMNS)


def mapped(path: Path, offset: int, count: int, room: int = 0) -> NDArray[np.float32]:
    with path.open("rb") as file:
        return mapped_rows(file, offset, (count, N_COLUMNS), room)


@pytest.fixture(params=[0, 8, mmap.PAGESIZE, 3 * mmap.PAGESIZE + 2208])
def offset(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def path(tmp_path: Path, offset: int) -> Path:
    path = tmp_path / "numbers"
    path.write_bytes(b"x" * offset + rows(1000).tobytes() + b"the end")
    return path


def test_rows_are_those_of_the_file_wherever_they_start(path: Path, offset: int) -> None:
    found = mapped(path, offset, 1000)
    assert found.flags.writeable
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, rows(1000))


def test_there_is_room_behind_them(path: Path, offset: int) -> None:
    found = mapped(path, offset, 1000, room=5000)
    found[1000:] = 7
    assert found.shape == (6000, N_COLUMNS)
    np.testing.assert_array_equal(found[:1000], rows(1000))
    assert (found[1000:] == 7).all()


def test_what_is_written_reaches_neither_the_file_nor_another_array(
    path: Path, offset: int
) -> None:
    before = path.read_bytes()
    one, other = mapped(path, offset, 1000, room=10), mapped(path, offset, 1000)
    one[:] = -1
    np.testing.assert_array_equal(other, rows(1000))
    assert path.read_bytes() == before


def test_the_file_may_be_removed(path: Path, offset: int) -> None:
    found = mapped(path, offset, 1000)
    path.unlink()
    np.testing.assert_array_equal(found, rows(1000))


def test_no_rows_need_no_page_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    assert mapped(path, 0, 0).shape == (0, N_COLUMNS)
    grown = mapped(path, 0, 0, room=3)
    grown[:] = 1
    assert grown.sum() == 3 * N_COLUMNS


def test_rows_take_no_memory_of_the_process_s_own(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(rows(500_000).tobytes())
    before = own_memory()
    found = mapped(path, 0, 500_000, room=500_000)
    assert float(found[:500_000].sum()) > 0
    assert own_memory() - before < path.stat().st_size / 2


def own_memory() -> int:
    """Return the bytes in memory that are no file's."""
    found = psutil.Process().memory_info()
    return int(found.rss - found.shared)
