"""How a raw target becomes what a network learns: labels, several labels at once, or standardised numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from backprop_xp.columns import is_number, moments, way_to_write
from backprop_xp.errors import InputError, lookup

Array = NDArray[Any]
Scalar = str | int | float | bool

TASKS = ("classification", "multilabel", "regression")
_MAX_INTEGER_CLASSES = 20  # more different integers are taken for a quantity
_MAX_FLOAT_CLASSES = 100
_MAX_SHOWN = 20


@dataclass(frozen=True)
class Target:
    """What the network learns.

    Parameters
    ----------
    task : str
        "classification", "multilabel" or "regression".
    n_outputs : int
        Number of classes, labels or numbers.
    classes : list of str, int, float or bool, optional
        For classification: the class of each output.
    mean, scale : tuple of float, optional
        For regression, one an output: a network's output p means p * scale + mean.
    """

    task: str
    n_outputs: int
    classes: list[Scalar] | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None

    @classmethod
    def fit(cls, values: Array, task: str | None = None) -> "Target":
        """Return the target of these training values.

        Parameters
        ----------
        values : array (n_samples,) or (n_samples, n_outputs)
        task : str, optional
            Told from the values if None: text, bool and at most 20 different integers are classes, a 2-D array of
            zeros and ones is multilabel, everything else regression.

        Raises
        ------
        InputError
            If the values cannot be learned as that task.
        """
        if task is None:
            _check_text(values)
        task = _told_task(values) if task is None else lookup("task", task, dict(zip(TASKS, TASKS, strict=True)))
        if task == "classification":
            classes = _classes(values)
            return cls(task, len(classes), classes)
        if task == "multilabel":
            return cls(task, _labels(values).shape[1])
        mean, scale = moments(_columns(values))
        return cls(task, len(mean), None, tuple(mean.tolist()), tuple(scale.tolist()))

    def encode(self, values: Array, dtype: DTypeLike = np.float32) -> Array:
        """Return the target as the network learns it.

        Returns
        -------
        array
            Classification: places in `classes` (n_samples,), int32. Multilabel: (n_samples, n_outputs), `dtype`.
            Regression: (values - mean) / scale, in the shape of `values`, `dtype`.

        Raises
        ------
        InputError
            For a class that was not in training, or another number of outputs than in training.
        """
        if self.task == "classification":
            return self._encode_classes(values)
        columns = _labels(values) if self.task == "multilabel" else _columns(values)
        if columns.shape[1] != self.n_outputs:
            raise InputError(f"the target has {columns.shape[1]} outputs, the model was trained on {self.n_outputs}")
        if self.task == "regression":
            columns = (columns - np.asarray(self.mean)) / np.asarray(self.scale)
        return columns.reshape(values.shape).astype(dtype)

    def to_json(self) -> dict[str, Any]:
        """Return the target as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "Target":
        """Return the target that `to_json` wrote.

        Raises
        ------
        InputError
            If it is not a target's JSON.
        """
        try:
            fields: dict[str, Any] = {k: tuple(v) if k in ("mean", "scale") and v else v for k, v in json.items()}
            target = cls(**fields)
            target._check()
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"the model's target cannot be read ({error}): train the model again") from error
        return target

    def _check(self) -> None:
        """Raise ValueError or TypeError unless the parts fit each other."""
        lookup("task", self.task, dict.fromkeys(TASKS))
        if self.task == "classification" and (self.classes is None or len(self.classes) != self.n_outputs):
            raise ValueError(f"{self.n_outputs} classes are not {self.classes}")
        if self.task == "regression":
            pair = np.asarray((self.mean, self.scale), np.float64)
            if pair.shape != (2, self.n_outputs) or not np.isfinite(pair).all():
                raise ValueError("its mean and scale are not finite numbers, one an output")

    def _encode_classes(self, values: Array) -> Array:
        if values.ndim != 1:
            raise InputError(f"the target must be one column of classes, not of shape {values.shape}")
        known = {each: place for place, each in enumerate(self.classes or ())}
        found, inverse = _unique(values)
        # A file in which all classes happen to look like numbers is read as numbers: compare these as text.
        places = [known.get(each, known.get(str(each))) for each in found.tolist()]
        if None in places:
            unseen = found.tolist()[places.index(None)]
            raise InputError(
                f"the class {unseen!r} was not in the training data; known classes: {_shown(self.classes or [])}"
            )
        return np.asarray(places, np.int32)[inverse]


