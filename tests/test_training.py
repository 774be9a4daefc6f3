"""The trainer: the same run everywhere, validation, early stopping, callbacks, interruption, divergence, refusals."""

import contextlib
import gc
import json
import math
import os
import pickle
import warnings

import numpy as np
import pandas
import pytest
import scipy.sparse
from conftest import DEVICES, assert_trees_close
from sklearn import metrics as skm
from sklearn.datasets import load_diabetes, load_iris

from backprop_xp import (
    DivergedError,
    InputError,
    Network,
    Trainer,
    adam,
    backends,
    init,
    loops,
    make_step,
    schedules,
    sgd,
)
from backprop_xp.batches import epoch_order
from backprop_xp.callbacks import Callback, JsonLines
from backprop_xp.checkpoints import Progress
from backprop_xp.errors import StopTraining
from backprop_xp.losses import Loss, huber, pinball
from backprop_xp.metrics import METRICS
from backprop_xp.training_run import Run

IRIS = Network((4, 8, 3), activation="tanh", output="softmax")


def iris(dtype="float64"):
    X, y = load_iris(return_X_y=True)
    return ((X - X.mean(axis=0)) / X.std(axis=0)).astype(dtype), y


def trained(network=IRIS, X=None, y=None, **options):
    fit = {name: options.pop(name) for name in ("sample_weight", "validation_data") if name in options}
    trainer = Trainer(network, **{"optimizer": adam(0.01), "dtype": "float64", "epochs": 5, **options})
    trainer.fit(*(iris() if X is None else (X, y)), **fit)
    return trainer


def test_the_same_seed_gives_the_same_run_on_every_backend(other):
    options = {
        "dropout": 0.2, "l2": 1e-3, "clip_norm": 1.0, "metrics": ("accuracy",), "validation_fraction": 0.2, "seed": 3,
        "batch_size": 32, "sample_weight": np.linspace(0.5, 1.5, 150), "optimizer": adam(schedules.cosine(0.02, 25)),
    }  # fmt: skip
    on_numpy = trained(**options)
    elsewhere = trained(backend=other.name, device=DEVICES.get(other.name, "cpu"), **options)
    assert_trees_close(other.host(elsewhere.params), on_numpy.params, rtol=1e-9, atol=1e-12)
    for name in set(on_numpy.history) - {"seconds"}:
        np.testing.assert_allclose(elsewhere.history[name], on_numpy.history[name], rtol=1e-10)
    np.testing.assert_array_equal(elsewhere.predict(iris()[0]), on_numpy.predict(iris()[0]))


def test_data_stay_on_the_device_between_the_epochs_readings(monkeypatch):
    strict = pytest.importorskip("array_api_strict")
    reads = []
    cls = type(strict.asarray(0.0))
    convert = cls.__float__
    monkeypatch.setattr(cls, "__float__", lambda self: reads.append(1) or convert(self))
    moved = []
    monkeypatch.setattr(backends, "to_host", lambda a, f=backends.to_host: moved.append(a) or f(a))
    trained(backend="array_api_strict", device="device1", batch_size=10, epochs=3)
    assert len(reads) == 6  # the learning rate, and whether the parameters are finite, once an epoch
    assert len(moved) == 3  # the losses of all the epoch's steps


def test_a_run_equals_loops_over_its_batches():
    X, y = iris()
    X, y = X[:50], y[:50]
    network = Network((4, 3, 3), activation="sigmoid", output="softmax")
    trainer = trained(network, X, y, optimizer=sgd(0.3), batch_size=16, epochs=3, seed=9)
    params = loops.to_lists(init(network, 9))
    losses = []
    for epoch in (1, 2, 3):
        order = epoch_order(9, epoch, 50)
        epoch_losses = []
        for rows in np.split(order, [16, 32, 48]):
            params, loss = loops.step(network, params, X[rows].tolist(), y[rows].tolist(), "cross_entropy", 0.3)
            epoch_losses.append(loss * len(rows))
        losses.append(sum(epoch_losses) / 50)
    assert_trees_close(trainer.params, init(network, initializer=params), rtol=1e-10)
    np.testing.assert_allclose(trainer.history["loss"], losses, rtol=1e-12)


