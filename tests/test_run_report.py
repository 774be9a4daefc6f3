"""The report on a run: its numbers are the run's, in every task; the command; the page in a real browser."""

import html
import re
import shlex

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import confusion_matrix

import backprop_xp as bx
from backprop_xp import cli
from backprop_xp.run_report import figures, written

ROWS = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)
CELLS = re.compile(r"<t[dh][^>]*>(.*?)</t[dh]>", re.DOTALL)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def reported(capsys, *arguments):
    """Train with --record, report; return (the run, the page)."""
    assert cli.run(["train", *map(str, arguments), "--record", "a.run"]) == 0
    assert cli.run(["report", "a.run"]) == 0
    assert "a-report.html" in capsys.readouterr().out
    with open("a-report.html", encoding="utf-8") as file:
        return bx.load_run("a.run"), file.read()


def card(page, title):
    """Return the rows of the card's tables, as text, and all its text."""
    section = re.search(rf"<section[^>]*><h2>{re.escape(title)}</h2>(.*?)</section>", page, re.DOTALL)[1]
    rows = [[html.unescape(cell) for cell in CELLS.findall(row)] for row in ROWS.findall(section)]
    return rows, html.unescape(re.sub(r"<[^>]+>", " ", section))


def test_classification(capsys):
    run, page = reported(capsys, "digits", "--epochs", 4, "--hidden", 16)
    X, y = load_digits(return_X_y=True)
    model = bx.load("model.safetensors")
    worst = card(page, "Worst rows")[0][1:]
    rows = np.array([int(each[0]) for each in worst]) - 1
    assert [each[1].split()[0] for each in worst] == [str(label) for label in y[rows]]
    encoder = model.preprocessing["columns"]
    Z = (X[rows] - [c["mean"][0] for c in encoder]) / [c["scale"][0] for c in encoder]
    outputs = model.outputs(Z.astype("float32"))
    assert [each[2].split()[0] for each in worst] == [str(label) for label in outputs.argmax(axis=1)]
    expected = -np.log(outputs[np.arange(20), y[rows]])
    np.testing.assert_allclose([float(each[3]) for each in worst], expected, rtol=2e-3)
    assert worst[0][4:16] == [f"{value:.6g}" for value in X[rows[0]][:12]]
    assert "52 more columns are not shown" in page

    truth, predicted = figures.labels(run, run.rows)
    matrix = confusion_matrix(truth, predicted)
    np.testing.assert_array_equal(figures.confusion(truth, predicted, 10), matrix)
    drawn = re.search(r'aria-label="Confusion matrix.*?</svg>', page, re.DOTALL)[0]
    inside = [int(n) for n in re.findall(r"<text [^>]*font-size: 9px[^>]*>([\d,]+)</text>", drawn)]
    assert inside == matrix[matrix > 0].tolist()
    right = int(np.trace(matrix))
    assert f"On 359 validation rows. {right} right, {359 - right} wrong." in page
    assert right / 359 == pytest.approx(run.history["val_accuracy"][-1], abs=1e-6)
    wrong = matrix - np.diag(np.diag(matrix))
    assert int(card(page, "Most often confused")[0][1][2]) == wrong.max()


def test_the_command_repeats_the_run(capsys):
    _, page = reported(capsys, "iris", "--epochs", 3, "--hidden", "8,4", "--learning-rate", 0.01, "--seed", 5)
    command = shlex.split(card(page, "How to repeat it")[1].split("The same seed")[0])
    assert command[:3] == ["backprop-xp", "train", "iris"]
    first = bx.load("model.safetensors")
    assert cli.run([*command[1:], "--output", "again"]) == 0
    again = bx.load("again")
    for (W, b), (W2, b2) in zip(first.params, again.params, strict=True):
        np.testing.assert_array_equal(W, W2)
        np.testing.assert_array_equal(b, b2)


