"""The model file: everything comes back, nothing half-written, nothing hostile read."""

import json
import os
import stat

import numpy as np
import pytest
from conftest import assert_trees_close
from safetensors.numpy import load_file, save_file

from backprop_xp import InputError, Model, Network, Trainer, init, load
from backprop_xp.losses import Loss
from backprop_xp.model import VERSION
from backprop_xp.targets import Target


def model(bias=True, dtype="float32", **fields):
    network = Network((3, 5, 4, 2), activation=("gelu", "tanh"), output="softmax", bias=bias)
    params = init(network, 1, bias_initializer="uniform", dtype=dtype)
    target = Target("classification", 2, ["no", "yes"])
    return Model(
        network,
        params,
        "cross_entropy",
        target,
        {"encoder": "array", "mean": [0.0] * 3, "scale": [1.0] * 3},
        {"target": "answer"},
        **fields,
    )


X = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")


@pytest.mark.parametrize("bias", [True, False, "shared"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_round_trip_gives_back_everything(tmp_path, bias, dtype):
    saved = model(bias, dtype)
    saved.save(tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    assert (loaded.network, loaded.loss, loaded.target) == (saved.network, saved.loss, saved.target)
    assert (loaded.preprocessing, loaded.extra) == (saved.preprocessing, saved.extra)
    assert_trees_close(loaded.params, saved.params, rtol=0)
    np.testing.assert_array_equal(loaded.outputs(X), saved.outputs(X))
    assert set(loaded.predict(X)) <= {"no", "yes"}


def test_a_trainers_model_predicts_what_the_trainer_does(tmp_path, lib):
    from conftest import DEVICES

    y = (X[:, 0] > 0).astype(int)
    device = DEVICES.get(lib.name, "cpu")
    trainer = Trainer(Network((3, 4, 2), output="softmax"), epochs=2, device=device, backend=lib.name)
    trainer.fit(X, y)
    trainer.save(tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    np.testing.assert_allclose(loaded.outputs(X), trainer.predict_proba(X), rtol=1e-5)
    np.testing.assert_array_equal(loaded.predict(X, device=device, backend=lib.name), trainer.predict(X))


def test_values_come_back_in_the_targets_units():
    network = Network((3, 1))
    one = Model(
        network, init(network, dtype="float64"), "squared_error", Target("regression", 1, None, (10.0,), (2.0,))
    )
    np.testing.assert_allclose(one.predict(X), one.outputs(X)[:, 0] * 2 + 10)


def test_many_rows_are_taken_a_few_thousand_at_a_time():
    rows = np.tile(X, (1000, 1))
    np.testing.assert_allclose(model().outputs(rows)[-20:], model().outputs(X), rtol=1e-6)
    assert model().outputs(X[:0]).shape == (0, 2)


def test_the_file_is_safetensors_with_a_json_header_and_the_usual_permissions(tmp_path):
    path = tmp_path / "m.safetensors"
    model().save(path)
    assert set(load_file(path)) == {f"layers.{n}.{leaf}" for n in range(3) for leaf in "Wb"}
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]["backprop_xp"])
    assert header["version"] == VERSION
    assert set(header["versions"]) == {"backprop_xp", "numpy", "python"}
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    model().save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        model("shared").save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_loss_of_the_users_own_is_kept_by_its_name(tmp_path):
    loss = Loss("asymmetric", lambda P, Y, xp: (P - Y) ** 2, lambda P, Y, xp: 2 * (P - Y))
    trainer = Trainer(Network((3, 1)), loss, epochs=2)
    trainer.fit(X, X[:, 0])
    trainer.save(tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    assert loaded.loss == "asymmetric"
    np.testing.assert_array_equal(loaded.predict(X), trainer.predict(X))


def test_a_path_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .* choose another"):
        model().save(tmp_path / "nowhere" / "m.safetensors")


def rewritten(path, change):
    """Write the model with its header changed."""
    from safetensors import safe_open

    model().save(path)
    with safe_open(path, "np") as file:
        header = json.loads(file.metadata()["backprop_xp"])
    arrays = load_file(path)
    change(header, arrays)
    save_file(arrays, path, metadata={"backprop_xp": json.dumps(header)})


COLUMN = {"name": "a", "kind": "number", "type": "double", "missing": False,
          "fill": [0.0], "mean": [0.0], "scale": [1.0], "categories": []}  # fmt: skip
COLUMNS = {"encoder": "table", "columns": [COLUMN] * 100_000}


@pytest.mark.parametrize(("change", "message"), [
    (lambda h, a: h.update(version=VERSION + 1), r"later version .* pip install --upgrade"),
    (lambda h, a: h.update(format="other"), "its format is 'other'"),
    (lambda h, a: h.pop("loss"), "header is damaged"),
    (lambda h, a: h.update(loss=3), "header is damaged: loss is no name"),
    (lambda h, a: h["network"].update(widths=[3, 5, 4, 3]), r"W of layer 2 must be \(4, 3\)"),
    (lambda h, a: h["network"].update(widths="abc"), "widths must be"),
    (lambda h, a: h["network"].update(activation="exec"), "unknown activation"),
    (lambda h, a: h["network"].update(surprise=1), "header is damaged"),
    (lambda h, a: a.pop("layers.1.W"), r"header is damaged .*layers.1.W"),
    (lambda h, a: a.pop("layers.1.b"), "b of layer 1: bias=True needs"),
    (lambda h, a: a.update(more=np.zeros(3)), "arrays that its network does not have: more"),
    (lambda h, a: a.update({"layers.0.W": a["layers.0.W"].astype(int)}), "no floating-point numbers"),
    (lambda h, a: h.update(target={"kind": 3}), "target cannot be read"),
    (lambda h, a: h["target"].update(classes=[None, "a"]), "target cannot be read"),
    (lambda h, a: h["target"].update(n_outputs=1, classes=["a"]), "target of 1 outputs does not fit a network of 2"),
    (lambda h, a: h["target"].update(task="multilabel", n_outputs=3, classes=None), "target of 3 outputs does not fit"),
    (lambda h, a: h.update(loss="binary_cross_entropy", target=h["target"] | {"n_outputs": 1, "classes": ["a"]}),
     "target of 1 outputs does not fit"),
    (lambda h, a: h.update(loss="huber"), "needs a loss of cross_entropy or binary_cross_entropy, not 'huber'"),
    (lambda h, a: h["preprocessing"].update(mean=["x"] * 3), "preprocessing cannot be read"),
    (lambda h, a: h["preprocessing"].update(mean=[0.0], scale=[1.0]), "1 features does not fit a network of 3 inputs"),
    (lambda h, a: h.update(preprocessing=COLUMNS), "100000 features does not fit a network of 3 inputs"),
    (lambda h, a: h.update(preprocessing=[]), "preprocessing cannot be read"),
])  # fmt: skip
def test_a_header_that_does_not_fit_is_refused(tmp_path, change, message):
    rewritten(tmp_path / "m.safetensors", change)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(("loss", "target"), [
    ("cross_entropy", Target("classification", 2, ["a", "b"])),
    ("squared_error", Target("multilabel", 3)),
])  # fmt: skip
def test_a_model_that_load_would_refuse_cannot_be_made(loss, target):
    network = Network((3, 1))
    with pytest.raises(InputError, match="does not fit a network of 1"):
        Model(network, init(network), loss, target)


def test_two_classes_of_one_output():
    network = Network((3, 1), output="sigmoid")
    two = Model(network, init(network), "binary_cross_entropy", Target("classification", 2, ["a", "b"]))
    assert set(two.predict(X)) <= {"a", "b"}


def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path):
    path = tmp_path / "m.safetensors"
    model().save(path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="truncated or no safetensors file"):
            load(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other"
    save_file({"x": np.zeros(3)}, path)
    with pytest.raises(InputError, match="not a model of backprop-xp"):
        load(path)
    path.write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(InputError, match="no safetensors file"):
        load(path)
    with pytest.raises(InputError, match="no model file"):
        load(tmp_path / "missing")


def test_the_wrong_number_of_features():
    with pytest.raises(InputError, match=r"the model was trained on 3 features; X has the shape \(20, 2\)"):
        model().predict(X[:, :2])
