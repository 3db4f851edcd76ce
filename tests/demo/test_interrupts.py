"""Ctrl-C: at any moment, but never between the start of a process and the note of it."""

from __future__ import annotations

import signal

import pytest

from demo.interrupts import SIGNALS, Interrupts


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(number)


def test_a_held_signal_counts_afterwards() -> None:
    done = []
    with Interrupts() as interrupts:

        def block() -> None:
            with interrupts.held():
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGINT)
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
