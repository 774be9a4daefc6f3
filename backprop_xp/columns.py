"""One column of a table as features of a network: numbers, dates and texts, fitted on the training data."""

import importlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_xp.errors import InputError

Array = NDArray[Any]
Table = Any  # pyarrow.Table; pyarrow is optional, so no type of it can be named here

_MAX_CATEGORIES = 100
_MIN_SHARE = 0.001  # of the rows, for a category to be kept
_IDENTIFIER_SHARE, _IDENTIFIER_ROWS = 0.95, 20  # more distinct texts than this, in more rows, cannot be learned from
ELEMENTS_AT_ONCE = 4_000_000  # float64 elements of a temporary array: 32 MB
_HOUR, _DAY = 3_600_000_000, 86_400_000_000  # microseconds
_MONDAY = 3  # 1970-01-01 was a Thursday
_FEW = 10  # different values, which may well be categories, whatever they look like
_SIGNS = re.compile(r"[$€£¥%,'\s]")
_DATE = re.compile(
    r"(?i)(\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d{2})"
    r"|[a-z]{3,9}\.? \d{1,2},? \d{4}|\d{1,2}\.? [a-z]{3,9} \d{4})([ T].*)?"
)


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
        if values.null_count == len(values):  # its type then says nothing
            values = arrow().chunked_array([arrow().nulls(len(values))])
        if self.kind == "text":
            codes, missing = self._codes(values)
            if self.missing:
                codes[missing] = len(self.categories) + 1
            out[np.arange(len(codes)), codes] = 1
            return
        numbers = self._numbers(values)
        missing = np.isnan(numbers[:, 0])
        numbers[missing] = self.fill
        standardise(numbers, np.asarray(self.mean), np.asarray(self.scale), out[:, : len(self.fill)], [self.name] * 3)
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
        return as_python(next(bad, known[0]))


def fit_column(name: str, values: Any) -> Column:
    """Return how an Arrow column becomes features, chosen from its training values.

    Raises
    ------
    InputError
        If nothing can be learned from it: a text per row, an infinite number, a nested type.
    """
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
    try:
        counts = {each["values"]: each["counts"] for each in texts.drop_null().value_counts().to_pylist()}
    except UnicodeDecodeError:
        raise InputError(
            f"column {name!r} holds text that is not UTF-8: write it as UTF-8, or drop it with --drop {name!r}"
        ) from None
    n_present = len(texts) - texts.null_count
    if n_present > _IDENTIFIER_ROWS and len(counts) > _IDENTIFIER_SHARE * n_present:
        strays = [text for text in counts if not is_number(text)]
        if strays and len(strays) < 0.1 * len(counts):
            raise InputError(
                f"column {name!r} holds numbers but for {len(strays)} texts such as {strays[0]!r}: mend them, leave "
                f"them empty (missing), or drop the column with --drop {name!r}"
            )
        way = way_to_write(counts) if strays else _as_numbers(counts)
        raise InputError(
            f"column {name!r} has {len(counts)} different texts in {n_present} rows, nothing can be learned from it: "
            f"{way + ', or ' if way else ''}drop it with --drop {name!r}"
        )
    least = max(2, _MIN_SHARE * len(texts))
    frequent = sorted((text for text in counts if counts[text] >= least), key=lambda text: (-counts[text], text))
    return Column(name, "text", str(values.type), texts.null_count > 0, categories=tuple(frequent[:_MAX_CATEGORIES]))


def misread(column: Column) -> str | None:
    """Return a note on a column that is learned as text, though most of its values look like numbers or dates."""
    if len(column.categories) <= _FEW:
        return None
    strays = [text for text in column.categories if not is_number(text)]
    if not strays:
        way: str | None = _as_numbers(column.categories)
    elif len(strays) < 0.1 * len(column.categories):
        way = f"leave empty what is none, such as {strays[0]!r}"
    else:
        way = way_to_write(column.categories)
    return way and f"column {column.name!r} is learned as text, one-hot; to have it as a quantity, {way}"


def _as_numbers(texts: Collection[str]) -> str:
    commas = " (if numbers in a file parted by ';' have decimal commas, all must)"
    return f"give it as numbers, not as texts{commas if any('.' in text for text in texts) else ''}"


def way_to_write(texts: Collection[str]) -> str | None:
    """Return how numbers with signs, or dates, are to be written, if most of the texts are such."""
    numbers = [text for text in texts if is_number(_SIGNS.sub("", text))]
    if len(numbers) > 0.9 * len(texts):
        return f"write numbers such as {numbers[0]!r} without signs and thousands separators"
    dates = [text for text in texts if _DATE.fullmatch(text)]
    if len(dates) > 0.9 * len(texts):
        return f"write dates such as {dates[0]!r} as 2023-12-31"
    return None


def is_number(text: str) -> bool:
    """Tell whether a text can be read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_python(cell: Any) -> Any:
    """Return an Arrow cell as Python has it, or as text if Python cannot: a year 20000, a nanosecond, bad UTF-8."""
    pa = arrow()
    try:
        return cell.as_py()
    except (ValueError, OverflowError):
        pass
    try:
        return cell.cast(pa.string()).as_buffer().to_pybytes().decode(errors="replace")
    except pa.ArrowException:  # a time zone that is not known here
        return f"<{cell.type}>"


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
    raise InputError(
        f"column {name!r} holds {type_}, which cannot be made a feature: give it as numbers or text (UTF-8), "
        f"or drop it with --drop {name!r}"
    )


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
    micro = stamps.cast(pa.int64()).fill_null(0).to_numpy()
    day, rest = np.divmod(micro, _DAY)
    dates = np.stack((micro / _DAY, rest // _HOUR, (day + _MONDAY) % 7), axis=1)
    dates[stamps.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return dates


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


def standardise(X: Array, mean: Array, scale: Array, out: Array, names: Sequence[str], row: int = 0) -> None:
    """Write (X - mean) / scale to `out`; `names` of the columns and the first row's number are for the error."""
    with np.errstate(over="ignore"):
        out[...] = (X - mean) / scale
    finite = np.isfinite(out)
    if not finite.all():
        i, j = np.argwhere(~finite)[0].tolist()
        raise InputError(
            f"{names[j]!r} holds {X[i, j]} in row {row + i + 1}, too large for {out.dtype}: mend or remove it"
        )


def moments(X: Array) -> tuple[Array, Array]:
    """Return mean and population standard deviation (1 for a constant) of each column of `X` (n_samples, n_columns).

    Columns are divided by their largest magnitude first: no sum overflows, and a constant has a deviation of 0 exactly.
    """
    mean, scale = np.empty(X.shape[1]), np.empty(X.shape[1])
    width = max(ELEMENTS_AT_ONCE // len(X), 1)
    for start in range(0, X.shape[1], width):
        some = slice(start, start + width)
        part = X[:, some].astype(np.float64)
        peak = np.abs(part).max(axis=0)
        peak[peak == 0] = 1.0
        part /= peak
        mean[some], scale[some] = part.mean(axis=0) * peak, part.std(axis=0) * peak
    return mean, np.where(scale > 0, scale, 1.0)
