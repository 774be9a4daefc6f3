"""The torch engine: the trajectory of the eager one, uncompiled and compiled, and what it leaves as it was."""

import signal

import numpy as np
import pytest
from conftest import assert_trees_close, library
from test_engine_jax import CASES, assert_same, moved, problem, stop_after, trajectory, without

from backprop_xp import InputError, make_step, sgd
from backprop_xp.engines import eager
from backprop_xp.engines import torch as module
from backprop_xp.engines.torch import Torch
from backprop_xp.engines.tracing import leaves
from backprop_xp.errors import StopTraining


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for one another on a busy machine take a hundred times as long
    yield torch
    torch.set_num_threads(before)


@pytest.fixture
def nothing_compiled(monkeypatch, torch):
    monkeypatch.setattr(module, "_COMPILED", {})


def compare(engine, name, lib=None):
    n_epochs = -(-200 // problem(name)[-1](0).n_batches)
    actual = trajectory(engine, name, n_epochs, lib and library(lib))
    assert len(actual[2]) >= 200
    assert_same(actual, trajectory(eager.Eager(), name, n_epochs))


@pytest.mark.parametrize("lib", [None, "torch"])
@pytest.mark.parametrize("name", CASES)
def test_the_trajectory_is_the_eager_ones(torch, name, lib):
    compare(Torch(compile=False), name, lib)


@pytest.mark.parametrize("name", ["nesterov", "adam", "clipped", "packed"])  # a compilation takes seconds
def test_the_compiled_trajectory_is_the_eager_ones(torch, name):
    said = []
    compare(Torch(said.append, compile=True), name)
    assert not any("uncompiled" in line for line in said)


def test_the_trajectory_in_float32(torch):
    ours = trajectory(Torch(compile=False), "adam", 20, None, "float32")
    assert_same(ours, trajectory(eager.Eager(), "adam", 20, None, "float32"), 1e-4)


@pytest.mark.parametrize("lib", [None, "torch"])
@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_given_stays_as_it_is(torch, lib, compiled):
    step, params, opt_state, X, Y, weight, batches = problem("weights")
    given, lib = (params, opt_state, (X, Y, weight)), lib and library(lib)
    there = moved(given, lib) if lib else given
    engine = Torch(compile=compiled)
    for epoch in range(2):
        order = moved(batches(epoch), lib) if lib else batches(epoch)
        after, state, _ = engine.run(step, *there[:2], *there[2][:2], order, weight=there[2][2])
        for leaf in leaves((after, state)):
            leaf += 1  # nor is what it returns shared with what it was given
    before = problem("weights")
    assert_trees_close(lib.host(there) if lib else there, (before[1], before[2], before[3:6]), rtol=0)


def test_data_that_cannot_be_written_to(torch):
    step, params, opt_state, X, Y, _, batches = problem("sgd")
    X.flags.writeable = Y.flags.writeable = False
    given = step, params, opt_state, X, Y, batches(0)
    assert_same(Torch().run(*given), eager.Eager().run(*given))


def test_numpy_in_numpy_out_and_tensors_in_tensors_out(torch):
    step, params, opt_state, X, Y, _, batches = problem("adam")
    out = Torch().run(step, params, opt_state, X, Y, batches(0))
    assert {type(leaf) for leaf in leaves(out)} == {np.ndarray}
    assert type(out[1]) is type(opt_state)
    lib = library("torch")
    out = Torch().run(step, *moved((params, opt_state, X, Y, batches(0)), lib))
    assert {type(leaf) for leaf in leaves(out)} == {torch.Tensor}
    assert not any(leaf.is_inference() for leaf in leaves(out))


def test_two_programs_a_fit_and_none_for_an_equal_one(nothing_compiled):
    said = []
    first = Torch(said.append, compile=True)
    trajectory(first, "adam", 4)
    assert first.n_compiled == 2  # 32 rows, and the last 6
    second = Torch(said.append, compile=True)
    trajectory(second, "adam", 2)
    assert second.n_compiled == 0
    assert [line.rsplit(" in ", 1)[0] for line in said] == [
        "torch: compiled a step of 32 rows",
        "torch: compiled a step of 6 rows",
    ]
    assert all(line.endswith(" s") and float(line.split(" in ")[1][:-2]) > 0 for line in said)


def test_steps_that_hold_other_arrays_are_other_programs(nothing_compiled, torch):
    """Two losses that differ in an array alone: the text of both graphs is the same."""
    rule = sgd(0.1)
    _, params, opt_state, X, _, _, batches = problem("sgd")
    Y, network, results = np.zeros((70, 3)), CASES["sgd"][0], []
    for scale in (1.0, 3.0):
        factors = torch.full((3,), scale, dtype=torch.float64)

        def head(z, Y, weight, xp, factors=factors):
            return xp.sum(z * factors), z * 0.0 + factors

        engine = Torch(compile=True)
        results.append(engine.run(make_step(network, head, rule), params, opt_state, X, Y, batches(0))[2][0])
        assert engine.n_compiled == 2
    np.testing.assert_allclose(results[1], 3.0 * results[0], rtol=1e-12)


def test_it_compiles_once_the_steps_have_taken_their_time(nothing_compiled, monkeypatch):
    engine = Torch()
    trajectory(engine, "sgd", 2)
    assert engine.n_compiled == 0
    monkeypatch.setattr(module, "_PAYS_AFTER", 0.0)
    trajectory(engine, "sgd", 1)
    assert engine.n_compiled == 2


def test_a_replaced_learning_rate_counts_and_compiles_nothing(nothing_compiled):
    def run(engine):
        step, params, opt_state, X, Y, _, batches = problem("adam")
        for epoch in range(4):
            params, opt_state, losses = engine.run(step, params, opt_state, X, Y, batches(epoch))
            opt_state = opt_state._replace(learning_rate=np.asarray(0.01 / (epoch + 2)))
        return params, opt_state, losses

    engine = Torch(compile=True)
    assert_same(run(engine), run(eager.Eager()))
    assert engine.n_compiled == 2


def test_what_fails_to_compile_runs_as_it_is_and_says_so_once(nothing_compiled, monkeypatch):
    inductor = pytest.importorskip("torch._inductor")

    def fails(*_):
        raise RuntimeError("no working C++ compiler found\nand more")

    monkeypatch.setattr(inductor, "compile", fails)
    said = []
    engine = Torch(said.append, compile=True)
    assert_same(trajectory(engine, "sgd", 3), trajectory(eager.Eager(), "sgd", 3))
    assert said == ["torch: steps run uncompiled: no working C++ compiler found"]
    assert engine.n_compiled == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StopTraining("enough")])
