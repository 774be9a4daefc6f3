"""The engines beside each other: one trajectory, chosen by a flag, from Python and through the trainer."""

import builtins
import importlib.util
import signal

import numpy as np
import pytest
from conftest import library

import backprop_xp as bx
from backprop_xp import backends, engines
from backprop_xp.batches import IndexBatches, epoch_order
from backprop_xp.callbacks import Callback
from backprop_xp.engines.tracing import leaves
from backprop_xp.errors import InputError
from backprop_xp.losses import Loss

NEEDS = {"jax": "jax", "torch": "torch", "loops": "numba"}
OTHERS = ["jax", "torch", "loops", pytest.param("cuda_graph", marks=pytest.mark.gpu)]
RULES = {"sgd": bx.sgd(0.05), "nesterov": bx.nesterov(0.02), "adam": bx.adam(bx.schedules.cosine(0.003, 1000))}
WIDTHS, N, BATCH, N_EPOCHS = (6, 9, 8, 3), 77, 8, 100  # ten steps an epoch, the last one of five rows


def engine_or_skip(name, say=engines.silent):
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    return engines.select(name, say=say)


def trajectory(engine, rule, dtype, lib, n_epochs=N_EPOCHS):
    """Return the losses of all steps and the last state, on the host."""
    network = bx.Network(WIDTHS, activation=("tanh", "relu"), output="softmax")
    step = bx.make_step(network, "cross_entropy", rule, dropout=0.2, l2=1e-3, clip_norm=5.0, seed=4)
    rng = np.random.default_rng(0)
    X = lib.array(rng.normal(size=(N, WIDTHS[0])), dtype)
    Y = lib.array(rng.integers(0, WIDTHS[-1], N), "int32")
    params = lib.params(bx.init(network, 1, dtype=dtype))
    state, losses = (params, rule.init(params)), []
    for epoch in range(n_epochs):
        order = backends.to_device(epoch_order(0, epoch, N), lib.backend)
        *state, epochs_losses = engine.run(step, *state, X, Y, IndexBatches(order, N, BATCH))
        losses.append(lib.host(epochs_losses))
    return np.concatenate(losses), [lib.host(leaf) for leaf in leaves(tuple(state))]


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-10), ("float32", 1e-4)])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("name", OTHERS)
def test_a_thousand_steps_are_those_of_eager(name, rule, dtype, rtol):
    lib = library("cupy" if name == "cuda_graph" else "numpy")
    engine = engine_or_skip(name)
    losses, state = trajectory(engine, rule, dtype, lib)
    expected_losses, expected = trajectory(engines.select("eager"), rule, dtype, library("numpy"))
    assert len(losses) == 1000
    np.testing.assert_allclose(losses, expected_losses, rtol=rtol)
    for actual, desired in zip(state, expected, strict=True):
        assert actual.dtype == desired.dtype
        assert np.linalg.norm(actual - desired) <= rtol * np.linalg.norm(desired)


def test_the_trajectory_is_one_that_tells():
    """Without dropout, with another order or another rate, the same comparison fails by far."""
    losses, _ = trajectory(engines.select("eager"), RULES["sgd"], "float64", library("numpy"), 3)
    others, _ = trajectory(engines.select("eager"), bx.sgd(0.0501), "float64", library("numpy"), 3)
    assert np.abs(losses / others - 1).max() > 1e-4


@pytest.mark.parametrize("name", OTHERS)
def test_the_trainer_runs_it_and_says_so(name):
    lib = library("cupy" if name == "cuda_graph" else "numpy")
    engine_or_skip(name)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    network = bx.Network((4, 5, 3), activation="tanh", output="softmax")
    settings = {"epochs": 4, "batch_size": 16, "metrics": ("accuracy",), "patience": 3, "dtype": "float64"}
    device = "cuda" if name == "cuda_graph" else "cpu"
    trainer = bx.Trainer(network, engine=name, device=device, **settings)
    history = trainer.fit(X, y)
    expected = bx.Trainer(network, engine="eager", **settings).fit(X, y)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-10)
    np.testing.assert_allclose(history["accuracy"], expected["accuracy"])
    assert trainer.backend.name == lib.name
    assert trainer.choice == engines.Choice(name, "as asked for")
    assert trainer.notes[0] == f"engine {name}: as asked for"