def _check_text(values: Array) -> None:
    """Refuse texts that are numbers but for a few, or for signs: they would become as many classes."""
    if values.ndim != 1 or values.dtype.kind not in "UO":
        return
    found = sorted({str(each) for each in values.tolist()})
    strays = [text for text in found if not is_number(text)]
    if strays and len(found) > _MAX_INTEGER_CLASSES:
        few = len(strays) < 0.1 * len(found)
        way = "mend such values, or leave them empty (missing)" if few else way_to_write(found)
        if way:
            raise InputError(
                f"the target would be {len(found)} classes, {strays[0]!r} for one: {way}; or say --task classification"
            )


def _told_task(values: Array) -> str:
    if values.ndim == 2:
        return "multilabel" if _is_binary(values) else "regression"
    few = values.dtype.kind in "iu" and len(np.unique(values)) <= _MAX_INTEGER_CLASSES
    return "classification" if few or values.dtype.kind in "bUO" else "regression"


def _classes(values: Array) -> list[Scalar]:
    if values.ndim != 1:
        raise InputError(
            f"classification needs one column of classes, not the shape {values.shape}: use task multilabel"
        )
    found, _ = _unique(values)
    if values.dtype.kind == "f":
        _columns(values)
        if not np.all(found == np.floor(found)) or len(found) > _MAX_FLOAT_CLASSES:
            raise InputError(
                f"the target holds {len(found)} different numbers such as {found[0]}: classification needs whole ones, "
                f"{_MAX_FLOAT_CLASSES} at most; use task regression, or a comparison such as --target 'column > 15'"
            )
        found = found.astype(np.int64)
    if len(found) == 1:
        raise InputError(f"the target has one class only, {found.tolist()[0]!r}: at least two are needed to learn from")
    if values.dtype.kind in "UO" and len(values) == len(found) > _MAX_INTEGER_CLASSES:
        raise InputError(
            f"the target has a different text in each of {len(values)} rows: choose another with --target COLUMN"
        )
    classes: list[Scalar] = found.tolist()
    return classes


def _labels(values: Array) -> Array:
    if values.ndim != 2 or not _is_binary(values):
        raise InputError(f"multilabel needs a 2-D target of zeros and ones, not {values.dtype} of shape {values.shape}")
    return values


def _columns(values: Array) -> Array:
    """Return numbers as (n_samples, n_outputs)."""
    if values.dtype.kind not in "biuf":
        example = next((each for each in map(str, values.flat) if not is_number(each)), str(values.flat[0]))
        raise InputError(
            f"regression needs numbers, the target holds {example!r}: mend such values, leave them empty (missing), or "
            "use task classification"
        )
    infinite = ~np.isfinite(values)
    if infinite.any():
        row = int(np.argwhere(infinite)[0, 0])
        raise InputError(f"the target is not finite in row {row + 1}: remove or mend that row")
    return values[:, None] if values.ndim == 1 else values


def _is_binary(values: Array) -> bool:
    return values.dtype.kind in "biuf" and bool(np.all((values == 0) | (values == 1)))


def _unique(values: Array) -> tuple[Array, Array]:
    try:
        return np.unique(values, return_inverse=True)
    except TypeError as error:
        raise InputError("the target mixes text with numbers or missing values: make all of it text") from error


def _shown(classes: list[Scalar]) -> str:
    return ", ".join(map(repr, classes[:_MAX_SHOWN])) + (", ..." if len(classes) > _MAX_SHOWN else "")