def test_rows_come_in_a_new_order_each_epoch_and_each_once():
    orders = [epoch_order(0, epoch, 100) for epoch in range(4)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_without_shuffling_the_rows_come_as_they_stand():
    X, y = iris()
    trainer = trained(shuffle=False, batch_size=64, epochs=1, optimizer=sgd(0.1))
    step, params, state = make_step(IRIS, "cross_entropy", sgd(0.1)), init(IRIS), sgd(0.1).init(init(IRIS))
    for start in (0, 64, 128):
        params, state, _ = step(params, state, X[start : start + 64], y[start : start + 64])
    assert_trees_close(trainer.params, params, rtol=1e-13)


def test_fit_starts_anew_and_given_arrays_go_on():
    trainer = trained(shuffle=False)
    first = trainer.params
    trainer.fit(*iris())
    assert_trees_close(trainer.params, first, rtol=0)
    onward = trained(initializer=first, shuffle=False)
    assert onward.history["loss"][0] < trainer.history["loss"][-1]


@pytest.mark.parametrize("classes", [True, False])
def test_metrics_equal_scikit_learns(classes):
    if classes:
        X, y = iris()
        trainer = trained(metrics=("accuracy", skm.balanced_accuracy_score))
        P = trainer.predict(X)
        expected = {"accuracy": skm.accuracy_score(y, P), "balanced_accuracy_score": skm.balanced_accuracy_score(y, P)}
    else:
        X, y = load_diabetes(return_X_y=True)
        y = (y - y.mean()) / y.std()
        network = Network((10, 5, 1))
        trainer = trained(network, X, y, metrics=("mse", "rmse", "mae", "r2", skm.median_absolute_error))
        P = trainer.predict(X)
        assert P.shape == (442,)
        expected = {
            "mse": skm.mean_squared_error(y, P), "rmse": skm.root_mean_squared_error(y, P), "r2": skm.r2_score(y, P),
            "mae": skm.mean_absolute_error(y, P), "median_absolute_error": skm.median_absolute_error(y, P),
        }  # fmt: skip
    for name, value in expected.items():
        assert trainer.history[name][-1] == pytest.approx(value, rel=1e-12)


def test_several_labels_at_once():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    Y = (X[:, :3] > 0).astype(int)
    network = Network((5, 16, 3), activation="tanh", output="sigmoid")
    trainer = trained(network, X, Y, metrics=("accuracy",), epochs=40)
    assert trainer.predict(X).shape == (300, 3)
    assert trainer.history["accuracy"][-1] == pytest.approx((trainer.predict(X) == Y).all(axis=1).mean())
    assert trainer.history["accuracy"][-1] > 0.9


def test_validation_data_are_recorded_and_not_trained_on():
    X, y = iris()
    trainer = trained(X=X[::2], y=y[::2], validation_data=(X[1::2], y[1::2]), metrics=("accuracy",))
    P = trainer.predict_proba(X[1::2])
    assert trainer.history["val_loss"][-1] == pytest.approx(skm.log_loss(y[1::2], P))
    assert trainer.history["val_accuracy"][-1] == pytest.approx((P.argmax(axis=1) == y[1::2]).mean())
    assert_trees_close(trainer.params, trained(X=X[::2], y=y[::2]).params, rtol=0)


def test_early_stopping_takes_back_the_best_parameters():
    X, y = iris()
    seen = []

    class Keep(Callback):
        def on_train_begin(self, trainer):
            self.trainer = trainer

        def on_epoch_end(self, record):
            seen.append(self.trainer.params)

    trainer = trained(
        X=X[::3], y=y[::3], validation_data=(X[1::3], y[1::3]), optimizer=adam(0.2), epochs=200, patience=5,
        callbacks=[Keep()],
    )  # fmt: skip
    losses = trainer.history["val_loss"]
    best = int(losses.argmin())
    assert trainer.stopped == "patience"
    assert len(losses) == best + 1 + 5 < 200
    assert trainer.kept_epoch == best + 1
    assert_trees_close(trainer.params, seen[best], rtol=0)


@pytest.mark.parametrize(("monitor", "best"), [("accuracy", np.argmax), ("loss", np.argmin)])
def test_any_recorded_figure_can_be_monitored(monitor, best):
    trainer = trained(
        metrics=("accuracy",), monitor=monitor, patience=4, epochs=60, optimizer=adam(0.3), min_delta=1e-3
    )
    values = trainer.history[monitor]
    assert abs(values[trainer.kept_epoch - 1] - values[best(values)]) <= 1e-3
    with pytest.raises(InputError, match="unknown monitor 'val_accuracy'"):
        trained(metrics=("accuracy",), monitor="val_accuracy", patience=4)


def test_a_callback_ends_training_after_a_batch_or_an_epoch():
    class AfterBatch(Callback):
        def on_batch_end(self, batch, loss):
            if batch == 2:
                raise StopTraining("seen enough")

    trainer = trained(batch_size=10, callbacks=[AfterBatch()])
    assert trainer.stopped == "seen enough"
    assert len(trainer.history["loss"]) == 1

    def after_epoch(record):
        if record["epoch"] == 2:
            raise StopTraining

    trainer = trained(callbacks=[after_epoch])
    assert trainer.stopped == "callback"
    assert len(trainer.history["loss"]) == 2


def test_a_callback_may_end_training_before_it_begins():
    class Begin(Callback):
        ended = 0

        def on_train_begin(self, trainer):
            raise StopTraining("not today")

        def on_train_end(self, trainer):
            Begin.ended += 1

    trainer = trained(callbacks=[Begin()])
    assert (trainer.stopped, trainer.history, Begin.ended) == ("not today", {}, 1)
    assert trainer.params is trainer.first_params


def test_the_first_reason_to_stop_is_the_one_that_is_told():
    """Ctrl-C within an epoch, and a callback that stops at its end."""

    class Interrupting(Callback):
        def on_batch_end(self, batch, loss):
            if batch == 1:
                raise KeyboardInterrupt

        def on_epoch_end(self, record):
            raise StopTraining("enough")

    with pytest.warns(UserWarning, match="interrupted; the model trained so far is kept"):
        trainer = trained(batch_size=10, callbacks=[Interrupting()])
    assert trainer.stopped == "interrupted"
    assert len(trainer.history["loss"]) == 1


def test_callbacks_see_everything_and_are_told_of_the_end_after_an_error():
    calls = []

    class Log(Callback):
        def on_train_begin(self, trainer):
            calls.append("begin")

        def on_batch_end(self, batch, loss):
            calls.append(batch)

        def on_epoch_end(self, record):
            calls.append("epoch")
            raise RuntimeError("broken")

        def on_train_end(self, trainer):
            calls.append("end")

    with pytest.raises(RuntimeError, match="broken"):
        trained(batch_size=75, callbacks=[Log()])
    assert calls == ["begin", 0, 1, "epoch", "end"]


@pytest.mark.parametrize("batch", [0, 3])
def test_ctrl_c_keeps_the_model_trained_so_far(batch):
    class CtrlC(Callback):
        def on_batch_end(self, number, loss):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 30 + batch + 1:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted; the model trained so far is kept"):
        trainer = trained(batch_size=10, callbacks=[CtrlC()], epochs=50)
    assert trainer.stopped == "interrupted"
    assert len(trainer.history["loss"]) == 3  # two whole epochs of 15 steps, and one of batch + 1
    X, y = iris()
    step, state = make_step(IRIS, "cross_entropy", adam(0.01)), (init(IRIS), adam(0.01).init(init(IRIS)))
    rows = [r for epoch in (1, 2, 3) for r in np.split(epoch_order(0, epoch, 150), 15)][: 31 + batch]
    for r in rows:
        state = step(*state, X[r], y[r])[:2]
    assert_trees_close(trainer.params, state[0], rtol=1e-12)


def test_a_loss_that_is_not_finite_stops_with_the_place_and_the_way_out():
    X, y = load_diabetes(return_X_y=True)
    network = Network((10, 5, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy says that it overflows
        trainer = Trainer(network, "squared_error", sgd(1e3), epochs=50, batch_size=442, dtype="float64")
        with pytest.raises(
            DivergedError, match=r"epoch \d+, step 1, learning rate 1000; .* kept; try a lower"
        ) as caught:
            trainer.fit(X, y * 1e3)
    assert caught.value.epoch == len(trainer.history["loss"]) + 1
    assert all(np.isfinite(leaf).all() for layer in trainer.params for leaf in layer)
    assert np.isfinite(trainer.history["loss"]).all()


def test_a_batch_larger_than_the_data_takes_them_all():
    assert_trees_close(trained(batch_size=1000).params, trained(batch_size=150, shuffle=False).params, rtol=0)


def test_the_epochs_loss_weighs_a_short_batch_by_its_rows():
    X, y = iris()
    trainer = trained(X=X[:70], y=y[:70], optimizer=sgd(0.0), batch_size=32, epochs=1)
    assert trainer.history["loss"][0] == pytest.approx(
        skm.log_loss(y[:70], trainer.predict_proba(X[:70]), labels=[0, 1, 2])
    )
    network = Network((4, 1))
    summed = trained(
        network, X[:70], y[:70] / 1.0, loss="half_squared_error", optimizer=sgd(0.0), batch_size=32, epochs=1
    )
    assert summed.history["loss"][0] == pytest.approx(((summed.predict(X[:70]) - y[:70]) ** 2).sum() / 2)


def test_json_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    trained(callbacks=[JsonLines(path, {"job": "iris"})], metrics=(lambda y_true, y_pred: math.nan,))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "note", *["epoch"] * 5, "end"]
    assert lines[0]["job"] == "iris"
    assert lines[1]["text"].startswith("engine eager: ")
    assert lines[2]["<lambda>"] is None
    assert lines[-1]["stopped"] == "epochs"


def test_verbose_prints_the_first_and_the_last_epoch(capsys):
    trained(verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("engine eager: ")
    assert lines[1].startswith("epoch 1/5  loss ")
    assert lines[-1].startswith("epoch 5/5  loss ")


X, Y = np.zeros((6, 4)), np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(("data", "message"), [
    ((X, Y[:5]), "X of the training data has 6 rows, but y has 5"),
    ((X[:, :3], Y), r"must be \(n_samples, 4\), not \(6, 3\)"),
    ((X[0], Y), r"must be \(n_samples, 4\)"),
    ((X[:0], Y[:0]), "has no rows"),
    ((X, Y + 1), r"labels in y of the training data must lie between 0 and 2 \(3 outputs\), but there is 3"),
    ((X, Y - 1), "but there is -1"),
    ((X, Y / 1.0), "cross_entropy needs integer labels"),
    ((X, np.eye(4)[Y]), "must have 3 columns"),
    ((X, np.eye(3)[Y] * 0.5), "must sum to 1"),
    ((X + 1j, Y), "X of the training data must be real numbers, not complex128"),
    ((X.astype(object), Y), "must be real numbers, not object"),
    ((X, Y.astype(str)), "y of the training data must be real numbers"),
    ((np.where(np.arange(24).reshape(6, 4) == 9, np.nan, X), Y), "NaN or infinity, first at row 2, column 1"),
    ((np.where(np.arange(24).reshape(6, 4) == 4, np.inf, X), Y), "first at row 1, column 0"),
])  # fmt: skip
def test_data_that_do_not_fit_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        trained(X=data[0], y=data[1])


@pytest.mark.parametrize(("output", "y", "message"), [
    ("sigmoid", [0, 1, 2, 0, 1, 1], "must lie between 0 and 1 for binary_cross_entropy, but there is 2 at row 2"),
    ("exp", [0, 1, 2, 0, 1, -1], "for poisson, but there is -1 at row 5"),
    ("identity", np.zeros((6, 2)), "must have 1 columns"),
])  # fmt: skip
def test_targets_out_of_the_losss_range(output, y, message):
    with pytest.raises(InputError, match=message):
        trained(Network((4, 1), output=output), X, np.asarray(y))


@pytest.mark.parametrize(("weight", "message"), [
    (np.ones(5), r"sample_weight must be \(6,\)"), (-np.ones(6), "not be negative"), (np.zeros(6), "not all 0"),
])  # fmt: skip
def test_weights_that_do_not_fit(weight, message):
    with pytest.raises(InputError, match=message):
        trained(X=X, y=Y, sample_weight=weight)


@pytest.mark.parametrize(("options", "message"), [
    ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
    ({"batch_size": 2.5}, "batch_size must be"),
    ({"batch_size": None}, "batch_size must be"),
    ({"epochs": True}, "epochs must be"),
    ({"epochs": -1}, "epochs must be"),
    ({"patience": 0}, "patience must be"),
    ({"validation_fraction": 1.0}, "validation_fraction must be"),
    ({"validation_fraction": 1e-9}, "leaves 0 to validate with"),
    ({"loss": "croos_entropy"}, "did you mean 'cross_entropy'"),
    ({"optimizer": "adma"}, "did you mean 'adam'"),
    ({"metrics": ("acuracy",)}, "did you mean 'accuracy'"),
    ({"callbacks": print}, r"callbacks must be a sequence, such as callbacks=\[<built-in function print>\]"),
    ({"callbacks": [JsonLines]}, "a callback is a Callback or a function"),
    ({"callbacks": ["x"]}, "a callback is a Callback or a function"),
    ({"metrics": "accuracy"}, r"a sequence, such as metrics=\('accuracy',\)"),
    ({"optimizer": adam}, r"optimizer must be made by adam\(\)"),
    ({"validation_data": (*iris(), None)}, r"validation_data must be \(X, y\), not 3 arrays"),
    ({"X": scipy.sparse.csr_array(iris()[0]), "y": iris()[1]}, r"X of the training data is sparse, .* its toarray\(\)"),
    ({"engine": "eagre"}, "did you mean 'eager'"),
    ({"dtype": "float16"}, "dtype must be float32 or float64"),
])  # fmt: skip
def test_options_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        trained(**options)


def test_a_fit_that_is_refused_leaves_what_the_one_before_it_left(tmp_path):
    class Refuses(Callback):
        asked = 0

        def on_train_begin(self, trainer):
            self.asked += 1
            if self.asked > 1:
                raise InputError("no")

    for options, given, message in (
        ({"checkpoint": tmp_path / "run"}, {}, "there are checkpoints of a run"),
        ({"monitor": "val_loss", "validation_data": iris()}, {}, "unknown monitor 'val_loss'"),
        ({"callbacks": [Refuses()]}, {}, "^no$"),
        ({"patience": 3}, {"sample_weight": -np.ones(150)}, "must not be negative"),
    ):
        trainer = trained(**options)
        names = ("params", "history", "kept_epoch", "n_samples", "choice", "notes", "stopped", "resumed")
        before = [getattr(trainer, name) for name in names]
        with pytest.raises(InputError, match=message):
            trainer.fit(*iris(), **given)
        assert all(getattr(trainer, name) is left for name, left in zip(names, before, strict=True)), message
        assert len(trainer.history["loss"]) == 5


def test_every_metric_is_documented():
    assert all(name in Trainer.__doc__ for name in METRICS)


@pytest.mark.parametrize("epochs", [1, 3])
def test_parameters_that_overflow_in_the_last_step_of_an_epoch_are_not_kept(epochs):
    network, X, y = Network((4, 1)), iris()[0], np.ones(150)
    first = init(network, dtype="float32")
    trainer = Trainer(network, "squared_error", sgd(1e38), epochs=epochs, batch_size=150)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(DivergedError, match=r"^parameters are not finite at epoch 1, step 1,.* initial parameters"):
            trainer.fit(X.astype("f4") * 1e3, y)
    assert_trees_close(trainer.params, first, rtol=0)


def test_parameters_whose_squares_overflow_are_kept(lib):
    large = [(np.full((4, 1), 1e25, np.float32), np.zeros((1, 1), np.float32))]
    device = DEVICES.get(lib.name, "cpu")
    trainer = Trainer(Network((4, 1)), "squared_error", sgd(0.0), initializer=large, epochs=2, backend=lib.name,
                      device=device)  # fmt: skip
    trainer.fit(np.zeros((8, 4), np.float32), np.zeros(8, np.float32))
    assert_trees_close(lib.host(trainer.params), tuple(large), rtol=0)


def test_divergence_with_patience_gives_back_the_best_epoch():
    X, y = iris()
    # A rate that learns, one that unlearns, and one that breaks it.
    optimizer = sgd(lambda count, xp: xp.where(count < 4.0, 0.1, xp.where(count < 12.0, -0.01, 1e300)) + count * 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        trainer = Trainer(Network((4, 1)), "squared_error", optimizer, epochs=9, batch_size=50, dtype="float64",
                          patience=9, validation_fraction=0.2)  # fmt: skip
        with pytest.raises(DivergedError) as caught:
            trainer.fit(X, y / 1.0)
    assert trainer.kept_epoch == int(trainer.history["val_loss"].argmin()) + 1 == caught.value.kept_epoch
    assert trainer.kept_epoch < caught.value.epoch - 1
    assert f"the parameters of epoch {trainer.kept_epoch} are kept" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))  # as joblib's workers send it
    assert (str(again), vars(again)) == (str(caught.value), vars(caught.value))
    assert trainer.predict(X).shape == (150,)


def test_a_monitor_that_is_never_a_number_keeps_the_last_epoch_and_says_so():
    def nothing(y_true, y_pred):
        return math.nan

    with pytest.warns(UserWarning, match="nothing was never a number to compare"):
        trainer = trained(metrics=(nothing,), monitor="nothing", patience=2)
    assert trainer.kept_epoch == 2
    assert_trees_close(trainer.params, trained(epochs=2).params, rtol=0)


def test_one_hot_targets_have_the_accuracy_of_their_labels():
    X, y = iris()
    labels, rows = (trained(y=Y, X=X, metrics=("accuracy",), optimizer=adam(1e-3)) for Y in (y, np.eye(3)[y]))
    np.testing.assert_allclose(rows.history["accuracy"], labels.history["accuracy"])
    assert 0 < labels.history["accuracy"][0] < 0.9


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_users_metrics_are_given_labels(output):
    X, y = iris()
    network = Network((4, 5, 2 if output == "softmax" else 1), output=output)
    trainer = trained(network, X, (y == 1).astype(int), metrics=(skm.accuracy_score, skm.f1_score))
    assert trainer.history["accuracy_score"][-1] == pytest.approx(skm.accuracy_score(y == 1, trainer.predict(X)))


@pytest.mark.parametrize(("metrics", "message"), [
    (("mse",), "compares numbers, and cross_entropy learns labels"),
    ((lambda t, p: 0.0, lambda t, p: 1.0), "metrics must have names of their own"),
])  # fmt: skip
def test_metrics_that_cannot_be(metrics, message):
    with pytest.raises(InputError, match=message):
        trained(metrics=metrics)


def test_r2_of_a_constant_is_scikit_learns():
    trainer = trained(Network((4, 1)), iris()[0], np.ones(150), metrics=("r2",))
    assert trainer.history["r2"][-1] == skm.r2_score(np.ones(150), trainer.predict(iris()[0])) == 0.0


def test_predict_takes_what_fit_takes_and_refuses_what_fit_refuses(lib):
    X, y = iris("float32")
    trainer = Trainer(IRIS, epochs=1).fit(pandas.DataFrame(X), pandas.Series(y)) and trained(X=X, y=y, dtype="float32")
    expected = trainer.predict_proba(X)
    for same in (X.tolist(), pandas.DataFrame(X), lib.array(X, "float32")):
        np.testing.assert_allclose(trainer.predict_proba(same), expected, rtol=1e-6)
    for bad, message in [(X + 1j, "real numbers"), (np.where(X[5, 2] == X, np.nan, X), "NaN or infinity, first at row"),
                         (X.astype(str), "real numbers"), (np.ma.masked_array(X, X > 1), "masked array")]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            trainer.predict(bad)
        with pytest.raises(InputError, match=message):
            trainer.fit(bad, y)


def test_parameters_from_any_device_go_on(lib):
    first = trained(backend=lib.name, device=DEVICES.get(lib.name, "cpu"))
    onward = trained(initializer=first.params, epochs=0)
    assert_trees_close(onward.params, lib.host(first.params), rtol=0)


def test_a_trainer_trains_one_network():
    stacked = tuple((np.stack([W, W]), np.stack([b, b])) for W, b in init(IRIS))
    with pytest.raises(InputError, match="trains one network"):
        Trainer(IRIS, initializer=stacked)


def test_the_epochs_loss_weighs_steps_by_their_samples_weights():
    weight = np.where(np.arange(150) < 75, 1.0, 0.0) + np.linspace(0, 0.1, 150)
    for shuffle in (False, True):
        options = {"sample_weight": weight, "optimizer": sgd(0.0), "epochs": 1, "shuffle": shuffle}
        losses = [trained(batch_size=size, **options).history["loss"][0] for size in (150, 40)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_ctrl_c_between_the_steps_and_the_record_keeps_them_together(monkeypatch):
    calls = []

    def metric(y_true, y_pred):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 0.0

    with pytest.warns(UserWarning, match="interrupted"):
        trainer = trained(metrics=(metric,))
    assert trainer.kept_epoch == len(trainer.history["loss"]) == 2
    assert_trees_close(trainer.params, trained(epochs=2).params, rtol=0)


def test_settings_may_be_numbers_of_numpys():
    """A search over np.logspace trains in float32, and to the same numbers."""
    X, y = iris("float32")

    def run(number, loss):
        return trained(
            Network((4, 8, 1)), X, y.astype(np.float32), loss=loss(number(0.4)), dtype="float32", l2=number(1e-3),
            dropout=number(0.2), clip_norm=number(0.5), optimizer=adam(number(0.01), number(0.8)),
        )  # fmt: skip

    for loss in (huber, pinball):
        plain, numpys = run(float, loss), run(np.float64, loss)
        assert {leaf.dtype for layer in numpys.params for leaf in layer} == {np.dtype("float32")}
        np.testing.assert_array_equal(numpys.history["loss"], plain.history["loss"])
        assert_trees_close(numpys.params, plain.params, rtol=0)


def test_a_loss_whose_gradient_is_the_target_leaves_it_as_it_is():
    X, y = np.ones((8, 2), np.float32), np.arange(8, dtype=np.float32)
    linear = Loss("linear", lambda P, Y, xp: P * Y, lambda P, Y, xp: Y)
    trainer = Trainer(Network((2, 1)), linear, sgd(0.1), epochs=3, batch_size=8, initializer="zeros", engine="eager")
    trainer.fit(X, y)
    np.testing.assert_array_equal(y, np.arange(8))
    np.testing.assert_allclose(trainer.params[0][0], -0.1 * 3 * 3.5, rtol=1e-6)  # dW is the mean of y in every step


def test_the_loss_of_steps_without_weight_is_no_nan():
    class StopsAtOnce(Callback):
        paced = False

        def on_batch_end(self, batch, loss):
            if batch == 1:
                raise StopTraining("two steps")

    weight = np.r_[np.zeros(64), np.ones(86)]
    trainer = trained(shuffle=False, sample_weight=weight, batch_size=32, callbacks=[StopsAtOnce()])
    assert trainer.history["loss"].tolist() == [0.0]


def test_weights_in_half_precision_add_up_in_double():
    weight = np.full(150, 60_000, np.float16)
    with_weight = trained(sample_weight=weight, epochs=2)
    np.testing.assert_allclose(with_weight.history["loss"], trained(epochs=2).history["loss"], rtol=1e-6)


def test_every_callback_is_told_of_the_end_though_one_fails():
    ended = []

    class Ends(Callback):
        def on_train_end(self, trainer):
            ended.append(self)
            raise RuntimeError("at the end")

    with pytest.raises(RuntimeError, match="at the end"):
        trained(callbacks=[Ends(), Ends()])
    assert len(ended) == 2


def test_a_log_on_a_full_disk_ends_and_training_goes_on(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with pytest.warns(UserWarning, match="the log '/dev/full' ends here: No space left"):
        trainer = trained(callbacks=[JsonLines("/dev/full")])
    assert len(trainer.history["loss"]) == 5
    with pytest.raises(InputError, match="cannot write the log"):
        trained(callbacks=[JsonLines(tmp_path / "nowhere" / "log")])


@pytest.mark.parametrize("seed", [-1, None, 1.5])
def test_seeds_that_cannot_be(seed):
    with pytest.raises(InputError, match="seed must be an integer of at least 0"):
        trained(seed=seed)


@pytest.mark.parametrize("engine", ["eager", "jax"])
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt, StopTraining])
def test_what_a_fit_needed_is_let_go_of_however_it_ends(tmp_path, engine, error):
    """By counting references alone, as a device's memory must be: the optimizer's state, the data, the engine."""
    if engine != "eager":
        pytest.importorskip(engine)

    class Listening(Callback):
        def on_batch_end(self, batch, loss):
            if error is not None and batch == 3:
                raise error

    trainer = Trainer(IRIS, epochs=2, callbacks=[Listening()], engine=engine, checkpoint=tmp_path / "c")
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(RuntimeError), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "training was interrupted")
            trainer.fit(*iris())
        assert not [each for each in gc.get_objects() if type(each) in (Run, Progress)]
    finally:
        gc.enable()
