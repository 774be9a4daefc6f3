"""The recorder: what is kept of a run, on every backend, and what becomes of it when a run ends in another way."""

import errno
from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

import backprop_xp as bx
from backprop_xp import losses, recorder, schedules
from backprop_xp.callbacks import Callback
from backprop_xp.errors import DivergedError, InputError, StopTraining
from backprop_xp.explanation.recording import explained_frame
from backprop_xp.optimizers import OPTIMIZERS
from backprop_xp.recorder import chosen_steps

IRIS = bx.Network((4, 8, 3), activation="tanh", output="softmax")


def iris(dtype="float64"):
    X, y = load_iris(return_X_y=True)
    return ((X - X.mean(axis=0)) / X.std(axis=0)).astype(dtype), y


class Seen(Callback):
    """Parameters and optimizer state after every epoch."""

    def on_train_begin(self, trainer):
        self.trainer, self.kept = trainer, [trainer.run.progress[:2]]

    def on_epoch_end(self, record):
        self.kept.append(self.trainer.run.progress[:2])


def recorded(tmp_path, *, X=None, y=None, network=IRIS, validation=True, **options):
    """Return (trainer, what was seen, the run as it is read)."""
    if X is None:
        X, y = iris()
    seen = Seen()
    given = {"epochs": 5, "seed": 3, "dtype": "float64", **options}
    given["callbacks"] = [seen, bx.Recorder(tmp_path / "a.run"), *given.get("callbacks", [])]
    trainer = bx.Trainer(network, **given)
    held = {"validation_data": (X[::3], y[::3])} if validation else {}
    trainer.fit(X, y, **held)
    return trainer, seen, bx.load_run(tmp_path / "a.run")


def test_what_is_kept_is_what_the_run_had(tmp_path, lib):
    device = "cuda" if lib.name == "cupy" else "cpu"
    trainer, seen, run = recorded(tmp_path, device=device, backend=lib.name, metrics=("accuracy",))
    assert [frame.step for frame in run.frames] == [0, 5, 10, 15, 20, 25]
    for frame, (params, state) in zip(run.frames, seen.kept, strict=True):
        for kept, had in zip(frame.params, lib.host(params), strict=True):
            np.testing.assert_array_equal(kept[0], had[0])
            np.testing.assert_array_equal(kept[1], had[1])
        np.testing.assert_array_equal(frame.state.moments[1][0][1], lib.host(state.moments)[1][0][1])
        assert int(frame.state.count) == frame.step
    X, y = iris()
    np.testing.assert_array_equal(run.rows.outputs, trainer.predict_proba(X[::3]))
    np.testing.assert_array_equal(run.rows.targets, y[::3])
    np.testing.assert_allclose(run.rows.losses, -np.log(run.rows.outputs[np.arange(50), y[::3]]), rtol=1e-9)
    assert run.rows.losses.mean() == pytest.approx(run.history["val_loss"][-1], rel=1e-9)
    assert run.rows.worst.tolist() == np.argsort(-run.rows.losses, kind="stable")[:20].tolist()
    assert {name: values.tolist() for name, values in run.history.items()} == {
        name: values.tolist() for name, values in trainer.history.items()
    }
    header = run.header
    assert (header["stopped"], header["ended"], header["kept_epoch"]) == ("epochs", True, 5)
    assert (header["n_samples"], header["n_validation"]) == (150, 50)
    assert header["settings"]["seed"] == 3
    assert header["backend"].startswith(lib.backend.name)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("schedule", [None, schedules.exponential(0.02, 0.9)])
