"""Tables and plain arrays as features of a network, kept in the model file as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from backprop_xp import columns
from backprop_xp.columns import Array, Column, Table, fit_column, moments, standardise
from backprop_xp.errors import InputError


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
        return len(self.feature_names)

    def extra(self, table: Table) -> list[str]:
        """Return the table's columns that `transform` ignores."""
        return [name for name in table.column_names if name not in self.columns]

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
        absent = [name for name in self.columns if name not in table.column_names]
        if absent:
            raise InputError(f"the table lacks columns the model was trained on: {listed(absent)}; add them")
        out, start = np.zeros((table.num_rows, self.n_features), dtype), 0
        for spec in self.specs:
            stop = start + len(spec.feature_names)
            spec.write(table[spec.name], out[:, start:stop])
            start = stop
        return out

    def to_json(self) -> dict[str, Any]:
        """Return the encoder as JSON values."""
        return {"encoder": "table", "columns": [asdict(spec) for spec in self.specs]}

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "TableEncoder":
        """Return the encoder that `to_json` wrote."""
        return cls(tuple(Column.from_json(spec) for spec in json["columns"]))


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
        return cls(tuple(json["mean"]), tuple(json["scale"]))


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
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the model's preprocessing cannot be read ({error!r}): train the model again") from error


def _is_table(data: Any) -> bool:
    return hasattr(data, "column_names")


def listed(names: Sequence[str]) -> str:
    """Return the names in one line, the first 20 if there are more."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
