"""Data sets by name or from a file: scikit-learn's bundled ones, AND and XOR; CSV, Parquet, NumPy and idx files."""

import csv
import difflib
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from backprop_xp.array_files import (
    check_inputs,
    check_target,
    is_idx,
    labels_beside,
    open_binary,
    read_array,
    read_npz,
    reading,
)
from backprop_xp.columns import Table, arrow
from backprop_xp.errors import InputError
from backprop_xp.files import user_path
from backprop_xp.tables import ArrayEncoder, TableEncoder, listed
from backprop_xp.targets import Target

Array = NDArray[Any]

_DEFAULT_TARGETS = ("target", "label", "class", "y")
_COMPARISON = re.compile(r"""\s*(?P<column>.+?)\s*(?P<operator>[<>!=]=|[<>])\s*(?P<value>[^<>=!\s].*?)\s*""")
_OPERATORS = {">": "greater", ">=": "greater_equal", "<": "less", "<=": "less_equal", "==": "equal", "!=": "not_equal"}

_FORMATS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet", ".npz": "npz", ".npy": "array"}
_BYTES = ("binary", "large_binary", "fixed_size_binary")  # what the names of Arrow's types of bytes begin with
_CONVERT = "convert the file, for instance with iconv -t utf-8"
_DELIMITERS = ",;\t|"
_MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "?")
_SAMPLE_BYTES, _SAMPLE_ROWS = 1 << 20, 20
# A Parquet file of more numbers than 512 MiB, and than so many times its own size, is not believed.
_PLAUSIBLE, _PARQUET_RATIO = 1 << 29, 1000
_BLOCK_BYTES = 1 << 24  # pyarrow parses a block at a time, and no row may be longer


@dataclass(frozen=True)
class Dataset:
    """Inputs and target as they were read.

    Parameters
    ----------
    name : str
    inputs : pyarrow.Table or array (n_samples, n_features)
    target : array (n_samples,) or (n_samples, n_outputs), optional
        Raw values: numbers, bool, or Python strings. None if there is none and none was needed.
    target_name : str, optional
        By what the same target is found in another file: a column, a comparison, an array of .npz. None if the labels
        are a file of their own, or there are none.
    notes : tuple of str
        What the user should know of the reading, a line each.
    numbers : array (n_samples,), optional
        Of the rows as they were read, from 1; None if they are all there, in their order.
    """

    name: str
    inputs: Any
    target: Array | None
    target_name: str | None
    notes: tuple[str, ...] = ()
    numbers: Array | None = None


def load(
    source: str,
    target: str | None = None,
    *,
    drop: Sequence[str] = (),
    need_target: bool = True,
    text: Collection[str] | None = None,
) -> Dataset:
    """Return a data set by name, or from a file.

    Parameters
    ----------
    source : str
        A name of `BUILT_IN`, or a path: .csv, .tsv (also gzipped), .parquet, .npz (arrays X and y), .npy (X), or idx
        (also gzipped). A file of another extension is told by its first bytes.
    target : str, optional
        Of a table: a column, or a comparison such as ``arr_delay > 15``, whose column is then no input. Of .npz: an
        array. Of .npy and idx: the file of labels. If None, what is usual is taken.
    drop : sequence of str
        Columns of a table that shall be no inputs.
    need_target : bool
        False if a target may be absent; then no row is dropped because its target is missing.
    text : collection of str, optional
        Of data for a model: the columns of a CSV file to be read as text, see `text_columns`. The other columns are
        then the model's to judge, which may not use them.

    Raises
    ------
    InputError
        If there is no such thing, or it cannot be used as it is.
    """
    if source in BUILT_IN:
        return _split(source, BUILT_IN[source](), target, drop, need_target)
    path = _file(source)
    with reading(path):
        form = _FORMATS.get(path.suffix.lower()) or _sniffed(path)
        if form in ("csv", "parquet"):
            table = _read_csv(path, text or ()) if form == "csv" else _read_parquet(path)
            table = _checked(path, table)
            if text is None:
                _check_text(path, table, drop, form)
            return _split(path.name, table, target, drop, need_target)
        if drop:
            raise InputError(f"{path.name} holds arrays, which have no columns to drop: leave --drop {drop[0]!r} out")
        return _from_npz(path, target, need_target) if form == "npz" else _from_arrays(path, target, need_target)


