"""A recorded training run, as it is read: figures, parameters along the way, what the network does on rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backprop_xp.engines.tracing import rebuilt
from backprop_xp.errors import InputError
from backprop_xp.losses import Loss, with_setting
from backprop_xp.model import network_from_json
from backprop_xp.network import Network, Params, init
from backprop_xp.optimizers import OPTIMIZERS, Optimizer, OptimizerState
from backprop_xp.tables import TableEncoder, encoder_from_json
from backprop_xp.targets import Target
from backprop_xp.tensor_files import Arrays, DamagedError, unpacked

VERSION = 1


class Frame(NamedTuple):
    """What was kept of a step.

    Parameters
    ----------
    step : int
        Updates made before.
    params : tuple of (W, b)
    state : OptimizerState or None
        The learning rate is that of the next update. None if the optimizer is the user's own.
    """

    step: int
    params: Params
    state: OptimizerState | None


class Rows(NamedTuple):
    """What the network did on rows in the end.

    Parameters
    ----------
    outputs : array (n_rows, n_outputs)
    targets : array (n_rows,) of labels, or (n_rows, n_outputs)
        As the network learned them.
    losses : array (n_rows,)
        Each row's own.
    worst : array (n_worst,)
        The places of the largest, the first the worst.
    """

    outputs: NDArray[Any]
    targets: NDArray[Any]
    losses: NDArray[Any]
    worst: NDArray[Any]


@dataclass(frozen=True, repr=False)
class RecordedRun:
    """What `load_run` returns.

    Parameters
    ----------
    network : Network
    loss : Loss or None
        None for one of the user's own.
    optimizer : Optimizer or None
        With the rate of its states; None for one of the user's own.
    header : mapping
        JSON: settings, counts, backend, engine, environment, how training ended, the worst rows.
    history : dict of str to array (n_epochs,)
    frames : list of Frame
    probe : tuple (X, Y, weight)
        Training rows, evenly chosen; the weights may be None.
    rows : Rows or None
        None while the run goes on, and where nothing was trained.
    target : Target or None
        What the outputs stand for, if it was told.
    about : mapping
        What the recorder was told.
    """

    network: Network
    loss: Loss | None
    optimizer: Optimizer | None
    header: Mapping[str, Any]
    history: dict[str, NDArray[np.float64]]
    frames: list[Frame]
    probe: tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]
    rows: Rows | None
    target: Target | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_batches(self) -> int:
        """Steps of a whole epoch."""
        return -(-int(self.header["n_samples"]) // int(self.header["settings"]["batch_size"]))

    @property
    def features(self) -> list[str] | None:
        """Names of the inputs, if they were columns of a table."""
        preprocessing = self.about.get("preprocessing")
        encoder = None if preprocessing is None else encoder_from_json(preprocessing)
        return encoder.feature_names if isinstance(encoder, TableEncoder) else None

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, if they were told."""
        known = None if self.target is None else self.target.classes
        return None if known is None else [str(each) for each in known]


def load_run(path: str | Path) -> RecordedRun:
    """Return the run that a `Recorder` wrote. Nothing in the file is executed.

    Raises
    ------
    InputError
        If the file is missing, truncated, damaged, no run, or of a later version's format.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no recorded run {str(path)!r}: train with --record {path}, or the callback Recorder")
    try:
        return _from_header(*unpacked(path, "run", VERSION))
    except (DamagedError, InputError) as error:
        raise InputError(f"{str(path)!r}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise InputError(f"{str(path)!r}: its header is damaged ({type(error).__name__}: {error})") from None


def check_about(about: Mapping[str, Any]) -> None:
    """Raise InputError, KeyError or TypeError unless it is what the pages can show: see `Recorder`."""
    for name in ("data", "target_name", "command", "sha256"):
        if not isinstance(about.get(name), str | None):
            raise TypeError(f"{name} is no text")
    notes = about.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise TypeError("notes are no texts")
    if about.get("target") is not None:
        Target.from_json(about["target"])
    if about.get("preprocessing") is not None:
        encoder_from_json(about["preprocessing"])


def _from_header(header: Any, arrays: Arrays) -> RecordedRun:
    network, settings, about = network_from_json(header["network"]), header["settings"], header["about"]
    history = {name: arrays[f"history.{name}"] for name in header["figures"]}
    if any(a.ndim != 1 or a.dtype.kind != "f" for a in history.values()) or len({len(a) for a in history.values()}) > 1:
        raise DamagedError("its history is not of its epochs")
    if not all(isinstance(header[name], int) for name in ("n_samples", "n_validation", "kept_epoch")):
        raise DamagedError("its counts are no whole numbers")
    if not 0 <= header["kept_epoch"] <= len(history.get("epoch", ())):
        raise DamagedError("it kept an epoch that it does not have")
    if not settings["batch_size"] >= 1 or not isinstance(about, dict) or not isinstance(header["worst"], list):
        raise DamagedError("its settings are not a run's")
    probe = arrays["probe.X"], arrays["probe.Y"], arrays.get("probe.weight")
    if probe[0].ndim != 2 or probe[0].shape[1] != network.widths[0] or len(probe[1]) != len(probe[0]):
        raise DamagedError("its rows do not fit its network")
    named, loss = header["optimizer"], header["loss"]
    rule = OPTIMIZERS[named["name"]](**named["settings"]) if named["name"] in OPTIMIZERS else None
    check_about(about)
    target = about.get("target")
    return RecordedRun(
        network,
        with_setting(loss["name"], loss["parameter"]) if loss["known"] else None,
        rule,
        header,
        {name: a.astype(np.float64) for name, a in history.items()},
        _frames(network, rule, arrays),
        probe,
        _rows(network, arrays),
        None if target is None else Target.from_json(target),
        about,
    )


def _frames(network: Network, optimizer: Optimizer | None, arrays: Arrays) -> list[Frame]:
    steps = arrays["steps"].tolist()
    stacks = [arrays[f"frames.{number}"] for number in range(sum(name.startswith("frames.") for name in arrays))]
    if any(len(stack) != len(steps) for stack in stacks):
        raise DamagedError("its parameters are not of its steps")
    frames = []
    for n, step in enumerate(steps):
        kept = iter([stack[n] for stack in stacks])
        try:
            given = [(next(kept), None if b is None else next(kept)) for _, b in network.shapes]
            params = init(network, initializer=given, dtype=given[0][0].dtype)
            state = None if optimizer is None else rebuilt(optimizer.init(params), kept)
        except StopIteration:
            raise DamagedError("it lacks parameters of its network or its optimizer's state") from None
        if next(kept, None) is not None:
            raise DamagedError("it holds more than its network's parameters and its optimizer's state")
        frames.append(Frame(int(step), params, state))
    return frames


def _rows(network: Network, arrays: Arrays) -> Rows | None:
    if "rows.outputs" not in arrays:
        return None
    rows = Rows(*(arrays[f"rows.{name}"] for name in Rows._fields))
    n_rows = len(rows.losses)
    fit = rows.outputs.shape == (n_rows, network.widths[-1]) and rows.targets.shape[:1] == (n_rows,)
    if not fit or (n_rows and not ((rows.worst >= 0) & (rows.worst < n_rows)).all()):
        raise DamagedError("its rows' outputs, targets and losses do not fit each other")
    return rows