def test_the_next_updates_rate_is_kept_and_the_optimizer_found_again(tmp_path, name, schedule):
    """A step from a recorded frame, by the recorded optimizer, is the step that the run made."""
    rule = OPTIMIZERS[name](schedule or 0.01)
    X, y = iris()
    _, seen, run = recorded(tmp_path, optimizer=rule, batch_size=150)
    step = bx.make_step(run.network, run.loss, run.optimizer)
    for frame, (params, state) in zip(run.frames[:-1], seen.kept[1:], strict=True):
        assert float(frame.state.learning_rate) == float(state.learning_rate)
        stepped, state_after, _ = step(frame.params, frame.state, X, np.eye(3)[y])
        for (W, b), (W_had, b_had) in zip(stepped, params, strict=True):
            np.testing.assert_allclose(W, W_had, rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(b, b_had, rtol=1e-12, atol=1e-15)
        assert int(state_after.count) == int(state.count)


@pytest.mark.parametrize(("epochs", "n_frames"), [(119, 120), (120, None), (3000, None)])
def test_up_to_120_epochs_are_kept(tmp_path, epochs, n_frames):
    _, _, run = recorded(tmp_path, epochs=epochs, batch_size=150)
    kept = [frame.step for frame in run.frames]
    assert kept == sorted(set(kept))
    assert kept[:3] == [0, 1, 2]
    assert kept[-1] == epochs
    assert len(kept) == n_frames if n_frames else 60 <= len(kept) <= 120


def test_the_last_epoch_is_kept_however_training_ends(tmp_path):
    def stop(record):
        if record["epoch"] == 1001:
            raise StopTraining("enough")

    _, _, run = recorded(tmp_path, epochs=100_000, batch_size=150, callbacks=[stop])
    assert run.frames[-1].step == 1001
    assert run.header["stopped"] == "enough"
    assert len(run.history["epoch"]) == 1001


def test_a_run_that_diverges_leaves_what_was_finite(tmp_path):
    X, y = load_diabetes(return_X_y=True)
    network = bx.Network((10, 4, 1), output="identity")
    with pytest.raises(DivergedError), np.errstate(all="ignore"):
        recorded(tmp_path, X=X * 1e3, y=y, network=network, optimizer=bx.sgd(10.0), epochs=50, batch_size=442)
    run = bx.load_run(tmp_path / "a.run")
    assert run.header["ended"]
    assert run.header["stopped"] is None
    assert all(np.isfinite(W).all() for frame in run.frames for W, _ in frame.params)


def test_the_file_is_there_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "_FIRST", 0.0)
    monkeypatch.setattr(recorder, "_SECONDS", 0.0)
    monkeypatch.setattr(recorder, "_SHARE", 0.0)
    found = []

    def look(record):
        found.append(bx.load_run(tmp_path / "a.run"))

    recorded(tmp_path, callbacks=[look])
    assert [run.header["ended"] for run in found] == [False] * 5
    assert [len(run.history["loss"]) for run in found] == [1, 2, 3, 4, 5]
    assert [run.frames[-1].step for run in found] == [5, 10, 15, 20, 25]
    assert all(run.rows is None for run in found)


def test_a_run_that_was_resumed_goes_on_in_its_file(tmp_path):
    X, y = iris()
    for epochs in (3, 6):
        trainer = bx.Trainer(
            IRIS, epochs=epochs, dtype="float64", checkpoint=tmp_path / "c", callbacks=[bx.Recorder(tmp_path / "a.run")]
        )
        trainer.fit(X, y, resume=True)
    whole = bx.Trainer(IRIS, epochs=6, dtype="float64", callbacks=[bx.Recorder(tmp_path / "b.run")])
    whole.fit(X, y)
    resumed, expected = bx.load_run(tmp_path / "a.run"), bx.load_run(tmp_path / "b.run")
    steps = [frame.step for frame in expected.frames]
    assert [frame.step for frame in resumed.frames] == steps == [0, 5, 10, 15, 20, 25, 30]
    for one, other in zip(resumed.frames, expected.frames, strict=True):
        np.testing.assert_array_equal(one.params[0][0], other.params[0][0])
    np.testing.assert_array_equal(resumed.history["loss"], expected.history["loss"])
    (tmp_path / "a.run").write_bytes(b"no run")
    trainer.epochs = 7
    trainer.fit(X, y, resume=True)
    assert [frame.step for frame in bx.load_run(tmp_path / "a.run").frames] == [30, 35]


