"""From data and flags to what is trained: features, targets, validation rows, network, loss."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp import flags
from backprop_xp.datasets import Dataset, is_row_index, load, text_columns
from backprop_xp.errors import InputError
from backprop_xp.losses import Loss
from backprop_xp.network import Network
from backprop_xp.tables import ArrayEncoder, TableEncoder
from backprop_xp.targets import Target

Array = NDArray[Any]
Pair = tuple[Array, Array]

_TASK_LOSS = {"classification": "cross_entropy", "multilabel": "binary_cross_entropy", "regression": "squared_error"}
_FEW_ROWS = 20  # with fewer, a fifth of them would say nothing
_OUTPUT = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "poisson": "exp"}


@dataclass(frozen=True)
class Job:
    """What is trained, ready for a Trainer.

    Parameters
    ----------
    encoder : TableEncoder or ArrayEncoder
        Fitted on the training rows alone.
    target : Target
    loss : Loss
    train, validation : (X, y)
        `validation` is None where none was asked for.
    judged : Dataset
        The rows that the network is judged by, as they were read: the validation rows, or the training rows without.
    notes : tuple of str
        What the user should know.
    """

    encoder: TableEncoder | ArrayEncoder
    target: Target
    loss: Loss
    train: Pair
    validation: Pair | None
    judged: Dataset
    notes: tuple[str, ...]

    @property
    def n_outputs(self) -> int:
        """Outputs of the network: one for two classes under binary_cross_entropy, else one a class or number."""
        return self.train[1].shape[1] if self.train[1].ndim == 2 else self.target.n_outputs

    def network(self, hidden: tuple[int, ...], activation: str) -> Network:
        """Return the network that the data and the loss ask for."""
        widths = (self.encoder.n_features, *hidden, self.n_outputs)
        return Network(widths, activation=activation, output=_OUTPUT.get(self.loss.name, "identity"))


def prepare(data: Dataset, *, task: str | None, loss: str | None, validation: str | None, seed: int, dtype: str) -> Job:
    """Return the job for these data.

    Parameters
    ----------
    data : Dataset
    task, loss : str, optional
        Told from the target, and from the task.
    validation : str, optional
        A share of the rows such as "0.2", "0" for none, or a second file. Default: 0.2, or none of very few rows.
    seed : int
        Chooses the validation rows.
    dtype : str

    Raises
    ------
    InputError
        If the target, the loss and the task do not go together, or there are too few rows.
    """
    data = _without_index(data)
    try:  # what is refused is named by its row in the data, not in the training part
        learned = Target.fit(_values(data), task)
        whole = _fitted(data.inputs)
    except InputError as error:
        counted = "" if data.numbers is None else " (rows without a target, which were dropped, are not counted)"
        raise InputError(f"{error}{counted if ' row ' in str(error) else ''}") from None
    chosen = _matching_loss(loss, learned)
    if chosen.name == "poisson":  # counts stay counts: the logarithm is in the output
        learned = replace(learned, mean=(0.0,) * learned.n_outputs, scale=(1.0,) * learned.n_outputs)
    notes = [*data.notes, *getattr(whole, "notes", ())]
    if validation is None:
        validation = "0.2"
        if len(_values(data)) < _FEW_ROWS:
            validation = "0"
            notes.append(f"fewer than {_FEW_ROWS} rows: none is kept for validation")
    held_share = share(validation)
    held: Dataset | None = None
    if held_share is None:
        held = load(validation, data.target_name, text=text_columns(whole, learned, data.target_name))
        notes += [f"{held.name}: {note}" for note in held.notes]
    elif held_share:
        data, held = _split(data, held_share, seed, learned)
    encoder = _fitted(data.inputs)

    def pair(part: Dataset) -> Pair:
        y = learned.encode(_values(part), dtype)
        if learned.task == "classification" and chosen.name == "binary_cross_entropy":
            y = y[:, None].astype(dtype)
        return encoder.transform(part.inputs, dtype), y

    held_pair = None if held is None else pair(held)
    return Job(encoder, learned, chosen, pair(data), held_pair, data if held is None else held, tuple(notes))


def _without_index(data: Dataset) -> Dataset:
    """Return the data without what pandas wrote of a frame's index, and a note of it: row numbers teach nothing."""
    names = [name for name in getattr(data.inputs, "column_names", ()) if is_row_index(name)]
    if not names:
        return data
    note = (
        f"column {', '.join(map(repr, names))} is left aside: row numbers have such names; rename it to learn from it"
    )
    return replace(data, inputs=data.inputs.drop_columns(names), notes=(*data.notes, note))


def _matching_loss(name: str | None, target: Target) -> Loss:
    """Return the loss asked for, or the task's own, once it is one for this task."""
    loss = flags.loss(name or _TASK_LOSS[target.task])
    tasks = {"cross_entropy": ("classification",), "binary_cross_entropy": ("multilabel", "classification")}
    if target.task not in tasks.get(loss.name, ("regression",)):
        raise InputError(
            f"--loss {loss.name} does not go with a target for {target.task}: use {_TASK_LOSS[target.task]}, "
            "or say another --task"
        )
    if loss.name == "binary_cross_entropy" and target.task == "classification" and target.n_outputs != 2:
        raise InputError(f"--loss binary_cross_entropy needs two classes, not {target.n_outputs}: use cross_entropy")
    return loss


def share(validation: str) -> float | None:
    """Return the share of rows that `validation` says, None if it names a file.

    Raises
    ------
    InputError
        If it does not lie in [0, 1).
    """
    try:
        number = float(validation)
    except ValueError:
        return None
    return flags.fraction("--validation", number)


def _split(data: Dataset, share: float, seed: int, target: Target) -> tuple[Dataset, Dataset]:
    """Return (training rows, validation rows), classes in proportion where each has rows enough."""
    from sklearn.model_selection import train_test_split

    values = _values(data)
    n_rows = len(values)
    n_held = round(share * n_rows)
    if not 0 < n_held < n_rows:
        raise InputError(f"--validation {share:g} of {n_rows} rows leaves {n_held} to validate with; 0 does without")
    stratify = None
    if target.task == "classification":
        labels = target.encode(values)
        if np.bincount(labels).min() >= 2 and min(n_held, n_rows - n_held) >= target.n_outputs:
            stratify = labels
    rows = train_test_split(np.arange(n_rows), test_size=n_held, random_state=seed % 2**32, stratify=stratify)
    train, held = (_taken(data, np.sort(part)) for part in rows)
    return train, held


def _taken(data: Dataset, rows: Array) -> Dataset:
    inputs = data.inputs.take(rows) if hasattr(data.inputs, "column_names") else data.inputs[rows]
    numbers = rows + 1 if data.numbers is None else data.numbers[rows]
    return replace(data, inputs=inputs, target=_values(data)[rows], numbers=numbers)


def _fitted(inputs: Any) -> TableEncoder | ArrayEncoder:
    encoder = TableEncoder.fit(inputs) if hasattr(inputs, "column_names") else ArrayEncoder.fit(inputs)
    if encoder.n_features == 0:
        raise InputError("the data have a target but no other column to learn from")
    return encoder


def _values(data: Dataset) -> Array:
    assert data.target is not None  # `load` refuses data without one, unless told otherwise
    return data.target
