"""An hour of training with checkpoints and a log, in one process: does its memory stay where it was?

    python tests/soak.py --minutes 60

The run is one of many epochs, ended and resumed every so often as a long job on a cluster is. Memory is what the
process holds (VmRSS), read every second; after a tenth of the time, in which libraries load and buffers grow, the
largest and the smallest median of a minute may differ by 2 %.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import backprop_xp as bx
from backprop_xp.callbacks import Callback, JsonLines
from backprop_xp.errors import StopTraining

LIMIT = 0.02


class Watch(Callback):
    """Reads the memory every second, and stops a fit after some seconds."""

    def __init__(self, seconds: float) -> None:
        self.readings: list[tuple[float, int]] = []
        self.epochs, self._seconds = 0, seconds

    def on_train_begin(self, trainer: bx.Trainer) -> None:
        """Start the clock."""
        self._end = time.monotonic() + self._seconds

    def on_epoch_end(self, record: dict[str, float]) -> None:
        """Take a reading; end the fit when its time is over."""
        now, self.epochs = time.monotonic(), self.epochs + 1
        if not self.readings or now - self.readings[-1][0] >= 1:
            self.readings.append((now, resident()))
        if now >= self._end:
            raise StopTraining("time")


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if memory was flat."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--engine", default="eager")
    given = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400_000, 64), dtype=np.float32)  # epochs of seconds, so that the history stays small
    y = rng.integers(0, 10, len(X))
    network = bx.Network((64, 256, 128, 10), output="softmax")
    start, seconds = time.monotonic(), given.minutes * 60
    watch = Watch(min(seconds / 30, 120.0))
    with tempfile.TemporaryDirectory() as place:
        while (spent := time.monotonic() - start) < seconds:
            trainer = bx.Trainer(
                network, optimizer=bx.adam(1e-4), batch_size=512, epochs=10**9, engine=given.engine,
                validation_fraction=0.1, metrics=("accuracy",), checkpoint=bx.Checkpoints(place + "/c", every=5),
                callbacks=[watch, JsonLines(place + "/log.jsonl")],
            )  # fmt: skip
            trainer.fit(X, y, resume=True)
        files = sorted(each.name for each in Path(place, "c").iterdir())
    settled = [(when, size) for when, size in watch.readings if when - start > spent / 10]
    minutes: dict[int, list[int]] = {}
    for when, size in settled:
        minutes.setdefault(int((when - start) // (seconds / 60)), []).append(size)
    medians = [statistics.median(sizes) for sizes in minutes.values()]
    spread = max(medians) / min(medians) - 1
    print(json.dumps({
        "minutes": round(spent / 60, 1), "epochs": watch.epochs, "readings": len(settled), "files": len(files),
        "smallest MiB": round(min(medians) / 2**20, 1), "largest MiB": round(max(medians) / 2**20, 1),
        "spread": round(spread, 4),
    }))  # fmt: skip
    return 0 if spread <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
