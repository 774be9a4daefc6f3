"""Ctrl-C held back while a call runs whose result must not be lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupts() -> Iterator[list[int]]:
    """Within the block Ctrl-C waits for the block's end, where it is handled as it would have been.

    Yields a list that is empty until it comes, for a loop to look at.

    Python handles a signal that came during a long call of a library right after the call returns, before its result is
    stored. Signals reach the main thread alone, so nothing is done in another.
    """
    handler = signal.getsignal(signal.SIGINT)
    came: list[int] = []
    idle = handler in (None, signal.SIG_IGN, signal.SIG_DFL)  # not set from Python, or none of its business
    if threading.current_thread() is not threading.main_thread() or idle:
        yield came
        return
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)
