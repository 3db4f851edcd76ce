"""Ctrl-C: at any moment, but never between the start of a process and the note of it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from cli.demo.interrupts import SIGNALS, Interrupts


def raise_signal(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    # The handler runs between two instructions of this thread.
    time.sleep(0.01)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts():
        raise_signal(number)


def test_a_held_signal_counts_afterwards() -> None:
    done = []
    with Interrupts() as interrupts:

        def block() -> None:
            with interrupts.held():
                raise_signal(signal.SIGTERM)
                raise_signal(signal.SIGINT)
                done.append("block")

        with pytest.raises(KeyboardInterrupt):
            block()
        with interrupts.held():
            done.append("next")
    assert done == ["block", "next"]


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in SIGNALS] == before