@pytest.mark.parametrize("paced", [True, False])
@pytest.mark.parametrize("name", ["eager", *OTHERS])
def test_a_paced_callback_is_called_now_and_then_and_another_at_every_step(name, paced):
    library("cupy" if name == "cuda_graph" else "numpy")
    engine_or_skip(name)
    calls = []

    class Listening(Callback):
        def on_batch_end(self, batch, loss):
            calls.append((batch, float(loss)))

    Listening.paced = paced
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(640, 4)), rng.integers(0, 3, 640)
    network = bx.Network((4, 5, 3), activation="tanh", output="softmax")
    device = "cuda" if name == "cuda_graph" else "cpu"
    trainer = bx.Trainer(network, engine=name, device=device, epochs=3, batch_size=8, callbacks=[Listening()])
    trainer.fit(X, y)
    batches = [batch for batch, _ in calls]
    assert set(batches) <= set(range(80))
    assert all(np.isfinite(loss) for _, loss in calls)
    if paced and name not in ("eager", "torch"):  # whose steps are Python's own
        assert batches.count(79) == 3  # each epoch's last step is always told
        assert len(batches) < 120
    else:
        assert batches == [*range(80)] * 3


@pytest.mark.parametrize(("settings", "message"), [
    ({"engine": "jaxx"}, "did you mean 'jax'"),
    ({"engine": "loops", "backend": "torch"}, "engine 'loops' runs on numpy, not on 'torch'"),
    ({"engine": "cuda_graph", "backend": "numpy"}, "engine 'cuda_graph' runs on cupy, not on 'numpy'"),
    ({"engine": "loops", "device": "cuda"}, "engine 'loops' runs on the CPU"),
    ({"engine": "cuda_graph"}, "engine 'cuda_graph' runs on CUDA"),
    ({"precision": "tf32"}, "numpy multiplies in float32 or float64, not in tf32"),
    ({"precision": "float16"}, "unknown precision 'float16'"),
    ({"precision": "tf32", "dtype": "float64", "engine": "jax"}, "leave out dtype='float64'"),
    ({"precision": "tf32", "engine": "eager"}, "is one of the engines jax, torch and cuda_graph, not of 'eager'"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        bx.Trainer(bx.Network((2, 2)), **settings)


@pytest.mark.parametrize(
    ("engine", "module", "extra"), [("jax", "jax", "jax"), ("torch", "torch", "torch"), ("loops", "numba", "numba")]
)
def test_a_missing_library_is_one_line(engine, module, extra, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(InputError, match=rf"not installed.*pip install 'backprop-xp\[{extra}\]'"):
        bx.Trainer(bx.Network((2, 2)), engine=engine)


@pytest.fixture
def broken_numba(monkeypatch):
    """Be where numba is installed, and refuses to be imported, as beside a NumPy that is too new for it."""
    real = builtins.__import__

    def importing(name, *rest):
        if name == "numba":
            raise ImportError("Numba needs NumPy 2.9 or less")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", importing)


def test_a_library_that_cannot_be_imported_says_why(broken_numba):
    with pytest.raises(InputError, match=r"which cannot be imported \(Numba needs NumPy 2.9 or less\): pip install"):
        bx.Trainer(bx.Network((2, 2)), engine="loops")


def test_an_engine_chosen_for_the_user_that_cannot_be_had_makes_way_for_eager(broken_numba, monkeypatch):
    monkeypatch.setattr(engines, "choose", lambda engine, work: engines.Choice("loops", "it is faster"))
    trainer = bx.Trainer(bx.Network((2, 1)), epochs=3)
    trainer.fit(np.ones((8, 2)), np.ones(8))
    assert trainer.choice.engine == "eager"
    assert "Numba needs NumPy 2.9 or less" in trainer.notes[-1]


def test_off_the_cpu_an_engine_brings_its_own_backend():
    assert engines.backend_for("jax", "cpu", None) is None
    assert engines.backend_for("jax", "cuda", None) == "jax"
    assert engines.backend_for("torch", "cuda:1", None) == "torch"
    assert engines.backend_for("cuda_graph", "cuda", None) == "cupy"
    assert engines.backend_for("auto", "cuda", None) is None
    assert engines.backend_for("eager", "cuda", "jax") == "jax"


@pytest.mark.parametrize("name", ["eager", *OTHERS])
@pytest.mark.parametrize("last", [True, False])
def test_ctrl_c_ends_training_also_in_the_last_step_of_an_epoch(name, last):
    library("cupy" if name == "cuda_graph" else "numpy")
    engine_or_skip(name)

    class Pressing(Callback):
        def on_batch_end(self, batch, loss):
            if batch == (4 if last else 2):
                signal.raise_signal(signal.SIGINT)

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    device = "cuda" if name == "cuda_graph" else "cpu"
    trainer = bx.Trainer(
        bx.Network((4, 3), output="softmax"), engine=name, device=device, epochs=9, batch_size=8, callbacks=[Pressing()]
    )
    with pytest.warns(UserWarning, match="interrupted"):
        history = trainer.fit(X, y)
    assert (trainer.stopped, len(history["loss"])) == ("interrupted", 1)


@pytest.mark.parametrize("name", ["eager", *OTHERS])
def test_parameters_that_are_kept_stay_as_they_were(name):
    """However some of them are kept; there are as many as eager takes in place."""
    lib = library("cupy" if name == "cuda_graph" else "numpy")
    engine_or_skip(name)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 300)), rng.integers(0, 3, 40)
    kept, copies = [], []

    def keep(record):
        (W, _), last = trainer.params
        copies.append(lib.host(last[0]).copy())
        if record["epoch"] % 3 == 0:
            kept.append([(last[0], copies[-1])])
        if record["epoch"] % 3 == 1:
            moments = [leaf for leaf in leaves(trainer.run.progress.opt_state) if leaf.ndim]
            kept.append([(leaf, lib.host(leaf).copy()) for leaf in (W[:1, :], moments[0])])

    settings = {"engine": name, "device": "cuda" if name == "cuda_graph" else "cpu"}
    network = bx.Network((300, 250, 3), output="softmax")
    trainer = bx.Trainer(network, batch_size=16, epochs=11, callbacks=[keep], **settings)
    trainer.fit(X, y)
    for leaf, copy in [pair for pairs in kept for pair in pairs]:
        np.testing.assert_array_equal(lib.host(leaf), copy)
    assert len({copy.tobytes() for copy in copies}) == 11


@pytest.mark.parametrize("name", ["eager", *OTHERS])
def test_a_second_fit_sees_data_that_were_changed_in_place(name):
    library("cupy" if name == "cuda_graph" else "numpy")
    engine_or_skip(name)
    rng = np.random.default_rng(0)
    X, Y = np.asfortranarray(rng.normal(size=(48, 8)).astype(np.float32)), rng.normal(size=(48, 1)).astype(np.float32)
    settings = {"engine": name, "device": "cuda" if name == "cuda_graph" else "cpu", "shuffle": False, "epochs": 2}
    trainer = bx.Trainer(bx.Network((8, 4, 1)), batch_size=16, **settings)
    trainer.fit(X, Y)
    X *= 3
    Y *= -5
    again = trainer.fit(X, Y)["loss"]
    np.testing.assert_array_equal(again, bx.Trainer(bx.Network((8, 4, 1)), batch_size=16, **settings).fit(X, Y)["loss"])


def test_an_engine_chosen_for_the_user_that_cannot_run_the_step_makes_way_for_eager(monkeypatch):
    pytest.importorskip("jax")

    def value(P, Y, xp):
        return (P - Y) ** 2 if float(xp.sum(P)) < 1e9 else P

    monkeypatch.setattr(engines, "choose", lambda engine, work: engines.Choice("jax", "it is faster"))
    X, Y = np.ones((8, 2), np.float32), np.ones((8, 1), np.float32)
    loss = Loss("branching", value, lambda P, Y, xp: 2 * (P - Y))
    trainer = bx.Trainer(bx.Network((2, 1)), loss, epochs=3)
    history = trainer.fit(X, Y)
    assert len(history["loss"]) == 3
    assert trainer.choice.engine == "eager"
    assert "engine 'jax' cannot compile this step" in trainer.notes[-1]
    monkeypatch.undo()
    with pytest.raises(InputError, match="engine 'jax' cannot compile this step"):
        bx.Trainer(bx.Network((2, 1)), loss, epochs=3, engine="jax").fit(X, Y)


def test_whatever_jax_refuses_in_a_step_makes_way_for_eager(monkeypatch):
    pytest.importorskip("jax")

    def value(P, Y, xp):  # a mask has no shape under a compiler: an IndexError of JAX's
        error = xp.abs(P - Y)
        return error / xp.max(error[error > 0])

    monkeypatch.setattr(engines, "choose", lambda engine, work: engines.Choice("jax", "it is faster"))
    loss = Loss("masked", value, lambda P, Y, xp: xp.sign(P - Y))
    trainer = bx.Trainer(bx.Network((2, 1)), loss, epochs=1)
    trainer.fit(np.ones((8, 2), np.float32), np.full((8, 1), 9.0, np.float32))
    assert trainer.choice.engine == "eager"
    assert "engine 'jax' cannot compile this step" in trainer.notes[-1]


def test_an_engine_chosen_for_its_precision_has_no_other_to_make_way_for():
    pytest.importorskip("jax")

    def value(P, Y, xp):
        return (P - Y) ** 2 if float(xp.sum(P)) < 1e9 else P

    loss = Loss("branching", value, lambda P, Y, xp: 2 * (P - Y))
    trainer = bx.Trainer(bx.Network((2, 1)), loss, epochs=3, backend="jax", precision="bfloat16")
    with pytest.raises(InputError, match="engine 'jax' cannot compile this step"):
        trainer.fit(np.ones((8, 2), np.float32), np.ones((8, 1), np.float32))