def text_columns(encoder: TableEncoder | ArrayEncoder, target: Target | None, name: str | None) -> set[str]:
    """Return the columns that were text in training, the target `name` among them if its classes were.

    Read without them, a CSV file in which they all look like numbers or times has other values: 2134 for 02134.
    """
    specs = getattr(encoder, "specs", ())
    names = {spec.name for spec in specs if spec.kind == "text" and "string" in str(spec.type)}
    classes = () if target is None else target.classes or ()
    return names | {name} if name and any(isinstance(each, str) for each in classes) else names


def _bundled(name: str) -> Callable[[], Table]:
    def table() -> Table:
        import sklearn.datasets

        bunch = getattr(sklearn.datasets, f"load_{name}")()
        named = name not in ("digits", "diabetes")
        target = bunch.target_names[bunch.target].tolist() if named else bunch.target
        return arrow().table([*bunch.data.T, target], names=[*map(str, bunch.feature_names), "target"])

    return table


def _truth_table(outputs: list[int]) -> Callable[[], Table]:
    return lambda: arrow().table({"x1": [0, 0, 1, 1], "x2": [0, 1, 0, 1], "target": outputs})


BUILT_IN: dict[str, Callable[[], Table]] = {
    "and": _truth_table([0, 0, 0, 1]),
    "xor": _truth_table([0, 1, 1, 0]),
    **{name: _bundled(name) for name in ("breast_cancer", "diabetes", "digits", "iris", "wine")},
}


def _file(source: str) -> Path:
    path = user_path(source)
    with reading(path):
        if path.is_dir():
            raise InputError(f"{source!r} is a directory: give one file in it (.csv, .parquet, .npz, .npy or idx)")
        if path.exists():
            return path
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {str(path.parent)!r} to read {path.name!r} from: check the path")
        files = {str(path.with_name(each.name)): each.name for each in path.parent.iterdir() if each.is_file()}
    close = _closest(source, [*BUILT_IN, *files])
    raise InputError(f"there is no file {source!r}{close} Built-in data sets: {', '.join(sorted(BUILT_IN))}")


def _sniffed(path: Path) -> str:
    with open_binary(path) as file:
        start = file.read(8)
    if start.startswith(b"\x93NUMPY") or is_idx(start):
        return "array"
    return "parquet" if start.startswith(b"PAR1") else "npz" if start.startswith(b"PK\x03\x04") else "csv"


def _from_npz(path: Path, target: str | None, need_target: bool) -> Dataset:
    name = target or "y"
    X, y = read_npz(path, name)
    check_inputs("X", X)
    if y is not None:
        return Dataset(path.name, X, check_target(name, y, len(X)), name)
    if need_target:
        raise InputError(f"{path} has no array {name!r}: save it with numpy.savez(path, X=X, {name}={name})")
    return Dataset(path.name, X, None, None)


def _from_arrays(path: Path, target: str | None, need_target: bool) -> Dataset:
    X = read_array(path)
    check_inputs("X", X)
    labels = labels_beside(path) if target is None else user_path(target)
    if not need_target and (labels is None or not labels.exists()):
        return Dataset(path.name, X, None, None)
    if labels is None:
        raise InputError(f"{path.name} holds inputs only: name the file of their labels, for instance --target y.npy")
    labels = _file(str(labels))
    with reading(labels):
        return Dataset(path.name, X, check_target(labels.name, read_array(labels), len(X)), None)


def is_row_index(column: str) -> bool:
    """Tell whether a column has the name of what pandas writes of a frame's index: none, Unnamed: 0, or its own."""
    return re.fullmatch(r"|Unnamed: \d+|__index_level_\d+__", column) is not None


def _read_parquet(path: Path) -> Table:
    parquet, pa = arrow("pyarrow.parquet"), arrow()
    try:
        file = parquet.ParquetFile(path)
        claimed = 8 * _claimed_values(file.metadata)
        if claimed > max(_PLAUSIBLE, path.stat().st_size * _PARQUET_RATIO):
            raise InputError(
                f"{path} is damaged: {path.stat().st_size:,} bytes cannot hold {claimed:,} bytes of numbers"
            )
        return file.read()
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path} is not a Parquet file, or is cut short: give a CSV file the extension .csv"
        ) from error


