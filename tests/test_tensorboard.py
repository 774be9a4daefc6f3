"""TensorBoard's events, read back by TensorBoard."""

import gc
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

import backprop_xp as bx
from backprop_xp import cli
from backprop_xp.callbacks import JsonLines
from backprop_xp.errors import InputError

NETWORK = bx.Network((4, 8, 3), output="softmax")


def scalars(folder):
    """Return {name: [(step, value), ...]}."""
    pytest.importorskip("tensorboard", reason="no tensorboard: pip install 'backprop-xp[tensorboard]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(each.step, each.value) for each in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def fitted(folder, *, resume=False, epochs=3, callbacks=(), **options):
    X, y = load_iris(return_X_y=True)
    given = [bx.TensorBoard(folder), *callbacks]
    trainer = bx.Trainer(NETWORK, epochs=epochs, metrics=("accuracy",), callbacks=given, **options)
    return trainer.fit(X, y, validation_data=(X[::3], y[::3]), resume=resume)


def test_every_epochs_figures_are_there(tmp_path):
    history = fitted(tmp_path / "tb")
    train, held = scalars(tmp_path / "tb" / "train"), scalars(tmp_path / "tb" / "validation")
    assert set(train) == {"loss", "learning_rate", "seconds"}
    assert set(held) == {"loss", "accuracy"}
    for found, prefix in ((train, ""), (held, "val_")):
        for name, points in found.items():
            assert [step for step, _ in points] == [1, 2, 3]
            np.testing.assert_allclose([value for _, value in points], history[prefix + name], rtol=1e-6)


def test_what_a_broken_off_run_wrote_is_not_shown_beside_what_takes_its_place(tmp_path):
    given = {"epochs": 6, "checkpoint": bx.Checkpoints(tmp_path / "c", every=4, keep=9)}
    fitted(tmp_path / "tb", **given)
    (newest,) = (tmp_path / "c").glob("epoch-00000006*")
    newest.unlink()  # as if the run had been killed after epoch 6
    fitted(tmp_path / "tb", resume=True, **given)
    assert [step for step, _ in scalars(tmp_path / "tb" / "train")["loss"]] == [1, 2, 3, 4, 5, 6]
    fitted(tmp_path / "tb", epochs=2)
    assert [step for step, _ in scalars(tmp_path / "tb" / "validation")["loss"]] == [1, 2]


def test_of_many_runs_in_a_second_the_last_is_shown(tmp_path):
    for epochs in range(13, 1, -1):  # the next run's first epoch takes the place of those of the run before
        fitted(tmp_path / "tb", epochs=epochs)
    assert [step for step, _ in scalars(tmp_path / "tb" / "train")["loss"]] == [1, 2]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_an_estimators_fit(tmp_path):
    X, y = load_iris(return_X_y=True)
    log = JsonLines(tmp_path / "log")
    model = bx.MLPClassifier(max_iter=3, callbacks=[bx.TensorBoard(tmp_path / "tb"), log], random_state=0).fit(X, y)
    found = scalars(tmp_path / "tb" / "train")["loss"]
    assert [step for step, _ in found] == [1, 2, 3]
    np.testing.assert_allclose([value for _, value in found], model.loss_curve_, rtol=1e-6)
    told = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["loss"] for line in told if line["event"] == "epoch"] == model.loss_curve_


def test_the_flag(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["train", "iris", "--epochs", "2", "--tensorboard", "runs/a"]) == 0
    assert [step for step, _ in scalars(tmp_path / "runs" / "a" / "validation")["loss"]] == [1, 2]


def test_without_tensorboard_a_line_says_what_to_install(monkeypatch, tmp_path, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'backprop-xp\[tensorboard\]'"):
        bx.TensorBoard(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.run(["train", "iris", "--tensorboard", "x"]) == 2
    assert "backprop-xp[tensorboard]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write events in"):
        fitted(tmp_path / "file")


def test_a_part_that_cannot_be_opened_stops_the_events_alone(tmp_path):
    (tmp_path / "tb").mkdir()
    (tmp_path / "tb" / "validation").write_text("")
    with pytest.warns(UserWarning, match="end here"):
        assert len(fitted(tmp_path / "tb")["loss"]) == 3


def filled_at_epoch_2(folder):
    """A trainer to whose events the disk is full from epoch 2 on."""
    board = bx.TensorBoard(folder)

    def fill(record):
        if record["epoch"] == 2:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, board._writers["train"]._writer.fileno())
            os.close(full)

    return bx.Trainer(NETWORK, epochs=4, callbacks=[fill, board])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_stops_the_events_and_not_the_training(tmp_path):
    X, y = load_iris(return_X_y=True)
    trainer = filled_at_epoch_2(tmp_path / "tb")
    with pytest.warns(UserWarning, match="end here: No space left on device"):
        trainer.fit(X, y, validation_data=(X, y))
    assert len(trainer.history["loss"]) == 4
    assert [step for step, _ in scalars(tmp_path / "tb" / "train")["loss"]] == [1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_where_warnings_are_errors_a_full_disk_leaves_no_file_open(tmp_path):
    X, y = load_iris(return_X_y=True)
    trainer = filled_at_epoch_2(tmp_path / "tb")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="end here"):
            trainer.fit(X, y, validation_data=(X, y))
        del trainer
        gc.collect()  # warns of files that nobody closed


def test_an_epochs_figures_can_be_read_when_it_ends(tmp_path):
    seen = []
    fitted(tmp_path / "tb", callbacks=[lambda record: seen.append(len(scalars(tmp_path / "tb" / "train")["loss"]))])
    assert seen == [1, 2, 3]
