"""Checkpoints: all that the steps to come depend on, in files of which the newest whole one is enough to go on.

Nothing random is kept: first parameters, order of rows and dropout masks follow from the seed, the epoch and the count.
"""

import contextlib
import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_xp import backends
from backprop_xp.callbacks import Record
from backprop_xp.early_stopping import Best
from backprop_xp.engines.tracing import leaves, rebuilt
from backprop_xp.errors import InputError, check_integer
from backprop_xp.files import temporary, user_path, write_whole
from backprop_xp.network import Params
from backprop_xp.tensor_files import Arrays, DamagedError, packed, unpacked

VERSION = 1
_NAME = re.compile(r"epoch-(\d{8,12})-step-(\d{10,15})\.safetensors")

Identity = Mapping[str, Any]


class Progress(NamedTuple):
    """Where a run stands: between two epochs, or within one.

    Parameters
    ----------
    params, opt_state : tree of arrays
        On the device.
    best : Best
    epoch : int
        Finished.
    records : list of dict
        Their figures.
    losses : array (n_steps,)
        Of the steps made in the epoch that was begun, on the host.
    """

    params: Params
    opt_state: Any
    best: Best
    epoch: int
    records: list[Record]
    losses: NDArray[Any]

    @property
    def stale(self) -> int:
        """Epochs since the best one."""
        return self.epoch - self.best.epoch

    @property
    def place(self) -> tuple[int, int]:
        """(epochs finished, steps made in the next one): grows from step to step."""
        return self.epoch, len(self.losses)


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints are written, how often, and how many stay.

    Parameters
    ----------
    folder : path
        Made if it is not there; one run at a time writes to it.
    every : int, default 1
        Epochs between two checkpoints. There is one more at the end, whatever ends the run.
    every_steps : int, optional
        Steps between two checkpoints within an epoch.
    keep : int, default 3
        The last so many stay.

    Raises
    ------
    InputError
        If a number is below 1.
    """

    folder: str | Path
    every: int = 1
    every_steps: int | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        for name in ("every", "every_steps", "keep"):
            if name != "every_steps" or self.every_steps is not None:
                check_integer(f"{name} of checkpoints", getattr(self, name), 1)

    @contextlib.contextmanager
    def opened(self) -> Iterator["Folder"]:
        """Take the folder for one run, and remove what a killed one left half written.

        Raises
        ------
        InputError
            If it is no folder, or another run writes to it.
        """
        path = user_path(self.folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDONLY) if os.name == "posix" else None
        except OSError as error:
            raise InputError(
                f"cannot keep checkpoints in {str(path)!r}: {error.strerror}; choose another folder"
            ) from None
        try:
            if handle is not None:
                _lock(handle, path)
            for left in path.glob(f"{temporary(Path('epoch-'))[:-1]}*"):
                with contextlib.suppress(OSError):
                    left.unlink()
            yield Folder(path, self.keep)
        finally:
            if handle is not None:
                os.close(handle)  # and the lock with it, as when the process is killed


def _lock(handle: int, path: Path) -> None:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"another run keeps its checkpoints in {str(path)!r}: wait for its end, or choose another folder"
        ) from None
    except OSError:  # a file system without locks
        pass


class Folder:
    """A folder of checkpoints, taken for one run: see `Checkpoints.opened`.

    Attributes
    ----------
    identity : mapping
        What the run is made of, JSON by names that a reader understands. What is no text or number is a fingerprint.
    engine : str or None
        That runs the steps, or ran them when the checkpoint was written that was read.
    newest : path or None
        The last that was written or read.
    told : list of str
        What there is to say of the reading.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self.identity: Identity = {}
        self.engine: str | None = None
        self.newest: Path | None = None
        self.told: list[str] = []
        self._path, self._keep = path, keep
        self._place: tuple[int, int] | None = None

    def files(self) -> list[Path]:
        """The checkpoints, the newest first: by what they hold, since clocks may be set back."""
        return sorted((each for each in self._path.iterdir() if _NAME.fullmatch(each.name)), key=_place, reverse=True)

    def check_empty(self) -> None:
        """Raise InputError if there are checkpoints of another run."""
        if self.files():
            raise InputError(
                f"there are checkpoints of a run in {str(self._path)!r}: go on with it by resume (--resume), "
                "remove them, or choose another folder"
            )

    def resumed(self, begun: Progress, n_batches: int, backend: backends.Backend) -> Progress:
        """Return where the newest whole checkpoint stands, or the beginning if there is none.

        Parameters
        ----------
        begun : Progress
            The beginning: its arrays have the shapes and data types of what is read.
        n_batches : int
            Steps of an epoch.
        backend : Backend
            Where the arrays go.

        Raises
        ------
        InputError
            If it is of another run; the message names what differs.
        """
        for path in self.files():
            try:
                header, arrays = _unpacked(path)
                self._check_identity(path, header.get("identity"))
                progress = _progress(header, arrays, begun, n_batches, backend)
            except DamagedError as damage:
                self.told.append(f"{path} is passed over: {damage}")
                continue
            self.newest, self._place, self.engine = path, progress.place, header.get("engine")
            self.told.append(f"resumed from {path}: {_position(progress.place)}")
            return progress
        self.told.append(f"there is no whole checkpoint in {str(self._path)!r} yet: the run begins")
        return begun

    def _check_identity(self, path: Path, written: Any) -> None:
        if not isinstance(written, dict):
            raise DamagedError("its header is damaged: it does not say of what run it is")
        names = [name for name, value in self.identity.items() if written.get(name) != value]
        plain = [name for name in names if not isinstance(self.identity[name], list)]
        if names:
            told = [f"{name} was {written.get(name)}, not {self.identity[name]}" for name in plain]
            told = told or [f"the {name} differ" for name in names]
            raise InputError(
                f"{path} was written by another run: {'; '.join(told)}. Give what it was begun with, or another folder"
            )

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, unless it is there; a disk that is full or read-only is warned of, and stops nothing."""
        if progress.place == self._place:
            return
        path = self._path / "epoch-{:08d}-step-{:010d}.safetensors".format(*progress.place)
        try:
            write_whole(path, _content(progress, self.identity, self.engine))
            _sync(self._path)
        except OSError as error:
            last = f"the last one is {self.newest}" if self.newest else "there is none yet"
            warnings.warn(f"no checkpoint at {_position(progress.place)}: {error.strerror}; {last}", stacklevel=2)
            return
        self.newest, self._place = path, progress.place
        older = [each for each in self.files() if _place(each) <= progress.place]  # not what was passed over
        for old in older[self._keep :]:
            with contextlib.suppress(OSError):
                old.unlink()


def _unpacked(path: Path) -> tuple[dict[str, Any], Arrays]:
    try:
        return unpacked(path, "checkpoint", VERSION)
    except InputError as error:  # a later version's is not damaged, and not to be begun anew over
        raise InputError(f"{path}: {error}; or choose another folder") from None


def _place(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2])


def _position(place: tuple[int, int]) -> str:
    epoch, step = place
    return f"epoch {epoch + 1}, step {step}" if step else f"the end of epoch {epoch}"


def _sync(folder: Path) -> None:
    """Have the folder's own entries written, so that a renamed file outlives a loss of power."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _content(progress: Progress, identity: Identity, engine: str | None) -> bytes:
    records = progress.records
    arrays = {
        **_numbered("params", leaves(progress.params)),
        **_numbered("opt_state", leaves(progress.opt_state)),
        **_numbered("best", leaves(progress.best.params)),
        "losses": progress.losses,
        **{f"history.{name}": np.asarray([record[name] for record in records]) for name in (records or [{}])[0]},
    }
    header = {
        "identity": identity,
        "engine": engine,
        "epoch": progress.epoch,
        "best": {"epoch": progress.best.epoch, "value": progress.best.value},
        "digest": _digest(arrays),
    }
    return packed("checkpoint", VERSION, arrays, header)


