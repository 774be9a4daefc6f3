"""Data sets: the bundled ones, every file format, targets and comparisons, and what is said of bad input."""

import gzip
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backprop_xp import InputError, datasets
from backprop_xp.datasets import BUILT_IN, load, text_columns
from backprop_xp.tables import ArrayEncoder, TableEncoder
from backprop_xp.targets import Target


@pytest.fixture
def write(tmp_path):
    """Write a file of the temporary folder and return its path as text."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def idx(array, code=0x08):
    """The bytes of an idx file."""
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def refused(words, source, *args, **kwargs):
    """Assert that loading is refused by one line that holds the words."""
    with pytest.raises(InputError, match=words) as caught:
        load(source, *args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "kind", "first"),
    [
        ("digits", (1797, 64), "i", 0),
        ("iris", (150, 4), "O", "setosa"),
        ("wine", (178, 13), "O", "class_0"),
        ("breast_cancer", (569, 30), "O", "malignant"),
        ("diabetes", (442, 10), "f", 151.0),
        ("and", (4, 2), "i", 0),
        ("xor", (4, 2), "i", 0),
    ],
)
def test_built_in(name, shape, kind, first):
    data = load(name)
    assert data.inputs.shape == shape
    assert (data.name, data.target_name, data.notes) == (name, "target", ())
    assert data.target.shape == shape[:1]
    assert data.target.dtype.kind == kind
    assert data.target[0] == first
    assert type(data.target.tolist()[0]) is type(first)
    assert "target" not in data.inputs.column_names


def test_built_in_names_and_truth_tables():
    assert set(BUILT_IN) == {"digits", "iris", "wine", "breast_cancer", "diabetes", "and", "xor"}
    assert load("and").target.tolist() == [0, 0, 0, 1]
    assert load("xor").target.tolist() == [0, 1, 1, 0]
    assert load("xor").inputs.to_pydict() == {"x1": [0, 0, 1, 1], "x2": [0, 1, 0, 1]}


def test_built_in_takes_comparison_and_drop():
    data = load("diabetes", "target > 140", drop=["sex"])
    assert data.target.tolist() == (load("diabetes").target > 140).tolist()
    assert "sex" not in data.inputs.column_names


def test_import_loads_neither_pyarrow_nor_sklearn():
    code = "import sys, backprop_xp.datasets, backprop_xp.tables; print({'pyarrow', 'sklearn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("source", ["iris", "data.csv", "data.parquet"])
def test_without_pyarrow(source, write, monkeypatch):
    path = source if source in BUILT_IN else write(source, "a,target\n1,2\n")
    for module in ("pyarrow", "pyarrow.csv", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    refused(re.escape("reading tables needs pyarrow: pip install 'backprop-xp[cli]'"), path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.dat"])
def test_delimiter_is_detected(delimiter, name, write):
    text = "a b,name,target\n1,x,3\n2,y,4\n".replace(",", delimiter)
    data = load(write(name, gzip.compress(text.encode()) if name.endswith("gz") else text))
    assert data.inputs.to_pydict() == {"a b": [1, 2], "name": ["x", "y"]}
    assert data.target.tolist() == [3, 4]


def test_delimiter_in_quotes_and_byte_order_mark(write):
    data = load(write("t.csv", '\ufeff"a;b";target\n"1,5;x\ny";1\n"2,5;y";2\n'))
    assert data.inputs.to_pydict() == {"a;b": ["1,5;x\ny", "2,5;y"]}


def test_decimal_comma(write):
    assert load(write("t.csv", "a;target\n1,5;1\n-2,25;2\n")).inputs.to_pydict() == {"a": [1.5, -2.25]}


def test_delimiter_is_told_by_rows_that_agree(write):
    data = load(write("t.csv", "a;b,c;d,target\n1,2,3\n4,5,6\n"))
    assert data.inputs.column_names == ["a;b", "c;d"]


def test_missing_marks_and_names_are_trimmed(write):
    text = 'a, b,target\n1, x,1\nNA,?,2\nNaN,None,3\nnull,"",4\n ?, NA,5\n'
    data = load(write("t.csv", text))
    assert data.inputs.to_pydict() == {"a": [1, None, None, None, None], "b": [" x", None, None, None, None]}


@pytest.mark.parametrize(
    ("early", "late", "expected"), [("1", "x", "string"), ("1", "2.5", "double"), ("", "x", "string")]
)
def test_late_value_of_another_type(early, late, expected, write, monkeypatch):
    monkeypatch.setattr(datasets, "_BLOCK_BYTES", 64)
    data = load(write("t.csv", "a,target\n" + f"{early},1\n" * 200 + f"{late},1\n"))
    assert str(data.inputs["a"].type) == expected
    assert len(data.target) == 201


@pytest.mark.parametrize("name", ["t.parquet", "t.pq", "t.unknown"])
def test_parquet(name, tmp_path):
    path = tmp_path / name
    table = pa.table({"a": [1.0, None], "kind": pa.array(["x", "y"]).dictionary_encode(), "label": ["u", "v"]})
    pq.write_table(table, path)
    data = load(str(path))
    assert data.inputs.equals(table.drop_columns("label"))
    assert data.target.tolist() == ["u", "v"]
    assert load(str(path), "kind").target.tolist() == ["x", "y"]


def test_parquet_in_a_folder_named_like_a_partition(tmp_path):
    path = tmp_path / "year=2013" / "t.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"a": [1, 2], "y": [0, 1]}), path)
    assert load(str(path)).inputs.column_names == ["a"]


# Targets of tables


FLIGHTS = "carrier,arr_delay,dep\nUA,20,1\nAA,,2\nUA,15,3\nDL,-3,4\n"


@pytest.mark.parametrize("name", ["target", "label", "class", "y"])
def test_default_target(name, write):
    assert load(write("t.csv", f"a,{name}\n1,2\n")).target_name == name


def test_default_target_absent(write):
    refused(r"no column target.*--target COLUMN.*carrier, arr_delay, dep", write("t.csv", FLIGHTS))


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (">", [1, 0, 0]),
        (">=", [1, 1, 0]),
        ("<", [0, 0, 1]),
        ("<=", [0, 1, 1]),
        ("==", [0, 1, 0]),
        ("!=", [1, 0, 1]),
    ],
)
@pytest.mark.parametrize("spaces", ["", " "])
def test_comparison(operator, expected, spaces, write):
    target = f"arr_delay{spaces}{operator}{spaces}15"
    data = load(write("t.csv", FLIGHTS), target)
    assert data.target.dtype == bool
    assert data.target.tolist() == list(map(bool, expected))
    assert data.target_name == target
    assert data.inputs.to_pydict() == {"carrier": ["UA", "UA", "DL"], "dep": [1, 3, 4]}
    assert data.notes == (f"1 of 4 rows dropped: their target {target!r} is missing",)


@pytest.mark.parametrize("target", ["carrier == 'UA'", 'carrier=="UA"'])
def test_comparison_with_text(target, write):
    assert load(write("t.csv", FLIGHTS), target).target.tolist() == [True, False, True, False]


def test_comparison_with_date_bool_and_decimal(write):
    path = write("t.csv", "day,ok,x\n2013-01-01,true,1.5\n2013-06-01,false,2.5\n")
    assert load(path, "day >= '2013-03-01'").target.tolist() == [False, True]
    assert load(path, "ok == 1").target.tolist() == [True, False]
    assert load(path, "x < 2e0").target.tolist() == [True, False]


def test_comparison_skips_nan(tmp_path):
    pq.write_table(pa.table({"a": [1, 2, 3], "d": [1.0, np.nan, 30.0]}), tmp_path / "t.parquet")
    data = load(str(tmp_path / "t.parquet"), "d > 15")
    assert data.target.tolist() == [False, True]
    assert data.inputs.to_pydict() == {"a": [1, 3]}


def test_exact_column_wins_over_comparison(write):
    data = load(write("t.csv", "a,a > 1\n1,7\n2,8\n"), "a > 1")
    assert data.target.tolist() == [7, 8]
    assert data.inputs.column_names == ["a"]


def test_integers_stay_integers_when_rows_are_dropped(write):
    data = load(write("t.csv", "a,target\n1,2\n2,\n3,4\n"))
    assert data.target.dtype == np.int64
    assert data.inputs.to_pydict() == {"a": [1, 3]}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("arr_dely", r"no column 'arr_dely'; did you mean 'arr_delay'\?.*carrier, arr_delay, dep"),
        ("arr_dely > 15", r"no column 'arr_dely'; did you mean 'arr_delay'\?"),
        ("arr_delay = 15", r'no column .*"column > 15"'),
        ("arr_delay > late", "late cannot be compared.*a number"),
        ("arr_delay > '15'", "cannot be compared with column 'arr_delay' of int64"),
        ("day > 15", "'day' of date32.*: give a quoted date"),
        ("day > 'soon'", "'day' of date32.*: give a quoted date"),
        ("carrier > 15", "carrier.*string: give a quoted text"),
    ],
)
def test_target_is_refused(target, words, write):
    text = FLIGHTS.replace("\n", ",2013-01-01\n").replace("dep,2013-01-01", "dep,day")
    refused(words, write("t.csv", text), target)


def test_target_all_missing(write):
    path = write("t.csv", "a,target\n1,\n2,NA\n")
    refused(r"'target' of t\.csv is missing in all 2 rows.*--target", path)
    refused(r"'target > 1' of t\.csv is missing in all 2 rows", path, "target > 1")
    assert load(path, need_target=False).inputs.num_rows == 2


def test_date_as_target(write):
    refused("'day' holds date32.*comparison", write("t.csv", "a,day\n1,2013-01-01\n"), "day")


def test_predict_needs_no_target(write):
    path = write("t.csv", FLIGHTS)
    for target in (None, "delay", "delay > 15"):
        data = load(path, target, need_target=False)
        assert (data.target, data.target_name, data.inputs.num_columns) == (None, None, 3)


def test_predict_keeps_every_row_and_the_target(write):
    data = load(write("t.csv", FLIGHTS), "arr_delay > 15", need_target=False)
    assert data.target.tolist() == [True, None, False, False]
    assert data.inputs.column_names == ["carrier", "dep"]
    np.testing.assert_array_equal(
        load(write("t.csv", FLIGHTS), "arr_delay", need_target=False).target, [20, np.nan, 15, -3]
    )


def test_drop(write):
    path = write("t.csv", FLIGHTS)
    assert load(path, "arr_delay", drop=["dep"]).inputs.column_names == ["carrier"]
    refused(r"--drop: t\.csv has no column 'depp'; did you mean 'dep'\?", path, "arr_delay", drop=["depp"])
    refused("'arr_delay' is the target, it cannot be dropped", path, "arr_delay > 1", drop=["arr_delay"])
    refused("no column left as input", path, "arr_delay", drop=["dep", "carrier"])


# Bad files


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "\n \n", "is empty"),
        ("t.csv", "a,target\n", "header but no rows"),
        ("t.csv", "a,a,target\n1,2,3\n", "more than one column named 'a'"),
        ("t.csv", "a,target\n1,2\n\n3,4,5\n", "line 4 has 3 fields, the header has 2"),
        ("t.csv", 'a,target\n"1\n1",2\n3\n', "line 4 has 1 fields, the header has 2"),
        ("t.csv", "a;b;target\n1,2,3\n", "line 2 has 1 fields, the header has 3 .delimiter ';'."),
        ("t.csv", "a target\n1 2\n", r"target.*--target COLUMN.*a target"),
        ("t.csv", "target\n1\n", "no column left as input.*tab"),
        ("t.csv", b"\x00\x01\x02\xff" * 9, "is not a text file"),
        ("t.csv", b"a,target\ncaf\xe9,2\n", "column 'a' is not UTF-8 text.*iconv"),
        ("t.csv.gz", gzip.compress(b"a,target\n" + b"1,2\n" * 99, mtime=0)[:-20], "damaged or cut short"),
        ("t.parquet", "a,target\n1,2\n", "is not a Parquet file.*csv"),
        ("t.npy.gz", gzip.compress(b"\x93NUMPY\x01\x00", mtime=0), "neither a NumPy array"),
        ("t.npz", "a,target\n1,2\n", "is not an .npz archive"),
        ("t.npy", "a,target\n1,2\n", "neither a NumPy array .* nor an idx file"),
        ("t.npy", b"\x93NUMPY\x01\x00", "damaged or cut short"),
        ("t.npz", b"PK\x05\x06" + b"\0" * 18, "has no array 'X', it has: none"),
        ("images", b"\0\0\x08\x03\0\0\0\x02", "header says"),
    ],
)
def test_bad_file(name, content, words, write):
    refused(words, write(name, content))


def test_missing_file(write, tmp_path):
    write("flights.csv", FLIGHTS)
    refused(r"no file 'digit'; did you mean 'digits'\?.*breast_cancer", "digit")
    refused(r"did you mean '.*flights\.csv'", str(tmp_path / "fligths.csv"))
    refused("no folder .*nowhere", str(tmp_path / "nowhere" / "t.csv"))


def test_directory(tmp_path):
    refused("is a directory", str(tmp_path))


def test_unreadable_file(write, monkeypatch):
    def forbidden(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    path = write("t.csv", FLIGHTS)
    monkeypatch.setattr(Path, "open", forbidden)
    refused("may not be read.*permissions", path)


def test_cut_parquet(tmp_path, write):
    pq.write_table(pa.table({"a": [1, 2], "y": [1, 2]}), tmp_path / "t.parquet")
    refused("cut short", write("cut.parquet", (tmp_path / "t.parquet").read_bytes()[:-9]))


LOOKS_LIKE_NUMBERS = ["True", "02134", "09:30", "1.50", "2024-01-01"]


@pytest.mark.parametrize("value", LOOKS_LIKE_NUMBERS)
@pytest.mark.parametrize("header", ["c, kind,target", '"c","kind",target', "\ufeffc,kind ,target", "\n\nc,kind,target"])
def test_columns_that_were_text_are_read_as_text(value, header, write):
    path = write("t.csv", f"{header}\n1,{value},{value}\n2,?,{value}\n")
    data = load(path, text={"kind", "target", "absent"})
    assert data.inputs.to_pydict() == {"c": [1, 2], "kind": [value, None]}
    assert data.target.tolist() == [value, value]
    assert load(path, need_target=False).inputs["kind"].type != pa.string()


def test_text_that_is_not_utf_8_in_a_file_for_a_model(write):
    path = write("t.csv", b"a,b,target\ncaf\xe9,1,2\n")
    refused("is not UTF-8 text.*iconv", path, text={"a"})
    assert load(path, text={"b"}).inputs["b"].to_pylist() == ["1"]  # its model does not look at a


def test_columns_that_were_text_are_found_again():
    table = pa.table({"s": ["x", "x"], "d": pa.array(["x", "x"]).dictionary_encode(), "n": [1, 2],
                      "i": pa.array([7, 7]).dictionary_encode(), "day": ["2024-01-01", "2024-01-02"]})  # fmt: skip
    encoder, texts, numbers = TableEncoder.fit(table), Target.fit(np.array(["a", "b"])), Target.fit(np.array([0, 1]))
    assert text_columns(encoder, texts, "y") == {"s", "d", "y"}
    assert text_columns(encoder, numbers, "y") == text_columns(encoder, None, None) == {"s", "d"}
    assert text_columns(ArrayEncoder.fit(np.eye(2)), texts, None) == set()


BYTES = [pa.binary(), pa.large_binary(), pa.binary(1), pa.binary_view(), pa.dictionary(pa.int8(), pa.binary())]


@pytest.mark.parametrize("type_", BYTES)
def test_bytes_of_every_type_are_refused_or_dropped(type_, tmp_path):
    values = pa.array([b"x", b"y"])
    values = values.dictionary_encode() if pa.types.is_dictionary(type_) else values.cast(type_)
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"a": [1, 2], "b": values, "y": [3, 4]}), path)
    message = refused("column 'b' holds .*binary.*: drop it with --drop 'b', or cast it to string", path)
    assert "iconv" not in message
    assert load(path, drop=["b"]).inputs.column_names == ["a"]
    assert load(path, text=()).inputs.column_names == ["a", "b"]  # for a model that may not use it
    refused("column 'b' holds .*binary", path, "b")


def test_a_csv_column_that_is_not_utf_8_can_be_dropped(write):
    path = write("t.csv", b"a,b,target\ncaf\xe9,1,2\n")
    assert load(path, drop=["a"]).inputs.column_names == ["b"]


@pytest.mark.parametrize("name", ["~$book.csv", "~nobody-of-this-name"])
def test_a_name_that_begins_like_a_home_folder(name, write, monkeypatch, tmp_path):
    write(name, "a,target\n1,2\n")
    monkeypatch.chdir(tmp_path)
    assert load(name).target.tolist() == [2]
    np.save("~$x.npy", np.eye(2))
    np.save("~$y.npy", np.arange(2))
    assert load("~$x.npy", "~$y.npy").target.tolist() == [0, 1]
    refused("there is no file '~.absent", "~$absent.csv")


# Arrays


X = np.arange(12.0).reshape(4, 3)
Y = np.array([0, 1, 0, 1])


@pytest.fixture
def savez(tmp_path):
    """Save the arrays as t.npz."""

    def save(**arrays):
        np.savez(tmp_path / "t.npz", **arrays)
        return str(tmp_path / "t.npz")

    return save


def test_npz(savez):
    data = load(savez(X=X, y=Y))
    np.testing.assert_array_equal(data.inputs, X)
    np.testing.assert_array_equal(data.target, Y)
    assert data.target_name == "y"
    assert load(savez(X=X, y=Y[:, None])).target.shape == (4,)
    assert load(savez(X=X, y=np.stack((Y, Y), 1))).target.shape == (4, 2)
    assert load(savez(X=X, y=["a", "b", "a", "b"])).target.tolist() == ["a", "b", "a", "b"]
    assert load(savez(X=X, other=Y), "other").target_name == "other"
    assert load(savez(X=X), need_target=False).target is None


def with_value(value):
    array = X.copy()
    array[2, 1] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": Y, "Z": X}, "no array 'X', it has: y, Z"),
        ({"X": X}, "no array 'y'"),
        ({"X": X, "y": np.array([0, "a", None, {}], dtype=object)}, "'y' .*holds Python objects"),
        ({"X": X.astype(object), "y": Y}, "'X' .*holds Python objects"),
        ({"X": X + 1j, "y": Y}, "X holds complex numbers"),
        ({"X": X, "y": Y + 1j}, "y holds complex numbers"),
        ({"X": X.astype(str), "y": Y}, "X is of type <U32: it must hold numbers"),
        ({"X": with_value(np.nan), "y": Y}, "X holds nan at row 2, column 1"),
        ({"X": with_value(-np.inf), "y": Y}, "X holds -inf at row 2, column 1"),
        ({"X": X, "y": np.array([0.0, np.nan, 0, 0])}, "y holds nan at row 1 "),
        ({"X": X, "y": Y[:3]}, "y has 3 rows, X has 4"),
        ({"X": X[0], "y": Y}, r"X must be 2-D.*\(3,\).*reshape\(-1, 1\)"),
        ({"X": X[:, None], "y": Y}, r"X must be 2-D.*\(4, 1, 3\).*reshape\(len\(X\), -1\)"),
        ({"X": X, "y": Y[:, None, None]}, r"y must be \(n_samples,\)"),
        ({"X": X[:0], "y": Y[:0]}, r"X is empty.*\(0, 3\)"),
    ],
)
def test_npz_is_refused(arrays, words, savez):
    refused(words, savez(**arrays))


def test_nonfinite_far_down(savez, monkeypatch):
    monkeypatch.setattr("backprop_xp.array_files._ROWS_AT_ONCE", 2)
    refused("X holds nan at row 2, column 1", savez(X=with_value(np.nan), y=Y))


def test_no_columns_to_drop_in_arrays(savez):
    refused("no columns to drop: leave --drop 'a' out", savez(X=X, y=Y), drop=["a"])


def test_npy(tmp_path):
    for name, array in (("X", X), ("labels", Y), ("objects", X.astype(object)), ("empty", X[:0])):
        np.save(tmp_path / f"{name}.npy", array)
    source, labels = str(tmp_path / "X.npy"), str(tmp_path / "labels.npy")
    data = load(source, labels)
    np.testing.assert_array_equal(data.inputs, X)
    np.testing.assert_array_equal(data.target, Y)
    assert data.target_name is None
    for absent in (None, str(tmp_path / "none.npy")):
        assert load(source, absent, need_target=False).target is None
    refused("holds inputs only.*--target y.npy", source)
    refused(r"did you mean '.*labels\.npy'", source, str(tmp_path / "label.npy"))
    refused("holds Python objects", str(tmp_path / "objects.npy"), labels)
    refused("X is empty", str(tmp_path / "empty.npy"), labels)


IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)


@pytest.mark.parametrize("images", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "train-images.idx3-ubyte"])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx(images, zipped, write):
    labels = images.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1") + ".gz" * zipped
    content = idx(IMAGES)
    path = write(images, gzip.compress(content) if images.endswith("gz") else content)
    assert load(path, need_target=False).target is None
    target = idx(Y.astype(np.uint8))
    write(labels, gzip.compress(target) if zipped else target)
    data = load(path)
    assert data.inputs.dtype == np.uint8
    np.testing.assert_array_equal(data.inputs, IMAGES.reshape(4, 6))
    np.testing.assert_array_equal(data.target, Y)
    assert data.target_name is None


def test_idx_with_named_labels_and_big_endian_floats(write):
    values = np.array([[1.5, -2.0], [0.25, 4.0]], ">f4")
    data = load(write("a.idx", idx(values, 0x0D)), write("b.idx", idx(np.array([1, 0], np.uint8))))
    np.testing.assert_array_equal(data.inputs, values)
    assert data.inputs.dtype.isnative


HUGE = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**20, 2**20)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HUGE + bytes(100), "4294967295 x 1048576 x 1048576 uint8, it holds too little"),
        (idx(IMAGES)[:-1], "4 x 2 x 3 uint8, it holds too little"),
        (idx(IMAGES) + b"\0", "4 x 2 x 3 uint8, it holds more"),
        (idx(IMAGES[:0]), "0 x 2 x 3"),
    ],
)
def test_idx_size_is_checked(pack, content, words, write):
    refused(words, write("images", pack(content)), need_target=False)


def test_gzip_bomb_is_not_unpacked(write):
    bomb = gzip.compress(idx(IMAGES) + bytes(50_000_000))
    refused("it holds more", write("images.gz", bomb), need_target=False)
