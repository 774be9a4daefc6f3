"""The command line: the main uses, and every kind of bad input as one line with exit code 2 and nothing left behind."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from sklearn.datasets import load_digits, load_iris

from backprop_xp import InputError, cli, display, environment, load, load_run
from backprop_xp.model import VERSION


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return cli.run([str(argument) for argument in arguments])


def ok(capsys, *arguments):
    """Run a command that works; return what it printed, (out, err)."""
    code = run(*arguments)
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed


def refused(capsys, *arguments):
    """Run a command that must fail: one line, exit code 2, no file made. Return the line."""
    before = sorted(os.listdir())
    code = run(*arguments)
    printed = capsys.readouterr()
    assert code == 2, printed
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("backprop-xp: error: ")
    assert "Traceback" not in printed.out + printed.err
    assert sorted(os.listdir()) == before
    return lines[0]


def mixed_table(n_rows=240):
    """Rows with numbers, text, dates and gaps; what is learned follows from `size` and `colour`."""
    rng = np.random.default_rng(0)
    size, colour = rng.normal(size=n_rows), rng.choice(["red", "green", "blue"], n_rows)
    day = np.datetime64("2024-01-01") + rng.integers(0, 300, n_rows)
    gaps = pa.array(size, mask=rng.random(n_rows) < 0.1)
    price = 3.0 * size + 5.0 * (colour == "red") + 20.0
    return pa.table({"size": gaps, "colour": colour, "day": day, "flag": size > 0.3, "price": price,
                     "kind": np.where(price > 21, "dear", "cheap")})  # fmt: skip


def write(path, table=None):
    table = mixed_table() if table is None else table
    (csv.write_csv if str(path).endswith(".csv") else parquet.write_table)(table, path)
    return path


QUICK = ("--epochs", "3", "--hidden", "8")


def test_train_without_arguments_reaches_96_percent_on_digits(capsys):
    printed = ok(capsys, "train")
    (accuracy,) = re.findall(r"val accuracy +(\S+)", printed.out)
    assert float(accuracy) >= 0.96
    figures = json.loads(ok(capsys, "evaluate", "model.safetensors", "digits", "--json").out)
    assert figures["rows"] == 1797
    assert figures["accuracy"] >= 0.98
    lines = ok(capsys, "predict", "model.safetensors", "digits").out.splitlines()
    digits = load_digits().target
    assert np.mean(np.array(lines[1:], int) == digits) == pytest.approx(figures["accuracy"])


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "and", "xor"])
def test_every_built_in_data_set_is_learned(capsys, name):
    few_rows = name in ("and", "xor")
    options = ("--validation", "0", "--epochs", "800", "--learning-rate", "0.05", "--hidden", "8") if few_rows else ()
    ok(capsys, "train", name, *options)
    figures = json.loads(ok(capsys, "evaluate", "model.safetensors", name, "--json").out)
    assert figures["r2"] > 0.45 if name == "diabetes" else figures["accuracy"] > 0.95


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_of_every_kind_of_column_from_raw_rows(capsys, ending):
    path = write(f"rows.{ending}")
    printed = ok(
        capsys, "train", path, "--target", "kind", "--drop", "price", "--epochs", "60", "--learning-rate", "0.01"
    )
    assert "240 rows" not in printed.out  # a fifth of them is held for validation
    assert "192 rows to train on, 48 for validation" in printed.out
    assert json.loads(ok(capsys, "evaluate", "model.safetensors", path, "--json").out)["accuracy"] > 0.85
    ok(capsys, "predict", "model.safetensors", path, "--proba", "--output", "p.csv")
    predicted = csv.read_csv("p.csv").to_pydict()
    assert list(predicted) == ["prediction", "probability_cheap", "probability_dear"]
    np.testing.assert_allclose(np.add(predicted["probability_cheap"], predicted["probability_dear"]), 1, rtol=1e-5)
    larger = np.where(np.greater(predicted["probability_dear"], 0.5), "dear", "cheap")
    assert list(larger) == predicted["prediction"]


def test_a_number_is_predicted_in_its_own_units(capsys):
    path = write("rows.parquet")
    ok(capsys, "train", path, "--target", "price", "--drop", "kind", "--epochs", "100", "--loss", "huber:0.5")
    assert json.loads(ok(capsys, "evaluate", "model.safetensors", path, "--json").out)["r2"] > 0.8
    ok(capsys, "predict", "model.safetensors", path, "--output", "p.parquet")
    predicted = parquet.read_table("p.parquet")["prediction"].to_numpy()
    assert abs(predicted.mean() - mixed_table()["price"].to_numpy().mean()) < 1


def test_a_comparison_as_the_target(capsys):
    path = write("rows.csv")
    printed = ok(capsys, "train", path, "--target", "price > 21", "--drop", "kind", "--epochs", "40")
    assert "classification of price > 21" in printed.out
    assert json.loads(ok(capsys, "evaluate", "model.safetensors", path, "--json").out)["roc_auc"] > 0.9
    assert set(ok(capsys, "predict", "model.safetensors", path).out.split()[1:]) == {"true", "false"}


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy"])
def test_two_classes_under_either_cross_entropy(capsys, loss):
    ok(capsys, "train", "breast_cancer", "--loss", loss, "--epochs", "20")
    assert load("model.safetensors").network.widths[-1] == (1 if loss == "binary_cross_entropy" else 2)
    assert json.loads(ok(capsys, "evaluate", "model.safetensors", "breast_cancer", "--json").out)["roc_auc"] > 0.98
    lines = ok(capsys, "predict", "model.safetensors", "breast_cancer", "--proba").out.splitlines()
    assert lines[0].replace('"', "") == "prediction,probability_benign,probability_malignant"


def test_counts_under_the_poisson_loss(capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    write("counts.csv", pa.table({"x": x, "n": rng.poisson(np.exp(0.5 * x + 1))}))
    ok(capsys, "train", "counts.csv", "--target", "n", "--task", "regression", "--loss", "poisson", "--epochs", "50")
    predicted = np.array(ok(capsys, "predict", "model.safetensors", "counts.csv").out.split()[1:], float)
    np.testing.assert_allclose(predicted.mean(), np.exp(0.5 * x + 1).mean(), rtol=0.1)


def test_arrays_with_several_labels(capsys):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6)).astype("float32")
    np.savez("data.npz", X=X, y=(X[:, :3] > 0).astype(int))
    ok(capsys, "train", "data.npz", "--epochs", "60", "--learning-rate", "0.01")
    assert json.loads(ok(capsys, "evaluate", "model.safetensors", "data.npz", "--json").out)["accuracy"] > 0.85
    assert ok(capsys, "predict", "model.safetensors", "data.npz").out.splitlines()[1].count(",") == 2


@pytest.mark.parametrize(
    "schedule", ["constant", "step", "exponential", "inverse_scaling", "cosine", "warmup_cosine", "one_cycle"]
)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_every_optimizer_and_schedule_learns_iris(capsys, optimizer, schedule):
    ok(
        capsys,
        "train",
        "iris",
        "--optimizer",
        optimizer,
        "--schedule",
        schedule,
        "--patience",
        "0",
        "--epochs",
        "100",
        *(("--learning-rate", "0.02") if optimizer in ("rmsprop", "adam", "adamw") else ()),
    )
    assert json.loads(ok(capsys, "evaluate", "model.safetensors", "iris", "--json").out)["accuracy"] > 0.9


def test_the_other_backends_give_the_same_model(capsys, other):
    from conftest import DEVICES

    device = DEVICES.get(other.name, "cpu")
    for path, flags in [("a.safetensors", ()), ("b.safetensors", ("--backend", other.name, "--device", device))]:
        ok(capsys, "train", "iris", *QUICK, "--dropout", "0.1", "--output", path, *flags)
    for (W, b), (V, c) in zip(load("a.safetensors").params, load("b.safetensors").params, strict=True):
        np.testing.assert_allclose(W, V, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(b, c, rtol=1e-3, atol=1e-5)
    ok(capsys, "predict", "b.safetensors", "iris", "--backend", other.name, "--device", device)


def test_plot_and_log(capsys):
    ok(capsys, "train", "iris", *QUICK, "--plot", "c.png", "--log", "l.jsonl")
    assert Path("c.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    events = [json.loads(line)["event"] for line in Path("l.jsonl").read_text().splitlines()]
    assert events == ["start", "note", "epoch", "epoch", "epoch", "end"]
    ok(capsys, "train", "iris", *QUICK, "--plot", "c.svg", "--validation", "0")
    assert "<svg" in Path("c.svg").read_text()


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    from rich.console import Console

    monkeypatch.setattr(display, "out", Console(force_terminal=True, width=120))
    printed = ok(capsys, "train", "iris", "--epochs", "300", "--patience", "0")
    assert "rows/s" in printed.out
    assert "━" in printed.out


def test_plain_lines_otherwise(capsys):
    printed = ok(capsys, "train", "iris", *QUICK)
    assert "epoch 3/3  loss" in printed.out
    assert "\x1b" not in printed.out


def test_no_command_shows_the_help_and_no_error(capsys):
    assert run() == 2
    printed = capsys.readouterr()
    assert "Usage" in printed.out + printed.err
    assert "error" not in printed.err


def test_a_handful_of_rows_is_all_trained_on(capsys):
    printed = ok(capsys, "train", "xor", "--hidden", "8", "--learning-rate", "0.05", "--epochs", "400")
    assert "fewer than 20 rows: none is kept for validation" in printed.out
    assert "4 rows to train on; 2 features of 2 number columns" in printed.out
    assert ok(capsys, "predict", "model.safetensors", "xor").out.split()[1:] == ["0", "1", "1", "0"]


def test_evaluating_on_the_data_trained_on_is_said(capsys):
    ok(capsys, "train", "iris", *QUICK)
    assert "trained on data of this name" in ok(capsys, "evaluate", "model.safetensors", "iris").err


def test_info(capsys, monkeypatch):
    present = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else present(name, *rest)
    )
    monkeypatch.setattr(display, "out", display.Screen(markup=False, width=160))
    printed = ok(capsys, "info").out
    assert all(word in printed for word in ("NumPy", "BLAS", "cupy", "jax", "engine auto"))
    assert re.search(r"torch +not installed +pip install 'backprop-xp\[torch\]'", printed)
    ok(capsys, "train", "iris", *QUICK)
    printed = ok(capsys, "info", "model.safetensors").out
    assert all(word in printed for word in ("4-8-3", "setosa", "petal length (cm)", "cross_entropy"))


def test_the_kernels_of_openblas_are_named_and_who_bade_it_take_them(monkeypatch):
    pools = [{"internal_api": "openblas", "architecture": "Haswell"}, {"internal_api": "openmp"}]
    monkeypatch.setattr(environment, "threadpool_info", lambda: pools)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert environment.blas().endswith(", Haswell kernels by OPENBLAS_CORETYPE")
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    assert environment.blas().endswith(", Haswell kernels")


def test_a_batch_larger_than_the_data_works_and_says_so(capsys):
    printed = ok(capsys, "train", "iris", *QUICK, "--batch-size", "5000")
    assert "--batch-size 5000 is more than the 120 rows" in printed.out


def test_a_loss_that_is_not_finite_is_one_line_and_exit_code_1(capsys):
    write("rows.csv")
    with np.errstate(all="ignore"):
        code = run(
            "train", "rows.csv", "--target", "price", "--drop", "kind", "--optimizer", "sgd", "--learning-rate", "1e30"
        )
    assert code == 1
    assert "loss is not finite at epoch 1, step 2, learning rate 1e+30" in capsys.readouterr().err


def test_ctrl_c_saves_the_model_and_leaves_with_130(capsys, monkeypatch):
    from backprop_xp.callbacks import PrintProgress

    def interrupt(self, record):
        if record["epoch"] == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(PrintProgress, "on_epoch_end", interrupt)
    assert run("train", "iris", "--epochs", "50") == 130
    assert load("model.safetensors").target.classes == ["setosa", "versicolor", "virginica"]
    assert "interrupted" in capsys.readouterr().out


@pytest.mark.parametrize("command", [(), ("train",), ("predict",), ("evaluate",), ("info",)])
def test_help_teaches(capsys, command):
    printed = ok(capsys, *command, "--help").out
    assert "Usage" in printed
    assert len(printed.splitlines()) > 8


def test_as_a_process(tmp_path):
    command = [sys.executable, "-m", "backprop_xp"]
    assert (
        subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
        == "backprop-xp 0.1.0\n"
    )
    result = subprocess.run([*command, "train", "iirs"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("backprop-xp: error: there is no file 'iirs'")


# ---- bad input ----


def test_missing_file(capsys):
    assert "did you mean 'digits'" in refused(capsys, "train", "digitz")
    assert "no model file 'm.safetensors'" in refused(capsys, "predict", "m.safetensors", "iris")


@pytest.mark.parametrize(("content", "message"), [
    ("", "empty"), ("a,b,target\n", "no rows"), ("a,b;target\n1,2\n3;4;5\n", "line"),
    ("a b target\n1 2 0\n3 4 1\n", "target"),
])  # fmt: skip
def test_empty_header_only_wrong_delimiter(capsys, content, message):
    Path("d.csv").write_text(content)
    assert message in refused(capsys, "train", "d.csv")


def test_semicolons_and_tabs_are_found_out(capsys):
    for delimiter in ";\t|":
        Path("d.csv").write_text(
            "\n".join(delimiter.join(row) for row in [("a", "b", "target"), *[("1", "2", "x"), ("3", "4", "y")] * 8])
        )
        ok(capsys, "train", "d.csv", *QUICK)


@pytest.mark.parametrize(("target", "message"), [
    ("prise", "did you mean 'price'"), (None, "--target"), ("one", "one class only"), ("gone", "missing"),
])  # fmt: skip
def test_targets_that_cannot_be_learned(capsys, target, message):
    table = mixed_table().append_column("one", pa.array(["a"] * 240)).append_column("gone", pa.nulls(240, pa.string()))
    write("rows.csv", table)
    assert message in refused(capsys, "train", "rows.csv", *(("--target", target) if target else ()))


def test_a_column_of_text_with_a_value_per_row(capsys):
    table = mixed_table().append_column("id", pa.array([f"row {i}" for i in range(240)]))
    write("rows.csv", table)
    assert "--drop 'id'" in refused(capsys, "train", "rows.csv", "--target", "kind")
    ok(capsys, "train", "rows.csv", "--target", "kind", "--drop", "id", *QUICK)
    assert "'idd'" in refused(capsys, "train", "rows.csv", "--target", "kind", "--drop", "idd")


X, Y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2


@pytest.mark.parametrize(("arrays", "message"), [
    ({"X": np.where(X[3, 1] == X, np.nan, X), "y": Y}, "X holds nan at row 3, column 1"),
    ({"X": np.where(X[3, 1] == X, np.inf, X), "y": Y}, "X holds inf at row 3, column 1"),
    ({"X": X, "y": Y[:30]}, "30"),
    ({"X": X + 1j, "y": Y}, "complex"),
    ({"X": X.astype(object), "y": Y}, "object"),
    ({"X": X}, "y"),
])  # fmt: skip
def test_arrays_that_cannot_be_used(capsys, arrays, message):
    np.savez("d.npz", **arrays)
    assert message in refused(capsys, "train", "d.npz")


def test_labels_that_the_model_does_not_know(capsys):
    np.savez("a.npz", X=X, y=Y)
    np.savez("b.npz", X=X, y=Y + 1)
    ok(capsys, "train", "a.npz", *QUICK)
    assert "the class 2 was not in the training data; known classes: 0, 1" in refused(
        capsys, "evaluate", "model.safetensors", "b.npz"
    )


@pytest.fixture
def trained_on_rows(capsys):
    write("rows.csv")
    ok(capsys, "train", "rows.csv", "--target", "kind", "--drop", "price", *QUICK)
    return ok(capsys, "predict", "model.safetensors", "rows.csv", "--proba").out


def test_predict_with_columns_missing(capsys, trained_on_rows):
    write("less.csv", mixed_table().drop_columns(["colour", "day"]))
    assert "lacks columns the model was trained on: colour, day" in refused(
        capsys, "predict", "model.safetensors", "less.csv"
    )


def test_predict_with_columns_reordered_is_the_same(capsys, trained_on_rows):
    table = mixed_table()
    write("turned.csv", table.select(table.column_names[::-1]))
    assert ok(capsys, "predict", "model.safetensors", "turned.csv", "--proba").out == trained_on_rows


def test_predict_with_extra_columns_is_the_same_and_says_so(capsys, trained_on_rows):
    write("more.csv", mixed_table().append_column("weight", pa.array(range(240))))
    printed = ok(capsys, "predict", "model.safetensors", "more.csv", "--proba")
    assert printed.out == trained_on_rows
    assert printed.err == "columns the model was not trained on are ignored: weight\n"


def test_predict_names_twenty_of_many_extra_columns(capsys, trained_on_rows):
    table = mixed_table()
    for number in range(30):
        table = table.append_column(f"w{number}", table["day"])
    write("more.csv", table)
    assert ok(capsys, "predict", "model.safetensors", "more.csv").err.endswith(", w18, w19 and 10 more\n")


@pytest.mark.parametrize("extra", [{"target": 3}, {"dropped": 3}])
def test_predict_by_a_model_whose_file_names_no_columns(capsys, trained_on_rows, extra):
    model = load("model.safetensors")
    replace(model, extra={**model.extra, **extra}).save("odd.safetensors")
    assert "model file is damaged" in refused(capsys, "predict", "odd.safetensors", "rows.csv")


def test_predict_without_the_target_is_the_same(capsys, trained_on_rows):
    write("new.csv", mixed_table().drop_columns(["kind", "price"]))
    assert ok(capsys, "predict", "model.safetensors", "new.csv", "--proba").out == trained_on_rows


def test_predict_with_a_column_of_another_type(capsys, trained_on_rows):
    table = mixed_table()
    write("texts.csv", table.set_column(0, "size", pa.array(["large"] * 240)))
    line = refused(capsys, "predict", "model.safetensors", "texts.csv")
    assert all(word in line for word in ("'size'", "double", "string", "'large'"))


def test_predict_with_unseen_and_missing_values_works(capsys, trained_on_rows):
    table = mixed_table()
    write("odd.csv", table.set_column(1, "colour", pa.array(["mauve", None] * 120)))
    assert len(ok(capsys, "predict", "model.safetensors", "odd.csv").out.splitlines()) == 241


def test_arrays_for_a_models_table_and_the_other_way_round(capsys, trained_on_rows):
    np.savez("a.npz", X=X, y=Y)
    assert "trained on a table" in refused(capsys, "predict", "model.safetensors", "a.npz")
    ok(capsys, "train", "a.npz", *QUICK, "--output", "a.safetensors")
    assert "trained on an array of 3 features" in refused(capsys, "predict", "a.safetensors", "rows.csv")
    np.savez("b.npz", X=X[:, :2], y=Y)
    assert "3 features" in refused(capsys, "predict", "a.safetensors", "b.npz")


def test_model_files_that_cannot_be_read(capsys):
    ok(capsys, "train", "iris", *QUICK)
    whole = Path("model.safetensors").read_bytes()
    later = whole.replace(f'\\"version\\": {VERSION}'.encode(), f'\\"version\\": {VERSION + 1}'.encode())
    assert later != whole
    for name, content, message in [
        ("cut", whole[:-5], "truncated"), ("text", b"not a model", "no safetensors"),
        ("late", later, "later version"),
    ]:  # fmt: skip
        Path(name).write_bytes(content)
        assert message in refused(capsys, "predict", name, "iris")
        assert message in refused(capsys, "evaluate", name, "iris")
        assert message in refused(capsys, "info", name)


@pytest.mark.parametrize(("flags", "message"), [
    (("--hidden", "0"), "--hidden must be positive whole numbers"),
    (("--hidden", "64,abc"), "--hidden must be"),
    (("--hidden", "64,-3"), "--hidden must be"),
    (("--learning-rate", "-0.1"), "--learning-rate must be a positive number, not -0.1"),
    (("--learning-rate", "nan"), "--learning-rate must be"),
    (("--learning-rate", "fast"), "--learning-rate"),
    (("--l2", "-1"), "l2 must be at least 0"),
    (("--dropout", "-0.1"), "dropout must be at least 0 and below 1"),
    (("--dropout", "1"), "dropout must be"),
    (("--clip-norm", "-1"), "clip_norm must be a positive number"),
    (("--batch-size", "0"), "--batch-size must be at least 1"),
    (("--epochs", "0"), "--epochs must be at least 1"),
    (("--patience", "-1"), "--patience must be at least 0"),
    (("--seed", "-1"), "--seed must be at least 0"),
    (("--validation", "1.5"), "--validation must be at least 0 and below 1"),
    (("--validation", "0.001"), "leaves 0 to validate with"),
    (("--validation", "nowhere.csv"), "no file 'nowhere.csv'"),
    (("--activation", "rleu"), "did you mean 'relu'"),
    (("--activation", "softmax"), "only stand at the output"),
    (("--loss", "cross_entrpy"), "did you mean 'cross_entropy'"),
    (("--loss", "huber:x"), "--loss huber:x"),
    (("--loss", "squared_error"), "does not go with a target for classification"),
    (("--loss", "binary_cross_entropy"), "needs two classes, not 3"),
    (("--optimizer", "adm"), "did you mean 'adam'"),
    (("--schedule", "cosin"), "did you mean 'cosine'"),
    (("--engine", "eagr"), "did you mean 'eager'"),
    (("--task", "clasification"), "did you mean 'classification'"),
    (("--task", "regression"), "regression"),
    (("--dtype", "float"), "did you mean 'float64'"),
    (("--backend", "numppy"), "did you mean 'numpy'"),
    (("--device", "gpu"), "unknown device 'gpu'"),
    (("--device", "cuda", "--backend", "numpy"), "has no CUDA"),
    (("--epoch", "3"), "--epochs"),
    (("--output", "nowhere/m.safetensors"), "no folder 'nowhere'"),
    (("--output", "."), "is a folder"),
    (("--plot", "c.bmp"), "must end in .png or .svg or .pdf"),
    (("--log", "nowhere/l.jsonl"), "no folder 'nowhere'"),
])  # fmt: skip
def test_flags_that_cannot_be(capsys, flags, message):
    assert message in refused(capsys, "train", "iris", *flags)


def test_no_cuda(capsys):
    from backprop_xp import InputError, backends

    try:
        backends.select("cuda")
    except InputError:
        assert "device 'cuda'" in refused(capsys, "train", "iris", "--device", "cuda")
    else:
        pytest.skip("this machine has CUDA")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(capsys):
    os.mkdir("locked", 0o500)
    assert "not writable" in refused(capsys, "train", "iris", "--output", "locked/m.safetensors")


def test_a_disk_that_fails_while_the_model_is_written(capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run("train", "iris", *QUICK) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert os.listdir() == []


def test_probabilities_of_numbers(capsys):
    ok(capsys, "train", "diabetes", *QUICK)
    assert "--proba" in refused(capsys, "predict", "model.safetensors", "diabetes", "--proba")
    assert "must end in .csv or .parquet" in refused(
        capsys, "predict", "model.safetensors", "diabetes", "--output", "p.xls"
    )


def test_a_library_model_without_preprocessing(capsys):
    from backprop_xp import Network, Trainer

    trainer = Trainer(Network((4, 3), output="softmax"), epochs=1)
    trainer.fit(*load_iris(return_X_y=True))
    trainer.save("m.safetensors")
    assert "saved by the library, without preprocessing" in refused(capsys, "predict", "m.safetensors", "iris")


# ---- files that must not be mixed up, lost or half-read ----


def test_a_second_file_of_arrays_brings_its_own_labels(capsys):
    for name, labels in [("train", Y), ("test", 1 - Y)]:
        np.save(f"{name}.npy", X)
        np.save(f"{name}-y.npy", labels)
    line = refused(capsys, "train", "train.npy", "--target", "train-y.npy", "--validation", "test.npy")
    assert "holds inputs only" in line
    np.savez("a.npz", X=X, lab=Y)
    ok(capsys, "train", "a.npz", "--target", "lab", *QUICK)
    assert json.loads(ok(capsys, "evaluate", "model.safetensors", "a.npz", "--json").out)["rows"] == 40


def idx(array):
    code = {np.dtype("uint8"): 8}[array.dtype]
    return bytes([0, 0, code, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def test_idx_files_with_a_second_pair_for_validation(capsys):
    rng = np.random.default_rng(0)
    for name, n_rows in [("train", 60), ("t10k", 20)]:
        images = rng.integers(0, 256, (n_rows, 4, 4)).astype("uint8")
        Path(f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        Path(f"{name}-labels-idx1-ubyte").write_bytes(idx((images[:, 0, 0] > 127).astype("uint8")))
    printed = ok(capsys, "train", "train-images-idx3-ubyte", "--validation", "t10k-images-idx3-ubyte", *QUICK)
    assert "60 rows to train on, 20 for validation; 16 features" in printed.out
    assert json.loads(ok(capsys, "evaluate", "model.safetensors", "t10k-images-idx3-ubyte", "--json").out)["rows"] == 20


@pytest.mark.parametrize("flags", [
    ("--output", "rows.csv"), ("--log", "rows.csv"), ("--output", "m", "--log", "m"),
    ("--output", "m", "--checkpoint", "m"),
])  # fmt: skip
def test_no_file_is_overwritten_by_another(capsys, flags):
    before = write("rows.csv") and Path("rows.csv").read_bytes()
    assert "the same file" in refused(capsys, "train", "rows.csv", "--target", "kind", *flags)
    assert Path("rows.csv").read_bytes() == before


def test_a_built_in_data_sets_name_is_no_file(capsys):
    ok(capsys, "train", "iris", *QUICK, "--checkpoint", "iris")
    assert Path("iris").is_dir()


def test_a_pipe_is_not_replaced_and_a_link_stays_one(capsys):
    os.mkfifo("pipe")
    assert "is a device or a pipe" in refused(capsys, "train", "iris", "--output", "pipe")
    Path("real").mkdir()
    os.symlink("real/m.safetensors", "link.safetensors")
    ok(capsys, "train", "iris", *QUICK, "--output", "link.safetensors")
    assert os.path.islink("link.safetensors")
    assert os.listdir("real") == ["m.safetensors"]


def test_a_rate_that_breaks_the_last_step_saves_nothing(capsys):
    write("rows.csv")
    with np.errstate(all="ignore"):
        flags = (
            "--optimizer",
            "sgd",
            "--learning-rate",
            "1e39",
            "--epochs",
            "1",
            "--batch-size",
            "500",
            "--patience",
            "0",
        )
        assert run("train", "rows.csv", "--target", "price", "--drop", "kind", *flags) == 1
    assert "not finite" in capsys.readouterr().err
    assert not Path("model.safetensors").exists()


def test_outputs_that_are_not_finite_are_refused(capsys):
    np.savez("a.npz", X=X, y=X[:, 0])
    ok(capsys, "train", "a.npz", *QUICK)
    model = load("model.safetensors")
    replace(model, params=tuple((W * np.float32(1e20), b) for W, b in model.params)).save("model.safetensors")
    np.savez("b.npz", X=X * 1e20, y=X[:, 0])
    with np.errstate(all="ignore"):
        assert "not finite" in refused(capsys, "predict", "model.safetensors", "b.npz")


def test_rows_are_named_as_they_stand_in_the_data(capsys):
    table = mixed_table()
    size = table["size"].to_pylist()
    size[31] = float("inf")
    write("rows.parquet", table.set_column(0, "size", pa.array(size)))
    assert "in row 32" in refused(capsys, "train", "rows.parquet", "--target", "kind")


def test_rows_without_a_target_are_said_to_be_left_out_of_the_count(capsys):
    table = mixed_table()
    kind, size = table["kind"].to_pylist(), table["size"].to_pylist()
    kind[3], size[31] = None, float("inf")
    table = table.set_column(0, "size", pa.array(size)).set_column(5, "kind", pa.array(kind))
    write("rows.parquet", table)
    line = refused(capsys, "train", "rows.parquet", "--target", "kind")
    assert "in row 31" in line
    assert line.endswith("(rows without a target, which were dropped, are not counted)")


def test_rows_dropped_from_a_second_file_are_told(capsys):
    table = mixed_table()
    write("rows.csv", table)
    kind = [None, *table["kind"].to_pylist()[1:]]
    write("more.parquet", table.set_column(5, "kind", pa.array(kind)))
    printed = ok(capsys, "train", "rows.csv", "--target", "kind", "--validation", "more.parquet", *QUICK)
    assert "more.parquet: 1 of 240 rows dropped: their target 'kind' is missing" in printed.out


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_index_that_pandas_writes_teaches_nothing(capsys, ending):
    table = mixed_table().drop_columns(["price"])
    write("plain.csv", table)
    ok(capsys, "train", "plain.csv", "--target", "kind", *QUICK)
    expected = ok(capsys, "predict", "model.safetensors", "plain.csv", "--proba").out
    frame = table.to_pandas(strings_to_categorical=False)
    if ending == "csv":
        frame.to_csv("rows.csv")  # its column has no name
    else:
        frame.set_index(frame.index.to_numpy() ** 2).to_parquet("rows.parquet")
        assert "__index_level_0__" in parquet.read_schema("rows.parquet").names
    printed = ok(capsys, "train", f"rows.{ending}", "--target", "kind", *QUICK)
    assert re.search(r"column '(__index_level_0__)?' is left aside: row numbers have such names", printed.out)
    printed = ok(capsys, "predict", "model.safetensors", f"rows.{ending}", "--proba")
    assert (printed.out, printed.err) == (expected, "")
    assert ok(capsys, "predict", "model.safetensors", "plain.csv", "--proba").out == expected


def test_the_library_predicts_raw_rows_as_the_command_line_does(capsys, trained_on_rows):
    expected = [line.split(",")[0].strip('"') for line in trained_on_rows.splitlines()[1:]]
    model, table = load("model.safetensors"), csv.read_csv("rows.csv")
    for rows in (table, table.to_pandas(), polars.from_arrow(table).select(table.column_names[::-1])):
        assert model.predict(rows).tolist() == expected
    with pytest.raises(InputError, match="was trained on a table with the columns size, colour, day, flag, not on an"):
        model.predict(np.zeros((3, 4)))
    with pytest.raises(InputError, match="lacks columns the model was trained on: colour"):
        model.predict(table.drop_columns(["colour"]))


def test_the_library_predicts_raw_arrays_as_the_command_line_does(capsys):
    raw = 1e3 + 1e2 * X
    np.savez("a.npz", X=raw, y=X[:, 0])
    ok(capsys, "train", "a.npz", *QUICK)
    printed = ok(capsys, "predict", "model.safetensors", "a.npz").out
    np.testing.assert_allclose(load("model.safetensors").predict(raw), np.array(printed.split()[1:], float), rtol=1e-6)


RNG = np.random.default_rng(0)
NUMBERS = (1000 + 10 * RNG.integers(0, 90, 500)).tolist()
DAYS = np.datetime64("2023-01-01") + RNG.integers(0, 80, 500)


@pytest.mark.parametrize(("column", "message"), [
    ([*map(str, NUMBERS[:-3]), "err", "err", "err"], "leave empty what is none, such as 'err'"),
    ([f"{number:,}" for number in NUMBERS], "write numbers such as '1,.*' without signs and thousands separators"),
    ([f"$ {number}" for number in NUMBERS], r"write numbers such as '\$ 1.*' without signs"),
    ([day.astype(object).strftime("%d/%m/%Y") for day in DAYS], "write dates such as '.*/2023' as 2023-12-31"),
    ([day.astype(object).strftime("%b %d, %Y") for day in DAYS], "write dates such as '.* 2023' as 2023-12-31"),
    ([f"code{number}" for number in NUMBERS], None),
    ([f"10.10.10.{number % 30}" for number in range(500)], None),
    ([*map(str, NUMBERS)], "give it as numbers, not as texts"),
    ([f"0{number % 3 + 1}/01/2023" for number in range(500)], None),
    ([f"{number % 7}" if number % 3 else "none" for number in NUMBERS], None),
])  # fmt: skip
def test_a_column_that_may_be_misread_is_told_of(capsys, column, message):
    write("rows.parquet", pa.table({"a": column, "target": RNG.normal(size=500)}))
    told = " ".join(ok(capsys, "train", "rows.parquet", *QUICK).out.split())
    assert ("is learned as text, one-hot" in told) == (message is not None)
    assert message is None or re.search(message, told), told


def test_numbers_with_signs_all_different_are_not_to_be_dropped(capsys):
    write("rows.parquet", pa.table({"a": [f"{1000 + k:,}" for k in range(60)], "target": RNG.normal(size=60)}))
    assert "write numbers such as '1,000' without signs and thousands separators, or drop it" in refused(
        capsys, "train", "rows.parquet"
    )


def test_a_target_of_numbers_with_a_few_texts_is_no_classes(capsys):
    values = [*map(str, RNG.normal(size=96).round(2)), "-", "-", "-", "-"]
    write("rows.csv", pa.table({"x": RNG.normal(size=100), "y": values}))
    assert "classes, '-' for one: mend such values" in refused(capsys, "train", "rows.csv", "--target", "y")
    line = refused(capsys, "train", "rows.csv", "--target", "y", "--task", "regression")
    assert "regression needs numbers, the target holds '-': mend such values" in line
    prices = [f"${1000 + k:,}.50" for k in range(100)]
    write("rows.csv", pa.table({"x": RNG.normal(size=100), "y": prices}))
    line = refused(capsys, "train", "rows.csv", "--target", "y")
    assert "would be 100 classes, '$1,000.50' for one: write numbers such as '$1," in line
    codes = [str(10_000 + k % 25) for k in range(100)]  # texts that are numbers are meant as classes
    write("rows.parquet", pa.table({"x": RNG.normal(size=100), "y": codes}))
    assert "classification of y" in ok(capsys, "train", "rows.parquet", "--target", "y", *QUICK).out


def test_a_column_with_a_target_that_cannot_be_compared_is_left_aside_by_predict(capsys):
    write("rows.csv", pa.table({"x": np.arange(60.0), "y": np.arange(60.0)}))
    ok(capsys, "train", "rows.csv", "--target", "y > 15", *QUICK)
    write("new.csv", pa.table({"x": [1.0, 2.0]}))
    expected = ok(capsys, "predict", "model.safetensors", "new.csv").out
    Path("dashes.csv").write_text("x,y\n1,-\n2,-\n")
    assert ok(capsys, "predict", "model.safetensors", "dashes.csv").out == expected
    assert "cannot be compared" in refused(capsys, "evaluate", "model.safetensors", "dashes.csv")


def test_a_number_that_is_mistyped_is_named(capsys):
    table = mixed_table(60)
    texts = [str(value) for value in np.random.default_rng(0).normal(size=60)]
    texts[7] = "1.2.3"
    write("rows.csv", table.append_column("length", pa.array(texts)))
    assert "holds numbers but for 1 texts such as '1.2.3'" in refused(capsys, "train", "rows.csv", "--target", "kind")


def test_integers_beyond_floats_are_compared_exactly(capsys):
    n = 2**62 + np.arange(60)
    write("rows.parquet", pa.table({"a": n, "x": np.arange(60.0)}))
    printed = ok(capsys, "train", "rows.parquet", "--target", f"a > {2**62 + 29}", *QUICK)
    assert "classification of a >" in printed.out
    assert "cannot be compared" in refused(capsys, "train", "rows.parquet", "--target", f"a > {10**30}")


@pytest.mark.parametrize(("value", "other"), [
    ("True", "unsure"), ("02134", "abroad"), ("09:30", "late"), ("1.50", "free"), ("2024-01-01", "some day"),
])  # fmt: skip
def test_text_that_looks_like_something_else_stays_text_in_a_file_for_the_model(capsys, value, other):
    Path("rows.csv").write_text("place,target\n" + f"{value},{value}\n{other},{other}\n" * 60)
    Path("same.csv").write_text("place,target\n" + f"{value},{value}\n" * 20)
    quick = ("--epochs", "30", "--learning-rate", "0.1")
    ok(capsys, "train", "rows.csv", *quick)
    expected = ok(capsys, "predict", "model.safetensors", "rows.csv", "--proba").out.splitlines()[1]
    assert ok(capsys, "predict", "model.safetensors", "same.csv", "--proba").out.splitlines()[1:] == [expected] * 20
    assert json.loads(ok(capsys, "evaluate", "model.safetensors", "same.csv", "--json").out)["accuracy"] == 1
    ok(capsys, "train", "rows.csv", "--validation", "same.csv", *quick, "--log", "l.jsonl")
    assert any('"val_accuracy": 1.0' in line for line in Path("l.jsonl").read_text().splitlines())


def test_bytes_that_are_dropped_are_no_matter_to_the_model(capsys):
    table = mixed_table(60).append_column("photo", pa.array([b"\xff\xd8"] * 60))
    write("rows.parquet", table)
    line = refused(capsys, "train", "rows.parquet", "--target", "kind")
    assert "column 'photo' holds binary: drop it with --drop 'photo', or cast it to string" in line
    ok(capsys, "train", "rows.parquet", "--target", "kind", "--drop", "photo", *QUICK)
    for command in ("predict", "evaluate"):
        ok(capsys, command, "model.safetensors", "rows.parquet")
    assert "column 'size' holds binary" in refused(
        capsys, "predict", "model.safetensors", write("b.parquet", table.set_column(0, "size", table["photo"]))
    )


@pytest.mark.parametrize("days", [range(10**7, 10**7 + 60), range(-(10**7), 60 - 10**7)])
def test_dates_that_python_does_not_have_are_recorded(capsys, days):
    write("rows.parquet", mixed_table(60).set_column(2, "day", pa.array(days, pa.date32())))
    options = ("--target", "kind", "--validation", "0", "--record", "a.run", *QUICK)
    assert "Recorder" not in ok(capsys, "train", "rows.parquet", *options).err
    worst = load_run("a.run").header["worst"]
    assert len(worst) == 20
    assert all(re.match("29349-|-254(09|10)-", row["values"]["day"]) for row in worst)


def test_links_that_lead_to_themselves_are_no_files(capsys):
    Path("a.csv").symlink_to("b.csv")
    Path("b.csv").symlink_to("a.csv")
    assert "there is no file 'a.csv'" in refused(capsys, "train", "a.csv")


@pytest.mark.parametrize("flags", [("--hidden", "99999999999999999999999"), ("--output", "m" * 250)])
def test_sizes_out_of_all_bounds(capsys, flags):
    assert "--hidden" in (line := refused(capsys, "train", "iris", *flags)) or "--output" in line


def test_a_seed_of_any_size(capsys):
    ok(capsys, "train", "iris", *QUICK, "--seed", str(2**70))


def process(command, **options):
    return subprocess.run(
        f"{sys.executable} -m backprop_xp {command}", shell=True, capture_output=True, check=False, **options
    )


def test_a_reader_that_leaves_does_not_end_training():
    result = process("train iris --epochs 40 --patience 0 --log l.jsonl | head -1")
    assert result.stderr == b""
    assert len(Path("l.jsonl").read_text().splitlines()) == 43  # the beginning, a note, the epochs, the end
    assert Path("model.safetensors").exists()
    result = process("predict model.safetensors iris | head -2")
    assert (result.stdout.count(b"\n"), result.stderr) == (2, b"")


def test_an_output_that_cannot_be_written_is_one_line():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    process("train iris --epochs 2")
    for command in ("predict model.safetensors iris", "evaluate model.safetensors iris", "info"):
        result = process(f"{command} > /dev/full")
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1] == b"backprop-xp: error: cannot write the output: No space left on device"


def test_names_that_the_terminal_cannot_show():
    write("rows.parquet", pa.table({"größe": np.arange(40.0), "target": ["né", "da"] * 20}))
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    assert process("train rows.parquet --epochs 2", env=env).returncode == 0
    assert b"gr" in process("info model.safetensors", env=env).stdout
    predicted = process("predict model.safetensors rows.parquet --proba", env=env)
    assert "probability_né" in predicted.stdout.decode("utf-8")


def test_jax_in_float64_from_training_to_prediction():
    pytest.importorskip("jax")
    env = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"}
    assert process("train iris --epochs 2 --backend jax --dtype float64", env=env).returncode == 0
    assert process("predict model.safetensors iris --backend jax", env=env).stderr == b""