def _claimed_values(metadata: Any) -> int:
    """Return how many values a Parquet file says to have: a row of lists has many."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    values = sum(max(0, group.column(j).num_values) for group in groups for j in range(metadata.num_columns))
    return int(max(values, metadata.num_rows * metadata.num_columns))


def _read_csv(path: Path, as_text: Collection[str]) -> Table:
    pa, reader = arrow(), arrow("pyarrow.csv")
    with open_binary(path) as file:
        sample = file.read(_SAMPLE_BYTES)
    if not sample.strip():
        raise InputError(f"{path} is empty: a header line and rows are needed")
    if b"\0" in sample:
        raise InputError(
            f"{path} is not a text file: give CSV in UTF-8, or Parquet, .npz, .npy or idx with that extension"
        )
    text = sample.decode("utf-8-sig", errors="replace")
    delimiter = max(_DELIMITERS, key=lambda each: _fit_of(each, text))
    decimal_comma = delimiter == ";" and re.search(r"(^|;)-?\d+,\d+(;|\r?$)", text, re.MULTILINE)
    convert = reader.ConvertOptions(
        column_types={name: pa.string() for name in _header(text, delimiter) if name.strip() in as_text},
        null_values=[space + each for each in _MISSING for space in ("", " ")],
        strings_can_be_null=True,
        decimal_point="," if decimal_comma else ".",
    )
    try:
        with open_binary(path) as file:
            return reader.read_csv(
                file,
                reader.ReadOptions(block_size=_BLOCK_BYTES),
                reader.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert,
            )
    except pa.ArrowInvalid as error:
        if "invalid UTF8" in str(error):
            raise InputError(f"{path} is not UTF-8 text: {_CONVERT}") from None
        raise InputError(
            _ragged(path, delimiter) or f"{path} cannot be read as CSV: {' '.join(str(error).split())}"
        ) from error


def _fit_of(delimiter: str, text: str) -> tuple[bool, int]:
    """Return whether the first rows agree in having more than one field, and the number of fields in the header."""
    try:
        widths = [len(row) for _, row in islice(_rows(io.StringIO(text), delimiter), _SAMPLE_ROWS)]
    except csv.Error:  # a field of more than 128 kB: not the delimiter
        widths = []
    if len(text) >= _SAMPLE_BYTES // 4 and len(widths) < _SAMPLE_ROWS:  # the last row may be cut
        widths = widths[:-1]
    header = widths[0] if widths else 0
    return header > 1 and set(widths) == {header}, header


def _header(text: str, delimiter: str) -> list[str]:
    """Return the names of the columns as they stand there."""
    try:
        return next(_rows(io.StringIO(text, newline=""), delimiter))[1]
    except (StopIteration, csv.Error):
        return []


def _rows(text: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, fields) of each row; blank lines are none."""
    rows = csv.reader(text, delimiter=delimiter)
    return ((rows.line_num, row) for row in rows if row)


def _ragged(path: Path, delimiter: str) -> str | None:
    """Return the message for the first row whose number of fields is not the header's."""
    with open_binary(path) as file, io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="") as text:
        rows = _rows(text, delimiter)
        try:
            width = len(next(rows)[1])
            line, row = next(each for each in rows if len(each[1]) != width)
        except (StopIteration, csv.Error):
            return None
    return (
        f"{path}: line {line} has {len(row)} fields, the header has {width} (delimiter {delimiter!r}): "
        "mend that line, or the header if its delimiter is another"
    )


def _checked(path: Path, table: Table) -> Table:
    try:
        names = [name.strip() for name in table.column_names]
    except UnicodeDecodeError:
        raise InputError(f"{path}: the header is not UTF-8 text: {_CONVERT}") from None
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"{path} has more than one column named {twice[0]!r}: the first line must name each column once"
        )
    if not table.num_rows:
        raise InputError(f"{path} has a header but no rows: add rows")
    return table.rename_columns(names)


def _check_text(path: Path, table: Table, drop: Sequence[str], form: str) -> None:
    """Refuse bytes, which are no text and no number, but for columns that are dropped."""
    for name, type_ in zip(table.column_names, table.schema.types, strict=True):
        base = type_.value_type if arrow("pyarrow.types").is_dictionary(type_) else type_
        if name not in drop and str(base).startswith(_BYTES):
            what = f"holds {type_}: " if form == "parquet" else "is not UTF-8 text: "
            way = f"drop it with --drop {name!r}, or cast it to string" if form == "parquet" else _CONVERT
            raise InputError(f"{path}: column {name!r} {what}{way}")