def _numbered(name: str, arrays: Sequence[Any]) -> dict[str, NDArray[Any]]:
    return {f"{name}.{number}": backends.to_host(array) for number, array in enumerate(arrays)}


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return what tells that a number was changed on the disk; it keeps nobody from changing it on purpose."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(repr((name, arrays[name].shape, arrays[name].dtype.str)).encode())
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _progress(
    header: dict[str, Any], arrays: Arrays, begun: Progress, n_batches: int, backend: backends.Backend
) -> Progress:
    """Return where the run stood, its arrays in the trees of the beginning, on the device."""

    def tree(name: str, like: Any) -> Any:
        found = []
        for number, leaf in enumerate(leaves(like)):
            array, dtype = arrays[f"{name}.{number}"], str(leaf.dtype).rpartition(".")[2]
            if (array.shape, str(array.dtype)) != (tuple(leaf.shape), dtype):
                raise DamagedError(f"its {name} are not this network's and optimizer's")
            found.append(backends.to_device(array, backend, dtype))
        return rebuilt(like, iter(found))

    try:
        if header["digest"] != _digest(arrays):
            raise DamagedError("its numbers are not those that were written")
        epoch, best_epoch, value = int(header["epoch"]), int(header["best"]["epoch"]), float(header["best"]["value"])
        losses = arrays["losses"]
        history = {name.removeprefix("history."): arrays[name] for name in arrays if name.startswith("history.")}
        if not 0 <= best_epoch <= epoch or any(figures.shape != (epoch,) for figures in history.values()):
            raise DamagedError("its history is not of its epochs")
        if losses.ndim != 1 or losses.dtype.kind != "f" or len(losses) > n_batches:
            raise DamagedError("its losses are not of this run's steps")
        records = [
            dict(zip(history, row, strict=True)) for row in zip(*(a.tolist() for a in history.values()), strict=True)
        ]
        if len(records) != epoch:
            raise DamagedError("its history is not of its epochs")
        best = Best(tree("best", begun.params), value, best_epoch) if best_epoch else Best()
        params, opt_state = tree("params", begun.params), tree("opt_state", begun.opt_state)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamagedError(f"its header is damaged ({type(error).__name__}: {error})") from None
    return Progress(params, opt_state, best, epoch, records, losses)
