"""How a raw target becomes what a network learns: labels, several labels at once, or standardised numbers."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from backprop_xp.columns import is_number, moments, way_to_write
from backprop_xp.errors import InputError, check_integer, lookup

Array = NDArray[Any]
Scalar = str | int | float | bool

TASKS = ("classification", "multilabel", "regression")
_MAX_INTEGER_CLASSES = 20  # more different integers are taken for a quantity
_MAX_FLOAT_CLASSES = 100
_MAX_SHOWN = 20
_MAX_CLASS_CHARACTERS = 2**26  # 256 MB


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
            target = cls(**json)
            pair = [None if each is None else finite_numbers(each) for each in (target.mean, target.scale)]
            target = replace(target, mean=pair[0], scale=pair[1])
            target._check()
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"the model's target cannot be read ({error!r:.200}): train the model again") from error
        return target

    def check_fits(self, n_outputs: int, loss: str) -> None:
        """Refuse a network of so many outputs, or a loss, whose decisions are not this target's.

        Raises
        ------
        InputError
            That says what does not fit.
        """
        losses = ("cross_entropy", "binary_cross_entropy")
        if self.task == "classification" and loss not in losses:
            raise InputError(f"a target for classification needs a loss of {' or '.join(losses)}, not {loss!r:.80}")
        one_for_two = self.task == "classification" and loss == "binary_cross_entropy" and n_outputs == 1
        if self.n_outputs != (2 if one_for_two else n_outputs):
            raise InputError(f"a target of {self.n_outputs} outputs does not fit a network of {n_outputs}")

    def _check(self) -> None:
        """Raise ValueError or TypeError unless the parts fit each other."""
        lookup("task", self.task, dict.fromkeys(TASKS))
        check_integer("n_outputs", self.n_outputs, 1)
        if (self.classes is not None) != (self.task == "classification"):
            raise ValueError("classification has classes, and nothing else has")
        if self.classes is not None and not _are_classes(self.classes, self.n_outputs):
            raise ValueError(f"its classes are not {self.n_outputs} short texts or numbers")
        if self.task == "regression" and not len(self.mean or ()) == len(self.scale or ()) == self.n_outputs:
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


def finite_numbers(values: Iterable[Any]) -> tuple[float, ...]:
    """Return numbers of a file's JSON as floats.

    Raises
    ------
    ValueError, TypeError
        If one is no finite number, or they are no list.
    """
    values = tuple(values)
    if not all(isinstance(each, Real) for each in values) or not all(abs(x) <= sys.float_info.max for x in values):
        raise ValueError("not all are finite numbers")
    return tuple(map(float, values))


def _are_classes(classes: list[Scalar], n_classes: int) -> bool:
    """Tell whether NumPy can hold them: an array of texts has room for the longest in each place."""
    if len(classes) != n_classes or len(classes) * max(len(str(each)) for each in classes) > _MAX_CLASS_CHARACTERS:
        return False
    array = np.asarray(classes)
    return array.ndim == 1 and array.dtype.kind in "biufU"


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