def test_data_and_preprocessing(capsys):
    rng = np.random.default_rng(0)
    size, colour = rng.normal(size=120), rng.choice(["red", "green"], 120)
    day, gaps = np.datetime64("2024-01-01") + np.arange(120), rng.random(120) < 0.1
    price = 3 * size + (colour == "red")
    table = pa.table({"size": pa.array(size, mask=gaps), "colour": colour, "day": day, "price": price})
    csv.write_csv(table, "shop <b>.csv")
    run, page = reported(capsys, "shop <b>.csv", "--target", "price", "--epochs", 3)
    assert "<b>" not in page
    rows, _ = card(page, "Data")
    told = {row[0]: row[-1] for row in rows}
    assert told["data"] == "shop <b>.csv"
    assert (told["rows to train on"], told["rows for validation"]) == ("96", "24")
    assert told["to learn"] == "regression of price"
    assert "missing: " in told["size"]
    assert told["colour"] == "one-hot: green, red, other"
    assert told["day"] == "days since 1970, hour, weekday; standardised"
    assert f"/ {run.target.scale[0]:.6g}" in told["target is learned as"]
    truth, values = figures.values(run, run.rows)
    worst = card(page, "Worst rows")[0]
    row = int(worst[1][0]) - 1
    assert float(worst[1][1]) == pytest.approx(table["price"][row].as_py(), rel=1e-3)
    assert worst[0][4:] == ["size", "colour", "day"]
    assert worst[1][5] == colour[row]
    assert cli.run(["predict", "model.safetensors", "shop <b>.csv", "--output", "p.csv"]) == 0
    predicted = csv.read_csv("p.csv")["prediction"][row].as_py()
    assert float(worst[1][2]) == pytest.approx(predicted, rel=1e-4)
    errors = values[:, 0] - truth[:, 0]
    assert f"mean {errors.mean():.4g}, root mean square {np.sqrt((errors**2).mean()):.4g}" in card(page, "Residuals")[1]
    assert (np.abs(errors).argmax()) == run.rows.worst[0]
    assert re.search(r"SHA-256 [0-9a-f]{64}", page)


def test_sizes_by_layer(capsys):
    run, page = reported(capsys, "iris", "--epochs", 5, "--hidden", "6")
    sizes = figures.sizes(run)
    assert sizes.epochs == [0, 1, 2, 3, 4, 5]
    X, Y, _ = run.probe
    for k, frame in enumerate(run.frames):
        it = bx.explain(run.network, frame.params, X, Y, "cross_entropy")
        for layer in range(2):
            W, dW = frame.params[layer][0], it.gradient[layer][0]
            assert sizes.weights[k, layer] == pytest.approx(np.sqrt((W.astype(float) ** 2).mean()), rel=1e-6)
            assert sizes.gradients[k, layer] == pytest.approx(np.sqrt((dW**2).mean()), rel=1e-4)
    rows = card(page, "Network")[0]
    assert rows[1][:4] == ["1", "6", "relu", "30"]
    assert rows[1][5] == f"{sizes.gradients[-1, 0]:.4g}"


def trained(network, X, y, **options):
    trainer = bx.Trainer(network, epochs=3, callbacks=[bx.Recorder("a.run")], **options)
    trainer.fit(X, y)
    return bx.load_run("a.run")


def test_a_run_of_the_library(capsys):
    X, y = load_iris(return_X_y=True)
    page = written(trained(bx.Network((4, 3), output="softmax"), X, y, optimizer=bx.momentum(0.05)), "mine")
    assert "<title>Training run mine</title>" in page
    snippet = card(page, "How to repeat it")[1]
    assert "bx.momentum(0.05, momentum=0.9)" in snippet
    assert "bx.Network((4, 3), activation='relu', output='softmax', bias=True)" in snippet
    assert "On 150 training rows" in page


def test_a_run_of_which_little_is_told(capsys):
    X, y = load_iris(return_X_y=True)
    about = {"sha256": "ab12", "command": "make iris", "data": None}
    recorder = bx.Recorder("a.run", about, rows=lambda places: [{"target": "?"} for place in places])
    bx.Trainer(bx.Network((4, 3), output="softmax"), epochs=2, callbacks=[recorder]).fit(X, y)
    page = written(bx.load_run("a.run"), "mine")
    assert "The data then had the SHA-256 ab12." in page
    assert "given as arrays" in page
    assert card(page, "Worst rows")[1]


