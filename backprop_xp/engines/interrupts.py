"""Ctrl-C held back while a call runs whose result must not be lost; SIGTERM taken as Ctrl-C."""

import signal
import threading
from collections.abc import Callable, Iterator
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


@contextmanager
def terminable(told: Callable[[str], None]) -> Iterator[None]:
    """Within the block SIGTERM interrupts as Ctrl-C does, once; after the block, the process ends by it.

    That is exit code 143, or what the handler does that was there before.

    Parameters
    ----------
    told : function (reason) -> None
        Hears "terminated" first.
    """
    before, interrupt = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    elsewhere = threading.current_thread() is not threading.main_thread()
    if elsewhere or before in (None, signal.SIG_IGN):
        yield
        return
    came: list[int] = []

    def terminate(number: int, frame: object) -> None:
        came.append(number)
        if len(came) == 1:
            told("terminated")
            signal.raise_signal(signal.SIGINT)

    def interrupt_if_terminated(number: int, frame: object) -> None:
        if came:
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    if interrupt is signal.SIG_IGN:  # a shell's background job: Ctrl-C is none of its business, SIGTERM is
        signal.signal(signal.SIGINT, interrupt_if_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if interrupt is signal.SIG_IGN:
            signal.signal(signal.SIGINT, interrupt)
        if came and before is signal.SIG_DFL:
            raise SystemExit(128 + signal.SIGTERM)
        if came:
            signal.raise_signal(signal.SIGTERM)
