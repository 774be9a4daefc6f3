"""A process of its own for one contender: requests as lines of JSON on standard input, answers on standard output.

Nothing but the standard library is imported before the first request, so that the threads a library may use are set,
and its memory is counted, before it is there.
"""

import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


_WARM, _BRIEF = 0.06, 0.5


class Worker:
    """Holds the contender between requests; each method is one."""

    def __init__(self) -> None:
        self.pace = 0.0
        self.contender: Any = None
        self.libraries = self.loaded = 0
        self.importing: float | None = None  # seconds that the library took, the first time

    def prepare(self, make: str, needs: str | None, options: Answer, kind: str, problem: Answer) -> Answer:
        """Build the contender; what cannot be had is answered as a gap."""
        from backprop_xp.errors import InputError

        start, self.pace = time.perf_counter(), 0.0
        try:
            if needs is not None:
                importlib.import_module(needs)
        except ImportError:
            return {"gap": "missing", "reason": f"{needs} is not installed"}
        self.importing = self.importing or time.perf_counter() - start
        given = _class(kind)(**problem)
        made_by = _class(make)
        self.libraries = _reset_peak()
        try:
            self.contender = made_by(given, **options)
        except InputError as error:
            return {"gap": "no device" if options.get("device") == "cuda" else "unfit", "reason": str(error)}
        self.loaded = _reset_peak()
        return {}

    def steps(self, n: int, warm: int = 0) -> Answer:
        """Take n steps; return the seconds they took: those that the contender returns, where it does more than steps.

        Where so many as `warm` take less than `_BRIEF` seconds, they are taken before, untimed, for `_WARM` seconds at
        least: threads that were stopped find themselves on one processor, and share it until they are moved.
        """
        gc.collect()
        if warm * self.pace < _BRIEF:
            end = time.perf_counter() + _WARM
            while warm and time.perf_counter() < end:
                self.contender.run(warm)
        start = time.perf_counter()
        told = self.contender.run(n)
        seconds = time.perf_counter() - start
        self.pace = seconds / n
        return {"seconds": seconds if told is None else told}

    def check(self, n: int) -> Answer:
        """Take n steps in the order of the batches, by a way of their own where the contender shuffles."""
        getattr(self.contender, "check", self.contender.run)(n)
        return {}

    def save(self, path: str) -> Answer:
        """Write the parameters to a file; say whether there are any."""
        import numpy as np

        params = self.contender.params()
        if params is not None:
            np.savez(path, *params)
        return {"saved": params is not None}

    def facts(self) -> Answer:
        """Return what the contender has to say of what it did, how long its library took, and the memory it took."""
        peak = _peak()
        memory = {"peak": peak, "beyond_libraries": peak - self.libraries, "beyond_data": peak - self.loaded}
        return {"memory": memory, "importing": self.importing, **getattr(self.contender, "facts", dict)()}

    def release(self) -> Answer:
        """Let go of the contender and its arrays."""
        self.contender = None
        gc.collect()
        return {}


def _class(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]


def _peak() -> int:
    """Return the most memory that this process has held since `_reset_peak`, in bytes.

    Linux keeps a high-water mark a process; elsewhere it is the mark of the whole life, which does not go back.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _reset_peak() -> int:
    """Set the high-water mark back to what is held now, and return that."""
    gc.collect()
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def main() -> None:
    """Answer requests until standard input ends."""
    threads = int(os.environ["OMP_NUM_THREADS"])
    if hasattr(os, "sched_setaffinity"):  # JAX's threads follow the processors that it may use, not a variable
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand among the answers
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # a contender may fail in any way; the others go on
            first = (str(error).strip() or "no message").splitlines()[0]
            answer = {"gap": "failed", "reason": f"{type(error).__name__}: {first}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