@pytest.mark.parametrize(("output", "loss", "Y", "cards"), [
    ("sigmoid", "binary_cross_entropy", [[0.0], [1.0]], ["Confusion matrix", "Worst rows"]),
    ("sigmoid", "binary_cross_entropy", [[0.0, 1.0], [1.0, 1.0]], ["Labels", "Worst rows"]),
    ("identity", "squared_error", [[0.5, 1.0, 3.0, 4.0], [1.0, 2.0, 2.0, 1.0]], ["Residuals", "Worst rows"]),
    ("exp", "poisson", [[2.0], [0.0]], ["Residuals", "Worst rows"]),
])  # fmt: skip
def test_every_task(output, loss, Y, cards):
    Y = np.array(Y * 20)
    X = np.random.default_rng(0).normal(size=(40, 3))
    run = trained(bx.Network((3, 5, Y.shape[1]), activation="tanh", output=output), X, Y, loss=loss)
    page = written(run, "x")
    for title in cards:
        assert card(page, title)[1]
    if cards[0] == "Labels":
        predicted = run.rows.outputs > 0.5
        told = np.array([[int(cell) for cell in row] for row in card(page, "Labels")[0][1:]])
        np.testing.assert_array_equal(told[:, 1], Y.sum(axis=0))
        np.testing.assert_array_equal(told[:, 2], predicted.sum(axis=0))
        np.testing.assert_array_equal(told[:, 3] + told[:, 4], told[:, 2])
        np.testing.assert_array_equal(told[:, 3] + told[:, 5], told[:, 1])


def test_a_run_that_goes_on_and_one_that_never_began(capsys):
    X, y = load_iris(return_X_y=True)
    pages = []

    class Look(bx.Recorder):
        def on_epoch_end(self, record):
            super().on_epoch_end(record)
            self._write()
            pages.append(written(bx.load_run("a.run"), "x"))

    trainer = bx.Trainer(bx.Network((4, 3), output="softmax"), epochs=2, callbacks=[Look("a.run")])
    trainer.fit(X, y)
    assert "1 of 2 epochs so far" in pages[0]
    assert "Confusion matrix" not in pages[0]
    bx.Trainer(bx.Network((4, 3), output="softmax"), epochs=0, callbacks=[bx.Recorder("a.run")]).fit(X, y)
    assert "Ended after epoch 0: all epochs done." in written(bx.load_run("a.run"), "x")


def test_a_schedule_is_drawn_and_a_constant_rate_said(capsys):
    run, page = reported(capsys, "iris", "--epochs", 3, "--schedule", "cosine")
    first, _, last = run.history["learning_rate"]
    assert f"Learning rate by epoch, from {first:.4g} to {last:.4g}" in page
    page = reported(capsys, "iris", "--epochs", 3)[1]
    assert "Learning rate by epoch" not in page
    assert ["learning rate", "0.001 in all epochs"] in card(page, "Training")[0]


def test_rows_have_the_numbers_and_values_of_the_file(capsys):
    """Though rows without a target were dropped before."""
    lines = [f"{1000000 + k}.5,{k % 7},{'' if k % 4 == 0 else 10000000 + k + 0.25}" for k in range(80)]
    with open("gaps.csv", "w") as file:
        file.write("\n".join(["id,a,cost ($)", *lines]) + "\n")
    _, page = reported(capsys, "gaps.csv", "--target", "cost ($)", "--epochs", 2)
    for row in card(page, "Worst rows")[0][1:]:
        identity, a, cost = lines[int(row[0]) - 1].split(",")
        assert (row[4], row[5], row[1]) == (identity, a, cost)


def test_names_are_no_formulas(capsys):
    with open("money.csv", "w") as file:
        file.write("a,b,label\n" + "".join(f"{k},{k % 3},{'$a_{$' if k % 2 else '$5-$10'}\n" for k in range(40)))
    _, page = reported(capsys, "money.csv", "--epochs", 2)
    assert page.count(">$a_{$</text>") == page.count(">$5-$10</text>") == 2


def test_pictures_do_not_share_names(capsys):
    _, page = reported(capsys, "digits", "--epochs", 2)
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names)) > 50
    for used in re.findall(r'(?:url\(#|href="#)([^)"]+)', page):
        assert used in names