@pytest.mark.parametrize("compiled", [False, True])
def test_stopped_after_a_step_the_state_is_that_steps(torch, error, compiled):
    step, params, opt_state, X, Y, weight, batches = problem("weights")
    given = step, params, opt_state, X, Y, batches(0)
    actual = Torch(compile=compiled).run(*given, weight=weight, on_batch=stop_after(3, error))
    assert actual[2].shape == (3,)
    assert_same(actual, eager.Eager().run(*given, weight=weight, on_batch=stop_after(3, error)))


def test_ctrl_c_within_a_step_leaves_the_state_before_it(torch):
    step, params, opt_state, X, Y, _, batches = problem("sgd")
    taken = []

    def interrupted(*arguments):
        taken.append(1)
        result = step(*arguments)
        if len(taken) == 3:
            signal.raise_signal(signal.SIGINT)
        return result

    actual = Torch().run(interrupted, params, opt_state, X, Y, batches(0))
    expected = eager.Eager().run(step, params, opt_state, X, Y, batches(0), on_batch=stop_after(2, KeyboardInterrupt()))
    assert actual[2].shape == (2,)
    assert_same(actual, expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt, StopTraining])
@pytest.mark.parametrize("compiled", [False, True])
def test_before_the_first_step_an_interruption_passes_on(torch, error, compiled):
    def broken(*arguments):
        raise error

    _, params, opt_state, X, Y, _, batches = problem("sgd")
    with pytest.raises(error):
        Torch(compile=compiled).run(broken, params, opt_state, X, Y, batches(0))


@pytest.mark.parametrize(("precision", "said"), [("float32", "highest"), ("tf32", "high"), ("bfloat16", "medium")])
def test_the_precision_holds_for_the_run_alone(torch, precision, said):
    step, params, opt_state, X, Y, _, batches = problem("sgd")
    before, during = torch.get_float32_matmul_precision(), []
    Torch(precision=precision).run(
        step, params, opt_state, X, Y, batches(0),
        on_batch=lambda batch, loss: during.append(torch.get_float32_matmul_precision()),
    )  # fmt: skip
    assert during == [said] * 5
    assert torch.get_float32_matmul_precision() == before


def test_what_it_cannot_run_is_said(torch, monkeypatch):
    sparse = pytest.importorskip("scipy.sparse")
    step, params, opt_state, X, Y, _, batches = problem("sgd")
    with pytest.raises(InputError, match=r"tensors of PyTorch or dense arrays.*csr.*: use engine='eager'"):
        Torch().run(step, params, opt_state, sparse.csr_array(X), Y, batches(0))
    with pytest.raises(InputError, match="unknown precision 'half'"):
        Torch(precision="half")
    with without(monkeypatch, "torch"), pytest.raises(InputError, match=r"needs PyTorch.*'backprop-xp\[torch\]'"):
        Torch().run(step, params, opt_state, X, Y, batches(0))
