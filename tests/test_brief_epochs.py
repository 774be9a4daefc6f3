"""Epochs so brief that several are one call of the engine: what a fit leaves and tells is that of one by one."""

import signal
import time

import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp import schedules, training_run
from backprop_xp.callbacks import Callback
from backprop_xp.engines import Choice
from backprop_xp.engines.memory import Sparing
from backprop_xp.errors import DivergedError, InputError, StopTraining

BRIEF = ["eager", "loops"]
EPOCHS = 700  # more than are one call

rng = np.random.default_rng(0)
X = rng.normal(size=(24, 3))
Y = np.tanh(X @ rng.normal(size=(3, 2)))


class Epochs(Callback):
    """What is told of each epoch, and the epoch whose parameters the trainer then has."""

    def __init__(self, paced):
        self.paced, self.records, self.kept = paced, [], []

    def on_train_begin(self, trainer):
        self.trainer, self.records, self.kept = trainer, [], []

    def on_epoch_end(self, record):
        self.records.append(record)
        self.kept.append(self.trainer.kept_epoch)


def trainer(engine, callback=None, epochs=EPOCHS, widths=(3, 4, 2), optimizer=None, **settings):
    settings = {"batch_size": 8, "dtype": "float64", "loss": "squared_error", **settings}
    callbacks = [] if callback is None else [callback]
    rule = bx.momentum(0.01) if optimizer is None else optimizer
    return bx.Trainer(bx.Network(widths), optimizer=rule, epochs=epochs, engine=engine, callbacks=callbacks, **settings)


def left(trained):
    history = {name: values for name, values in trained.history.items() if name != "seconds"}
    return [leaf for layer in trained.params for leaf in layer], history, trained.kept_epoch, trained.stopped


@pytest.fixture(autouse=True)
def with_numba(request):
    if "loops" in request.node.name:
        pytest.importorskip("numba")


ALIKE = {
    "shuffled": {},
    "in their order": {"shuffle": False},
    "one batch": {"batch_size": 24},
    "one batch in its order": {"batch_size": 24, "shuffle": False},
    "dropout": {"dropout": 0.3, "optimizer": bx.adam()},
    "float32": {"dtype": "float32", "loss": "absolute_error"},
    "clipped": {"l2": 1e-3, "clip_norm": 0.1, "optimizer": bx.sgd(0.02)},
}


@pytest.mark.parametrize("engine", BRIEF)
@pytest.mark.parametrize("settings", ALIKE.values(), ids=ALIKE)
def test_they_leave_what_epochs_one_by_one_leave_to_the_last_bit(engine, settings, monkeypatch):
    monkeypatch.setitem(training_run._STEP, "loops", 2**16)  # several calls of it too
    together, apart = Epochs(paced=True), Epochs(paced=False)
    pair = [trainer(engine, callback, **settings) for callback in (together, apart)]
    for each in pair:
        each.fit(X, Y)
    np.testing.assert_equal(*map(left, pair))
    assert apart.kept == list(range(1, EPOCHS + 1))
    assert 1 < len(set(together.kept)) < EPOCHS / 20  # calls
    assert together.kept[-1] == EPOCHS
    assert [record | {"seconds": 0} for record in together.records] == [
        record | {"seconds": 0} for record in apart.records
    ]


LOOKED_AT = {
    "metrics": {"metrics": ("mse",)},
    "patience": {"patience": 700},
    "validation": {"validation_fraction": 0.5},
    "a short batch": {"batch_size": 5},
    "a schedule": {"optimizer": bx.sgd(schedules.cosine(0.1, 2000))},
    "an optimizer of one's own": {"optimizer": bx.Optimizer(bx.sgd(0.1).init, bx.sgd(0.1).update)},
    "another engine": {"engine": "torch"},
    "another backend": {"backend": "array_api_strict"},
    "epochs that are not brief": {"widths": (3, 200_000, 2)},
}


@pytest.mark.parametrize("settings", LOOKED_AT.values(), ids=LOOKED_AT)
def test_what_looks_in_between_sees_every_epoch(settings):
    if settings.get("engine") == "torch":
        pytest.importorskip("torch")
    told = Epochs(paced=True)
    each = trainer(**{"engine": "eager", "callback": told, "epochs": 3} | settings)
    each.fit(X, Y)
    assert told.kept == [1, 2, 3]
    assert len(set(each.history["learning_rate"])) == (3 if settings is LOOKED_AT["a schedule"] else 1)


