"""Kill a training run at random moments by SIGKILL, resume it, and compare the end with that of a run left alone.

    python tests/kill_and_resume.py --runs 200 --engine eager

A run counts as passed if its last checkpoint equals the uninterrupted run's, bit for bit. Half of the kills wait for a
temporary file, so that they fall into the writing of a checkpoint.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOB = """
import sys
import numpy as np
import backprop_xp as bx

folder, engine, out = sys.argv[1:]
rng = np.random.default_rng(0)
X = rng.standard_normal((203, 6)).astype(np.float32)
y = rng.integers(0, 3, 203)
net = bx.Network((6, 12, 3), activation="tanh", output="softmax")
trainer = bx.Trainer(
    net, optimizer=bx.adam(0.01), batch_size=16, epochs=150, patience=100, validation_fraction=0.2, dropout=0.1,
    engine=engine, checkpoint=bx.Checkpoints(folder, every_steps=4, keep=2),
)
trainer.fit(X, y, resume=True)
np.savez(out, *[leaf for layer in trainer.params for leaf in layer], **trainer.history)
"""


def run(folder: Path, engine: str, out: Path) -> "subprocess.Popen[bytes]":
    """Start a run of the job, or one that goes on."""
    return subprocess.Popen([sys.executable, "-c", JOB, str(folder), engine, str(out)])


def finished(folder: Path, engine: str, out: Path, rng: random.Random, longest: float) -> int:
    """Run the job to its end, killing it at least once; return the number of kills."""
    kills = 0
    while True:
        process = run(folder, engine, out)
        # Time to start, and some of the whole; as kills grow more, so does what is left to the run, so it ends.
        deadline = time.monotonic() + rng.uniform(0.2, longest) * (1 + kills / 4)
        in_a_write = rng.random() < 0.5
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        while in_a_write and process.poll() is None and not any(folder.glob(".epoch-*")):
            pass
        if process.poll() is None:
            process.kill()
            kills += 1
        if process.wait() == 0 and kills:
            return kills
        if process.returncode == 0:  # too late: another run
            shutil.rmtree(folder)


def same(one: Path, other: Path) -> bool:
    """Tell whether parameters and history are equal to the last bit, the seconds left out."""
    import numpy as np

    with np.load(one) as a, np.load(other) as b:
        names = [name for name in a.files if name != "seconds"]
        return set(a.files) == set(b.files) and all(a[n].tobytes() == b[n].tobytes() for n in names)


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if every run ended as the one that was left alone."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--engine", default="eager")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    rng, passed, kills = random.Random(given.seed), 0, 0
    with tempfile.TemporaryDirectory() as place:
        start = time.monotonic()
        if run(Path(place, "whole"), given.engine, Path(place, "whole.npz")).wait():
            return 1
        longest = time.monotonic() - start
        for k in range(given.runs):
            folder, out = Path(place, str(k)), Path(place, f"{k}.npz")
            kills += finished(folder, given.engine, out, rng, longest)
            equal = same(Path(place, "whole.npz"), out)
            clean = not any(folder.glob(".*"))
            passed += equal and clean
            if not (equal and clean):
                print(f"run {k}: {'other parameters' if not equal else 'a temporary file is left'}", flush=True)
    print(json.dumps({"engine": given.engine, "runs": given.runs, "passed": passed, "kills": kills}))
    return 0 if passed == given.runs else 1


if __name__ == "__main__":
    sys.exit(main())