def test_a_run_that_is_resumed_for_longer_keeps_no_more_epochs(tmp_path):
    def go(epochs, resume):
        given = {"epochs": epochs, "batch_size": 150, "checkpoint": bx.Checkpoints(tmp_path / "c", every=100)}
        trainer = bx.Trainer(IRIS, callbacks=[bx.Recorder(tmp_path / "a.run")], **given)
        trainer.fit(*iris("float32"), resume=resume)
        return [frame.step for frame in bx.load_run(tmp_path / "a.run").frames]

    before = go(200, False)
    longer = go(800, True)
    assert len(longer) <= 120 < len({*before, *longer})
    assert {0, 800} <= {*longer}
    assert set(longer) <= chosen_steps(800, 120)


def test_the_worst_rows_are_asked_for_by_their_places_in_what_fit_was_given(tmp_path):
    X, y = iris()
    own = bx.Recorder(tmp_path / "b.run", rows=lambda places: [{"target": str(y[place])} for place in places])
    trainer = bx.Trainer(IRIS, epochs=3, validation_fraction=0.2, callbacks=[own])
    trainer.fit(X, y)
    run = bx.load_run(tmp_path / "b.run")
    worst = run.header["worst"]
    assert [each["target"] for each in worst] == [str(label) for label in run.rows.targets[run.rows.worst]]
    assert [each["target"] for each in worst] == [str(y[each["row"] - 1]) for each in worst]


def test_steps_after_the_checkpoint_are_not_the_resumed_runs(tmp_path):
    X, y = iris()
    given = {"dtype": "float64", "checkpoint": bx.Checkpoints(tmp_path / "c", every=3, keep=9)}
    bx.Trainer(IRIS, epochs=6, callbacks=[bx.Recorder(tmp_path / "a.run")], **given).fit(X, y)
    (newest,) = (tmp_path / "c").glob("epoch-00000006*")
    newest.unlink()  # as if the run had been killed after epoch 6
    bx.Trainer(IRIS, epochs=4, callbacks=[bx.Recorder(tmp_path / "a.run")], **given).fit(X, y, resume=True)
    assert [frame.step for frame in bx.load_run(tmp_path / "a.run").frames] == [0, 5, 10, 15, 20]


def test_parameters_that_are_not_finite_are_not_kept(tmp_path):
    """The last step's, which no loss tells of."""
    X, y = iris()
    with pytest.raises(DivergedError), np.errstate(all="ignore"):
        recorded(tmp_path, X=X * 1e160, y=y * 1.0, network=bx.Network((4, 1)), optimizer=bx.sgd(1e160),
                 loss="absolute_error", epochs=1, batch_size=150, validation=False)  # fmt: skip
    assert [frame.step for frame in bx.load_run(tmp_path / "a.run").frames] == [0]


def test_a_network_too_large_to_be_kept_still_has_its_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "_BYTES", 1000)
    _, _, run = recorded(tmp_path)
    assert run.frames == []
    assert len(run.history["loss"]) == 5
    assert len(run.rows.losses) == 10  # of as many rows as 250 bytes hold


def test_what_is_the_users_own_is_recorded_without_its_updates(tmp_path):
    own_rule = bx.sgd(0.1)._replace(name="")
    own_loss = losses.LOSSES["squared_error"]._replace(name="mine")
    X, y = load_diabetes(return_X_y=True)
    network = bx.Network((10, 4, 1), output="identity")
    trainer, _, run = recorded(
        tmp_path, X=X, y=y / 100, network=network, loss=own_loss, optimizer=own_rule, validation=False
    )
    assert (run.loss, run.optimizer, run.frames[-1].state) == (None, None, None)
    np.testing.assert_array_equal(run.frames[-1].params[0][0], trainer.params[0][0])
    assert run.header["n_validation"] == 0
    np.testing.assert_allclose(run.rows.losses, (run.rows.outputs[:, 0] - y / 100) ** 2, rtol=1e-12)


@pytest.mark.parametrize("loss", [losses.huber(0.3), losses.pinball(0.2)])
def test_a_losss_setting_is_kept(tmp_path, loss):
    X, y = load_diabetes(return_X_y=True)
    _, _, run = recorded(tmp_path, X=X, y=y / 100, network=bx.Network((10, 1)), loss=loss, validation=False)
    assert (run.loss.name, run.loss.parameter) == (loss.name, loss.parameter)


