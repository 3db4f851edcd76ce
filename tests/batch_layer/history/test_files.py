"""Work on a stream in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from batch_layer.history.files import in_threads


def test_results_are_in_order_and_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1, 101):
            taken.append(item)
            yield item

    for done, result in enumerate(in_threads(lambda item: item * item, items(), 3), 1):
        assert result == done * done
        assert len(taken) <= done + 4
    assert done == len(taken) == 100


def test_so_many_work_at_once() -> None:
    together = threading.Barrier(3, timeout=30)
    assert len(list(in_threads(lambda _: together.wait(), range(6), 3))) == 6


def test_nothing_gives_nothing_and_an_error_is_raised() -> None:
    assert list(in_threads(str, [], 2)) == []
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda item: 1 // item, [1, 0, 1], 2))
