"""A worker's waits: what ends them, and what does not."""

from __future__ import annotations

import threading
import time

from ledger.cli.signals import StopSignals

LONG = 30.0


def test_a_wakeful_wait_ends_when_another_thread_wakes_it_and_any_other_does_not() -> None:
    with StopSignals() as stop:
        waker = threading.Timer(0.05, stop.wake)
        waker.start()
        began = time.monotonic()
        stop.wait(LONG, wakeful=True)
        woken_after = time.monotonic() - began
        waker.join()
        stop.wake()
        began = time.monotonic()
        stop.wait(0.1)
        slept = time.monotonic() - began
        stop.wait(LONG, wakeful=True)
        assert woken_after < LONG / 2
        assert slept >= 0.1
        assert not stop.wanted


def test_waking_a_worker_that_never_waits_fills_nothing_up() -> None:
    with StopSignals() as stop:
        for _ in range(100_000):
            stop.wake()
        stop.wait(LONG, wakeful=True)