def test_weights_and_checkpoints_look_in_between_too(tmp_path):
    for given, settings in (({"sample_weight": np.arange(24)}, {}), ({}, {"checkpoint": tmp_path / "kept"})):
        told = Epochs(paced=True)
        trainer("eager", told, epochs=3, **settings).fit(X, Y, **given)
        assert told.kept == [1, 2, 3]


@pytest.mark.parametrize("engine", BRIEF)
def test_the_steps_that_diverge_are_told_and_the_epoch_before_is_left(engine):
    ends = []
    for paced in (True, False):
        each = trainer(engine, Epochs(paced), batch_size=24, optimizer=bx.sgd(1.2), shuffle=False)
        with pytest.raises(DivergedError) as error, np.errstate(all="ignore"):
            each.fit(10 * X, 1e3 * Y)
        ends.append((str(error.value), *left(each)))
    assert ends[0][3] > 1  # epochs that were good
    np.testing.assert_equal(*ends)


@pytest.mark.parametrize("engine", BRIEF)
def test_ctrl_c_leaves_the_epochs_of_the_calls_before(engine):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    told = Epochs(paced=True)
    each = trainer(engine, told, epochs=10**7)
    trainer(engine, epochs=600).fit(X, Y)  # compiled
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.warns(UserWarning, match="interrupted"):
            each.fit(X, Y)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    n_epochs = each.kept_epoch
    assert each.stopped == "interrupted"
    assert 0 < n_epochs == len(each.history["loss"]) < 10**7
    same = trainer(engine, epochs=n_epochs)
    same.fit(X, Y)
    np.testing.assert_equal(left(each)[:3], left(same)[:3])


def test_ctrl_c_within_a_call_leaves_what_was_before_it(monkeypatch):
    run, calls = Sparing.run, []

    def interrupted(self, *given, **options):
        params, state, losses = run(self, *given, **options)
        calls.append(len(losses))
        if len(calls) == 2:
            monkeypatch.setattr(Sparing, "interrupted", True)
            losses = losses[:100]  # in the middle of an epoch
        return params, state, losses

    monkeypatch.setattr(Sparing, "run", interrupted)
    each = trainer("eager")
    with pytest.warns(UserWarning, match="interrupted"):
        each.fit(X, Y)
    monkeypatch.undo()
    same = trainer("eager", epochs=calls[0] // 3)
    same.fit(X, Y)
    assert (each.stopped, len(calls)) == ("interrupted", 2)
    np.testing.assert_equal(left(each)[:3], left(same)[:3])


def test_a_late_callback_that_stops_stops_after_the_call():
    class Stops(Epochs):
        def on_epoch_end(self, record):
            super().on_epoch_end(record)
            if record["epoch"] == 3:
                raise StopTraining("enough")

    told = Stops(paced=True)
    each = trainer("eager", told)
    each.fit(X, Y)
    assert each.stopped == "enough"
    assert 3 < told.kept[0] == each.kept_epoch == len(each.history["loss"]) < EPOCHS


def test_an_engine_that_cannot_run_them_makes_way_for_eager(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr("backprop_xp.engines.loops.Loops.run", _refuses)
    each, same = trainer("auto"), trainer("eager")
    same.fit(X, Y)
    monkeypatch.setattr("backprop_xp.engines.choose", lambda *_: Choice("loops", "for this test"))
    each.fit(X, Y)
    assert each.choice.engine == "eager"
    np.testing.assert_equal(left(each), left(same))


def _refuses(*args, **kwargs):
    raise InputError("not this one")


def test_lines_of_progress_are_the_first_and_the_last(capsys):
    each = bx.Trainer(bx.Network((3, 2)), epochs=300, batch_size=24, engine="eager", verbose=1)
    begun = time.monotonic()
    each.fit(X, Y)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert lines[0].startswith("epoch 1/300")
    assert lines[-1].startswith("epoch 300/300")
    seconds = time.monotonic() - begun
    assert len(lines) <= 3 + seconds
    assert 0 < each.history["seconds"].sum() < seconds  # an epoch's, not the whole call's
