"""Tables and plain arrays as features of a network: fitted on the training data, kept in the model file as JSON."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from backprop_xp.errors import InputError

Array = NDArray[Any]
Table = Any  # pyarrow.Table; pyarrow is optional, so no type of it can be named here

_MAX_CATEGORIES = 100
_MIN_SHARE = 0.001  # of the rows, for a category to be kept
_IDENTIFIER_SHARE, _IDENTIFIER_ROWS = 0.95, 20  # more distinct texts than this, in more rows, cannot be learned from
_ELEMENTS_AT_ONCE = 4_000_000  # float64 elements of a temporary array: 32 MB
_DAY = 86_400.0
_MONDAY = 3  # 1970-01-01 was a Thursday


def arrow(module: str = "pyarrow") -> Any:
    """Return pyarrow or a module of it.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError("reading tables needs pyarrow: pip install 'backprop-xp[cli]'") from error


@dataclass(frozen=True)
class Column:
    """How one column becomes features.

    Parameters
    ----------
    name : str
    kind : str
        "number": standardised. "date": days since 1970, hour and weekday (Monday 0), standardised. "text": one-hot.
        "empty": all missing in training, so its values say nothing.
    type : str
        The column's Arrow type in training.
    missing : bool
        True if values were missing in training: then a feature says so.
    fill, mean, scale : tuple of float
        Medians that stand for missing values, means and population standard deviations: 1 for a number, 3 for a date.
    categories : tuple of str
        Those with a feature of their own; all others share the feature "other".
    """

    name: str
    kind: str
    type: str
    missing: bool
    fill: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "Column":
        """Return the column of these JSON values, whose lists stand for tuples."""
        fields: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in json.items()}
        return cls(**fields)

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in their order."""
        if self.kind == "text":
            names = [*(f"{self.name}={category}" for category in self.categories), f"{self.name} other"]
        elif self.kind == "date":
            names = [f"{self.name} {part}" for part in ("days", "hour", "weekday")]
        else:
            names = [self.name]
        return [*names, f"{self.name} missing"] if self.missing else names

    def write(self, values: Any, out: Array) -> None:
        """Fill `out` (n_samples, n_features of this column), zeros at first, from an Arrow column."""
        if self.kind == "text":
            codes, missing = self._codes(values)
            if self.missing:
                codes[missing] = len(self.categories) + 1
            out[np.arange(len(codes)), codes] = 1
            return
        numbers = self._numbers(values)
        missing = np.isnan(numbers[:, 0])
        numbers[missing] = self.fill
        _standardise(numbers, np.asarray(self.mean), np.asarray(self.scale), out[:, : len(self.fill)], [self.name] * 3)
        if self.missing:
            out[:, len(self.fill)] = missing

    def _codes(self, values: Any) -> tuple[Array, Array]:
        """Return each row's category as its place in `categories` (others: their number), and which are missing."""
        pa, pc = arrow(), arrow("pyarrow.compute")
        texts = _texts(self.name, values)
        places = pc.index_in(texts, value_set=pa.array(self.categories, pa.large_string()))
        return pc.fill_null(places, len(self.categories)).to_numpy().copy(), texts.is_null().to_numpy()

    def _numbers(self, values: Any) -> Array:
        """Return the column as (n_samples, 1), a date's as (n_samples, 3), float64 with NaN for missing."""
        if "empty" in (self.kind, _kind(self.name, values.type)):
            return np.full((len(values), len(self.fill)), np.nan)
        numbers = _floats(values) if self.kind == "number" else _dates(values)
        if numbers is None:
            raise InputError(
                f"column {self.name!r} was {self.type} in training and is {values.type} now, "
                f"for instance {self._offender(values)!r}: give it as it was in training"
            )
        return numbers

    def _offender(self, values: Any) -> Any:
        """Return the first value that cannot be read as it was in training, the first of all if each one can."""
        read = _floats if self.kind == "number" else _dates
        known = values.drop_null().unique()
        bad = (known[i] for i in range(len(known)) if read(known.slice(i, 1)) is None)
        return next(bad, known[0]).as_py()


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
        return cls(tuple(_fit_column(name, table[name]) for name in table.column_names))

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
        names, rows = [f"feature {j}" for j in range(self.n_features)], max(_ELEMENTS_AT_ONCE // self.n_features, 1)
        for start in range(0, len(X), rows):
            _standardise(X[start : start + rows], mean, scale, out[start : start + rows], names, start)
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


def moments(X: Array) -> tuple[Array, Array]:
    """Return mean and population standard deviation (1 for a constant) of each column of `X` (n_samples, n_columns).

    Columns are divided by their largest magnitude first: no sum overflows, and a constant has a deviation of 0 exactly.
    """
    mean, scale = np.empty(X.shape[1]), np.empty(X.shape[1])
    width = max(_ELEMENTS_AT_ONCE // len(X), 1)
    for start in range(0, X.shape[1], width):
        some = slice(start, start + width)
        part = X[:, some].astype(np.float64)
        peak = np.abs(part).max(axis=0)
        peak[peak == 0] = 1.0
        part /= peak
        mean[some], scale[some] = part.mean(axis=0) * peak, part.std(axis=0) * peak
    return mean, np.where(scale > 0, scale, 1.0)


def _fit_column(name: str, values: Any) -> Column:
    kind = "empty" if values.null_count == len(values) else _kind(name, values.type)
    numbers = _floats(values) if kind == "number" else _dates(values) if kind in ("date", "text") else None
    if kind == "text" and numbers is None:
        return _fit_text(name, values)
    missing = np.ones(len(values), bool) if numbers is None else np.isnan(numbers[:, 0])
    if numbers is None or missing.all():
        return Column(name, "empty", str(values.type), True, (0.0,), (0.0,), (1.0,))
    infinite = np.isinf(numbers[:, 0])
    if infinite.any():
        row = int(infinite.argmax())
        raise InputError(
            f"column {name!r} holds {numbers[row, 0]} in row {row + 1}: mend it, or leave it empty (missing)"
        )
    fill = np.median(numbers[~missing], axis=0)
    numbers[missing] = fill
    mean, scale = moments(numbers)
    fitted = (tuple(each.tolist()) for each in (fill, mean, scale))
    return Column(name, "number" if kind == "number" else "date", str(values.type), bool(missing.any()), *fitted)


def _fit_text(name: str, values: Any) -> Column:
    texts = _texts(name, values)
    counts = {each["values"]: each["counts"] for each in texts.drop_null().value_counts().to_pylist()}
    n_present = len(texts) - texts.null_count
    if n_present > _IDENTIFIER_ROWS and len(counts) > _IDENTIFIER_SHARE * n_present:
        strays = [text for text in counts if not _is_number(text)]
        if len(strays) < 0.1 * len(counts):
            raise InputError(
                f"column {name!r} holds numbers but for {len(strays)} texts such as {strays[0]!r}: mend them, leave "
                f"them empty (missing), or drop the column with --drop {name!r}"
            )
        raise InputError(
            f"column {name!r} has {len(counts)} different texts in {n_present} rows, nothing can be learned from it: "
            f"drop it with --drop {name!r}"
        )
    least = max(2, _MIN_SHARE * len(texts))
    frequent = sorted((text for text in counts if counts[text] >= least), key=lambda text: (-counts[text], text))
    return Column(name, "text", str(values.type), texts.null_count > 0, categories=tuple(frequent[:_MAX_CATEGORIES]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _kind(name: str, type_: Any) -> str:
    types = arrow("pyarrow.types")
    if types.is_null(type_):
        return "empty"
    if types.is_date(type_) or types.is_timestamp(type_):
        return "date"
    numbers = ("boolean", "integer", "floating", "decimal", "time", "duration")
    if any(getattr(types, f"is_{each}")(type_) for each in numbers):
        return "number"
    if any(getattr(types, f"is_{each}")(type_) for each in ("string", "large_string", "string_view", "dictionary")):
        return "text"
    raise InputError(f"column {name!r} holds {type_}, which cannot be made a feature: drop it with --drop {name!r}")


def _floats(values: Any) -> Array | None:
    """Return numbers, times and durations (seconds), or texts of numbers as float64 (n, 1); None for anything else."""
    pa = arrow()
    seconds = 1.0
    if pa.types.is_time(values.type) or pa.types.is_duration(values.type):
        micro = pa.time64("us") if pa.types.is_time(values.type) else pa.duration("us")
        values, seconds = values.cast(micro, safe=False).cast(pa.int64()), 1e6
    try:
        floats = _plain(values).cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return np.asarray(floats.to_numpy(zero_copy_only=False))[:, None] / seconds


def _dates(values: Any) -> Array | None:
    """Return days since 1970, hour and weekday of dates, or of texts of dates, as float64 (n, 3); None otherwise."""
    pa, values = arrow(), _plain(values)
    stamps = None
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        stamps = values.cast(pa.timestamp("us", getattr(values.type, "tz", None)), safe=False)
    elif values.type in (pa.string(), pa.large_string()):
        stamps = _first_cast(values, (pa.timestamp("us"), pa.timestamp("us", "UTC")))
    if stamps is None:
        return None
    micro = stamps.cast(pa.int64()).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    days = micro / (_DAY * 1e6)
    whole = np.floor(days)
    return np.stack((days, np.floor((days - whole) * 24), (whole + _MONDAY) % 7), axis=1)


def _first_cast(values: Any, types: Sequence[Any]) -> Any:
    for each in types:
        try:
            values.drop_null().slice(0, 1).cast(each)  # a cast that fails is slow: mostly the first value tells
            return values.cast(each)
        except arrow().ArrowInvalid:
            continue
    return None


def _plain(values: Any) -> Any:
    """Return a dictionary column decoded, views of text as text, any other as it is."""
    pa = arrow()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values.cast(pa.large_string()) if pa.types.is_string_view(values.type) else values


def _texts(name: str, values: Any) -> Any:
    pa = arrow()
    try:
        return _plain(values).cast(pa.large_string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise InputError(f"column {name!r} was text in training and is {values.type} now: give it as text") from None


def _standardise(X: Array, mean: Array, scale: Array, out: Array, names: Sequence[str], row: int = 0) -> None:
    """Write (X - mean) / scale to `out`; `names` of the columns and the first row's number are for the error."""
    with np.errstate(over="ignore"):
        out[...] = (X - mean) / scale
    finite = np.isfinite(out)
    if not finite.all():
        i, j = np.argwhere(~finite)[0].tolist()
        raise InputError(
            f"{names[j]!r} holds {X[i, j]} in row {row + i + 1}, too large for {out.dtype}: mend or remove it"
        )


def _is_table(data: Any) -> bool:
    return hasattr(data, "column_names")


def listed(names: Sequence[str]) -> str:
    """Return the names in one line, the first 20 if there are more."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