def test_the_rows_that_gradients_are_shown_on_are_evenly_chosen(tmp_path):
    X = np.arange(2000.0).reshape(1000, 2) / 2000
    weight = np.arange(1000.0) + 1
    trainer = bx.Trainer(bx.Network((2, 1)), epochs=1, dtype="float64", callbacks=[bx.Recorder(tmp_path / "a.run")])
    trainer.fit(X, X[:, 0], sample_weight=weight)
    probe = bx.load_run(tmp_path / "a.run").probe
    assert len(probe[0]) == 256
    rows = (probe[0][:, 0] * 1000).round().astype(int)
    assert (rows[0], rows[-1]) == (0, 999)
    assert set(np.diff(rows)) == {3, 4}
    np.testing.assert_array_equal(probe[0], X[rows])
    np.testing.assert_array_equal(probe[1][:, 0], X[rows, 0])
    np.testing.assert_array_equal(probe[2], weight[rows])


def test_a_full_disk_stops_the_record_and_not_the_training(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(record):
        monkeypatch.setattr(recorder, "write_whole", full)

    monkeypatch.setattr(recorder, "_FIRST", 0.0)
    trainer = bx.Trainer(IRIS, epochs=2, callbacks=[bx.Recorder(tmp_path / "a.run"), fill])
    with pytest.warns(UserWarning, match="the run is not recorded in .*: No space left on device"):
        trainer.fit(*iris())
    assert len(trainer.history["loss"]) == 2
    assert not bx.load_run(tmp_path / "a.run").header["ended"]  # what was written after the first epoch


def test_where_no_file_can_be_is_told_before_training(tmp_path):
    trainer = bx.Trainer(IRIS, epochs=2, callbacks=[bx.Recorder(tmp_path / "nowhere" / "a.run")])
    with pytest.raises(InputError, match=r"cannot record the run in .*No such file or directory"):
        trainer.fit(*iris())
    assert trainer.history == {}


@pytest.mark.parametrize("stopped_at", [3, 7])
def test_the_last_step_of_a_run_broken_off_within_an_epoch_is_kept_as_such(tmp_path, stopped_at):
    class Stop(Callback):
        def on_batch_end(self, batch, loss):
            self.n = getattr(self, "n", 0) + 1
            if self.n == stopped_at:
                raise StopTraining

    trainer, _, run = recorded(tmp_path, callbacks=[Stop()])
    assert run.n_batches == 5
    assert run.frames[-1].step == int(run.frames[-1].state.count) == stopped_at
    np.testing.assert_array_equal(run.frames[-1].params[0][0], trainer.params[0][0])


def test_another_runs_steps_are_not_taken_for_this_ones(tmp_path):
    X, y = iris()
    for rule in (bx.sgd(0.1), bx.adam(0.01)):
        bx.Trainer(IRIS, optimizer=rule, epochs=2, seed=7, callbacks=[bx.Recorder(tmp_path / "a.run")]).fit(X, y)
        folder = tmp_path / rule.name
        bx.Trainer(IRIS, optimizer=bx.adam(0.01), epochs=2, checkpoint=folder).fit(X, y)
        resumed = bx.Trainer(
            IRIS, optimizer=bx.adam(0.01), epochs=3, checkpoint=folder, callbacks=[bx.Recorder(tmp_path / "a.run")]
        )
        resumed.fit(X, y, resume=True)
        assert [frame.step for frame in bx.load_run(tmp_path / "a.run").frames] == [10, 15]


@pytest.mark.parametrize("own", [
    {"loss": losses.LOSSES["cross_entropy"]._replace(over_samples="sum")},
    {"optimizer": bx.sgd(0.1)._replace(update=lambda *given, **more: bx.sgd(0.2).update(*given, **more))},
])  # fmt: skip
def test_what_only_has_the_name_of_the_packages_is_the_users_own(tmp_path, own):
    _, _, run = recorded(tmp_path, **own)
    assert (run.loss is None) == ("loss" in own)
    assert (run.optimizer is None) == ("optimizer" in own)


def test_rows_split_off_have_the_numbers_they_were_given_by(tmp_path):
    X, y = iris()
    trainer = bx.Trainer(IRIS, epochs=1, validation_fraction=0.2, callbacks=[bx.Recorder(tmp_path / "a.run")])
    trainer.fit(X, y)
    run = bx.load_run(tmp_path / "a.run")
    rows = [row["row"] - 1 for row in run.header["worst"]]
    P = trainer.predict_proba(X[rows])
    np.testing.assert_allclose(-np.log(P[np.arange(20), y[rows]]), run.rows.losses[run.rows.worst], rtol=1e-4)
    np.testing.assert_array_equal(run.rows.targets[run.rows.worst], y[rows])


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw"])
def test_a_recorded_step_is_explained_as_it_was_made(tmp_path, name):
    """All rows at once, with everything that changes an update."""
    X, y = iris()
    rule = OPTIMIZERS[name](schedules.exponential(0.05, 0.8))
    _, _, run = recorded(
        tmp_path, X=X[::5], y=y[::5], optimizer=rule, batch_size=30, validation=False,
        l2=0.1, clip_norm=0.05, multipliers=((0.0, 0.0), (2.0, 1.0)),
    )  # fmt: skip
    for frame, after in pairwise(run.frames):
        it = explained_frame(run, frame)
        assert len(it.X) == 30
        for (W, b), (W_after, b_after) in zip(it.updates.params, after.params, strict=True):
            np.testing.assert_allclose(W, W_after, rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(b, b_after, rtol=1e-12, atol=1e-15)
    assert run.frames[0].params[0][0][0, 0] == run.frames[-1].params[0][0][0, 0]


@pytest.mark.parametrize("about", [
    {"target": "species"}, {"preprocessing": "standardised"}, {"data": {"a": 1}}, {"notes": [1]}, {"notes": "abc"},
    {"command": object()},
])  # fmt: skip
def test_what_the_pages_cannot_show_is_refused_before_training(tmp_path, about):
    with pytest.raises(InputError):
        bx.Recorder(tmp_path / "a.run", about)


def test_a_function_of_rows_that_gives_another_number_is_told_of(tmp_path):
    trainer = bx.Trainer(IRIS, epochs=1, callbacks=[bx.Recorder(tmp_path / "a.run", rows=lambda places: [])])
    with pytest.warns(UserWarning, match="gave 0 rows for 20 places"):
        trainer.fit(*iris())
    assert [row["row"] - 1 for row in bx.load_run(tmp_path / "a.run").header["worst"]] == bx.load_run(
        tmp_path / "a.run"
    ).rows.worst.tolist()


@pytest.mark.parametrize("rows", [
    lambda places: [1 / 0 for _ in places],
    lambda places: [{"values": {"a": object()}} for _ in places],
    lambda places: [None for _ in places],
    lambda places: None,
])  # fmt: skip
def test_rows_that_cannot_be_shown_do_not_cost_the_record(tmp_path, rows):
    trainer = bx.Trainer(IRIS, epochs=1, callbacks=[bx.Recorder(tmp_path / "a.run", rows=rows)])
    with pytest.warns(UserWarning, match="the Recorder's `rows` cannot be shown: .*Error: "):
        trainer.fit(*iris())
    run = bx.load_run(tmp_path / "a.run")
    assert [row["row"] - 1 for row in run.header["worst"]] == run.rows.worst.tolist()
    assert run.header["ended"]


def test_an_estimators_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match="a Recorder records the run of a Trainer"):
        bx.MLPClassifier(max_iter=2, callbacks=[bx.Recorder(tmp_path / "a.run")]).fit(*iris())


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    recorded(tmp_path)
    content = (tmp_path / "a.run").read_bytes()
    for share in range(0, 100, 4):
        (tmp_path / "a.run").write_bytes(content[: len(content) * share // 100])
        with pytest.raises(InputError, match=r"a\.run"):
            bx.load_run(tmp_path / "a.run")


def test_other_files_are_refused(tmp_path):
    trainer, _, _ = recorded(tmp_path)
    trainer.save(tmp_path / "m")
    with pytest.raises(InputError, match="its format is 'backprop_xp model', not 'backprop_xp run'"):
        bx.load_run(tmp_path / "m")
    with pytest.raises(InputError, match=r"no recorded run .*: train with --record"):
        bx.load_run(tmp_path / "nothing")