def test_how_a_run_ended(capsys):
    X, y = load_iris(return_X_y=True)

    def fail(record):
        raise RuntimeError("no more paper")

    network = bx.Network((4, 3), output="softmax")
    with pytest.raises(RuntimeError):
        bx.Trainer(network, epochs=2, callbacks=[bx.Recorder("a.run"), fail]).fit(X, y)
    assert "Ended after epoch 1 by an error: RuntimeError: no more paper." in written(bx.load_run("a.run"), "x")
    with pytest.raises(bx.DivergedError), np.errstate(all="ignore"):
        trained(bx.Network((4, 1)), X * 1e30, y, optimizer=bx.sgd(1e30))
    assert "Ended after epoch 0 by an error: DivergedError: " in written(bx.load_run("a.run"), "x")


def test_the_command_is_free_of_what_would_keep_it_from_running_again(capsys):
    arguments = ["iris", "--epochs", 3, "--checkpoint", "c", "--every", 2, "--resume", "--log", "l", "--output", "m"]
    _, page = reported(capsys, *arguments)
    assert "backprop-xp train iris --epochs 3 The same seed" in " ".join(card(page, "How to repeat it")[1].split())


def test_the_snippet_is_the_trainers_settings():
    X, y = load_iris(return_X_y=True)
    given = {"loss": bx.losses.huber(0.3), "metrics": ("mae",), "validation_fraction": 0.2, "monitor": "val_mae"}
    run = trained(bx.Network((4, 1)), X, y.astype(float), patience=2, multipliers=((1.0, 2.0),), **given)
    snippet = card(written(run, "x"), "How to repeat it")[1].split("With the same rows")[0]
    made = {"bx": bx}
    exec(snippet.strip().replace("bx.Trainer(network", "trainer = bx.Trainer(network"), made)
    trainer = made["trainer"]
    assert (trainer.loss.parameter, trainer.monitor, trainer.validation_fraction) == (0.3, "val_mae", 0.2)
    again = trainer.fit(X, y.astype(float))
    np.testing.assert_array_equal(again["val_mae"], run.history["val_mae"])


def test_a_figure_may_have_val_in_its_name():
    X, y = load_iris(return_X_y=True)

    def interval_score(y_true, y_pred):
        return float(np.mean(y_true == y_pred))

    page = written(trained(bx.Network((4, 3), output="softmax"), X, y, metrics=(interval_score,)), "x")
    assert ", interval score " in page


@pytest.mark.parametrize(("arguments", "message"), [
    (["report", "nothing.run"], "no recorded run 'nothing.run': train with --record nothing.run"),
    (["report", "model.safetensors"], "its format is 'backprop_xp model', not 'backprop_xp run'"),
    (["report", "a.run", "--output", "a.txt"], "--output 'a.txt' must end in .html or .htm"),
    (["report", "a.run", "--output", "./a.run"], "--output and RUN are the same file"),
    (["report", "."], "no recorded run '.'"),
    (["report", ""], "no recorded run"),
    (["train", "iris", "--record", "x.html"], "is for the report's page"),
    (["train", "iris", "--record", "x", "--tensorboard", "x"], "are the same file"),
    (["report", "a.run", "--output", "no/a.html"], "there is no folder 'no'"),
    (["train", "iris", "--record", "no/a.run"], "there is no folder 'no'"),
    (["train", "iris", "--record", "x", "--output", "x"], "--record and --output are the same file"),
])  # fmt: skip
def test_what_is_refused(capsys, arguments, message):
    assert cli.run(["train", "iris", "--epochs", "1", "--record", "a.run"]) == 0
    capsys.readouterr()
    assert cli.run(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1200, False), (1200, True)])
def test_the_page_opens_offline_at_every_width(capsys, opens, tmp_path, width, dark):
    _, text = reported(capsys, "digits", "--epochs", 3, "--hidden", 8)
    page = opens(tmp_path / "a-report.html", width, dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.eval_on_selector_all("svg", "all => all.map(each => each.getBoundingClientRect().width)")
    assert len(boxes) == text.count("<svg") == 5
    assert min(boxes) > 250
    ink = page.eval_on_selector("svg text", "each => getComputedStyle(each).fill")
    assert ink == page.evaluate("getComputedStyle(document.body).color")
    assert (page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)") == dark