def _split(name: str, table: Table, target: str | None, drop: Sequence[str], need_target: bool) -> Dataset:
    """Part the target from the inputs, and drop rows whose target is missing."""
    columns = table.column_names
    for each in drop:
        if each not in columns:
            raise InputError(
                f"--drop: {name} has no column {each!r}{_closest(each, columns)} Columns: {listed(columns)}; "
                "for several columns give --drop several times"
            )
    column, comparison = _target_column(name, columns, target, need_target)
    if column in drop:
        raise InputError(f"the column {column!r} is the target, it cannot be dropped: leave --drop {column!r} out")
    inputs = table.drop_columns(sorted({*drop, *([column] if column else [])}))
    if not inputs.num_columns:
        raise InputError(
            f"{name} has no column left as input (Columns: {listed(columns)}): fields must be parted by , ; | or tab"
        )
    if column is None:
        return Dataset(name, inputs, None, None)

    try:
        values, label = _target_values(table[column], column, comparison), target or column
    except InputError:
        if need_target:
            raise
        return Dataset(name, inputs, None, None)
    notes: tuple[str, ...] = ()
    numbers = None
    if need_target and values.null_count:
        n_missing, n_rows = values.null_count, len(values)
        if n_missing == n_rows:
            raise InputError(
                f"the target {label!r} of {name} is missing in all {n_rows} rows: choose another with --target"
            )
        present = values.is_valid()
        inputs, values = inputs.filter(present), values.filter(present)
        numbers = present.to_numpy().nonzero()[0] + 1
        notes = (f"{n_missing} of {n_rows} rows dropped: their target {label!r} is missing",)
    return Dataset(name, inputs, values.to_numpy(), label, notes, numbers)


def _target_column(
    name: str, columns: list[str], target: str | None, need_target: bool
) -> tuple[str | None, re.Match[str] | None]:
    """Return the column that `target` names or compares, and the comparison."""
    if target is None:
        column = next((each for each in _DEFAULT_TARGETS if each in columns), None)
        if column or not need_target:
            return column, None
        raise InputError(
            f"{name} has no column target, label, class or y: name it with --target COLUMN. Columns: {listed(columns)}"
        )
    if target in columns:
        return target, None
    comparison = _COMPARISON.fullmatch(target)
    if comparison and comparison["column"] in columns:
        return comparison["column"], comparison
    if not need_target:
        return None, None
    named = comparison["column"] if comparison else target
    raise InputError(
        f"--target: {name} has no column {named!r}{_closest(named, columns)} Columns: {listed(columns)}; "
        'a comparison is written as "column > 15"'
    )


def _target_values(values: Any, column: str, comparison: re.Match[str] | None) -> Any:
    """Return the target as Arrow values: numbers, bool or text, with null for missing."""
    types, pc = arrow("pyarrow.types"), arrow("pyarrow.compute")
    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    if comparison and not types.is_null(values.type):
        right = _right_side(values, column, comparison["value"])
        try:
            return getattr(pc, _OPERATORS[comparison["operator"]])(values, right)
        except arrow().ArrowException as error:
            raise InputError(f"--target: {right} cannot be compared with column {column!r}: {error}") from None
    if types.is_decimal(values.type):
        return values.cast(arrow().float64())
    if types.is_temporal(values.type) or types.is_nested(values.type):
        raise InputError(
            f'the target {column!r} holds {values.type}: choose numbers or text, or a comparison "{column} > ..."'
        )
    return values


def _right_side(values: Any, column: str, written: str) -> Any:
    """Return the right side of a comparison: a number, or a quoted text read as the column's type."""
    pa, types = arrow(), arrow("pyarrow.types")
    number = types.is_boolean(values.type) or types.is_integer(values.type)
    number = number or types.is_floating(values.type) or types.is_decimal(values.type)
    text = types.is_string(values.type) or types.is_large_string(values.type)
    quoted = len(written) > 1 and written[0] == written[-1] and written[0] in "'\""
    try:
        if number and not quoted:
            if types.is_boolean(values.type):
                return pa.scalar(bool(float(written)))
            whole = re.fullmatch(r"[+-]?\d+", written) is not None  # 2^53 and more are not exact as floats
            return pa.scalar(int(written) if whole else float(written))
        if quoted and (text or types.is_temporal(values.type)):
            return pa.scalar(written[1:-1]).cast(values.type)
    except (ValueError, OverflowError, pa.ArrowException):
        pass
    way = "a quoted text such as 'yes'" if text else "a number" if number else "a quoted date or time"
    raise InputError(f"--target: {written} cannot be compared with column {column!r} of {values.type}: give {way}")


def _closest(name: str, choices: Iterable[str]) -> str:
    """Return "; did you mean ...?" for the choice nearest to `name`, else "."."""
    by_lower = {each.lower(): each for each in choices}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else "."
