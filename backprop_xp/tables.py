"""Tables and plain arrays as features of a network, kept in the model file as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from backprop_xp import columns
from backprop_xp.columns import Array, Column, Table, fit_column, moments, standardise
from backprop_xp.errors import InputError
from backprop_xp.targets import finite_numbers


@dataclass(frozen=True)
class TableEncoder:
    """Features from a table, column by column."""

    specs: tuple[Column, ...]

    @classmethod
    def fit(cls, table: Table) -> "TableEncoder":
        """Choose each column's features from the training data.

        Raises
        ------
        InputError
            For a column that nothing can be learned from: a text per row, an infinite number, a nested type.
        """
        return cls(tuple(fit_column(name, table[name]) for name in table.column_names))

    @property
    def notes(self) -> list[str]:
        """What the user should know of columns that may have been misread."""
        return [note for spec in self.specs if (note := columns.misread(spec))]

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [spec.name for spec in self.specs]

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in the order of `transform`."""
        return [name for spec in self.specs for name in spec.feature_names]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return sum(map(_n_features, self.specs))

    def extra(self, table: Table) -> list[str]:
        """Return the table's columns that `transform` ignores."""
        known = set(self.columns)
        return [name for name in table.column_names if name not in known]

    def transform(self, table: Table, dtype: DTypeLike = np.float32) -> Array:
        """Return the features (n_samples, n_features); columns are found by name, in any order.

        Raises
        ------
        InputError
            If columns are missing, cannot be read as they were in training, or hold infinite numbers.
        """
        if not _is_table(table):
            raise InputError(
                f"the model was trained on a table with the columns {listed(self.columns)}, "
                f"not on an array {np.shape(table)}: give a table (.csv, .parquet) with these columns"
            )
        given = set(table.column_names)  # once: Arrow makes the list anew each time
        absent = [name for name in self.columns if name not in given]
        if absent:
            raise InputError(f"the table lacks columns the model was trained on: {listed(absent)}; add them")
        out, start = np.zeros((table.num_rows, self.n_features), dtype), 0
        for spec in self.specs:
            stop = start + _n_features(spec)
            spec.write(table[spec.name], out[:, start:stop])
            start = stop
        return out

    def to_json(self) -> dict[str, Any]:
        """Return the encoder as JSON values."""
        return {"encoder": "table", "columns": [asdict(spec) for spec in self.specs]}

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "TableEncoder":
        """Return the encoder that `to_json` wrote."""
        return cls(tuple(map(_column, json["columns"])))


@dataclass(frozen=True)
class ArrayEncoder:
    """Features from a plain array: uint8 divided by 255, everything else standardised; (X - mean) / scale for both."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, X: Array) -> "ArrayEncoder":
        """Take mean and population standard deviation of each feature of `X` (n_samples, n_features)."""
        if X.dtype == np.uint8:
            return cls((0.0,) * X.shape[1], (255.0,) * X.shape[1])
        mean, scale = moments(X)
        return cls(tuple(mean.tolist()), tuple(scale.tolist()))

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.mean)

    def transform(self, X: Array, dtype: DTypeLike = np.float32) -> Array:
        """Return the features (n_samples, n_features).

        Raises
        ------
        InputError
            If `X` is a table, has another number of features, or values too large for `dtype`.
        """
        if _is_table(X):
            raise InputError(
                f"the model was trained on an array of {self.n_features} features, not on a table: "
                "give an array (.npz, .npy or idx)"
            )
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise InputError(f"the model was trained on {self.n_features} features; X has the shape {X.shape}")
        mean, scale, out = np.asarray(self.mean), np.asarray(self.scale), np.empty(X.shape, dtype)
        names, rows = (
            [f"feature {j}" for j in range(self.n_features)],
            max(columns.ELEMENTS_AT_ONCE // self.n_features, 1),
        )
        for start in range(0, len(X), rows):
            standardise(X[start : start + rows], mean, scale, out[start : start + rows], names, start)
        return out

    def to_json(self) -> dict[str, Any]:
        """Return the encoder as JSON values."""
        return {"encoder": "array", "mean": list(self.mean), "scale": list(self.scale)}

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "ArrayEncoder":
        """Return the encoder that `to_json` wrote."""
        mean, scale = finite_numbers(json["mean"]), finite_numbers(json["scale"])
        _check_scale(mean, scale)
        return cls(mean, scale)


def encoder_from_json(json: Mapping[str, Any]) -> TableEncoder | ArrayEncoder:
    """Return the encoder that its `to_json` wrote.

    Raises
    ------
    InputError
        If it is neither encoder's JSON.
    """
    encoders: dict[str, type[TableEncoder | ArrayEncoder]] = {"table": TableEncoder, "array": ArrayEncoder}
    try:
        return encoders[json["encoder"]].from_json(json)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the model's preprocessing cannot be read ({error!r:.200}): train the model again") from error


def _column(json: Mapping[str, Any]) -> Column:
    """Return the column of these JSON values; KeyError, TypeError or ValueError unless they fit each other."""
    spec = Column.from_json(json)
    fill, mean, scale = (finite_numbers(each) for each in (spec.fill, spec.mean, spec.scale))
    if not len(fill) == len(mean) == {"text": 0, "number": 1, "empty": 1, "date": 3}[spec.kind]:
        raise ValueError(f"a {spec.kind} column has {len(fill)} fills and {len(mean)} means")
    _check_scale(mean, scale)
    if not isinstance(spec.missing, bool) or not isinstance(spec.categories, tuple):
        raise TypeError("a column's missing is no bool, or its categories are no list")
    "".join((spec.name, spec.type, *spec.categories)).encode()  # TypeError, UnicodeError: one is no text for Arrow
    return replace(spec, fill=fill, mean=mean, scale=scale)


def _check_scale(mean: Sequence[float], scale: Sequence[float]) -> None:
    if len(scale) != len(mean) or not all(each > 0 for each in scale):
        raise ValueError("its scale is not a positive number for each mean")


def _n_features(spec: Column) -> int:
    """Count a column's features without their names: a hostile file's may be long and many."""
    return (len(spec.categories) + 1 if spec.kind == "text" else len(spec.fill)) + spec.missing


def _is_table(data: Any) -> bool:
    return hasattr(data, "column_names")


def listed(names: Sequence[str]) -> str:
    """Return the names in one line, the first 20 if there are more."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
