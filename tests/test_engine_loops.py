"""The loops engine: the traced step as scalar loops, interpreted and compiled, against the eager engine."""

import importlib.util
import itertools
import math
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import scipy.sparse

import backprop_xp as bx
from backprop_xp.activations import ACTIVATIONS
from backprop_xp.batches import IndexBatches
from backprop_xp.engines import loops, scalar_functions
from backprop_xp.engines.copies import Copies
from backprop_xp.engines.eager import Eager
from backprop_xp.engines.loops import Loops
from backprop_xp.engines.scalar_code import FORMS, ScalarCode
from backprop_xp.engines.scalar_rows import gather
from backprop_xp.engines.tracing import ELEMENTWISE, Trace, leaves
from backprop_xp.errors import InputError, StopTraining
from backprop_xp.estimators import objectives
from backprop_xp.losses import LOSSES, huber, pinball
from backprop_xp.namespaces import namespace_of
from backprop_xp.packing import pack
from backprop_xp.step import loss_head
from tests.conftest import assert_trees_close

HIDDEN = [name for name, activation in ACTIVATIONS.items() if not activation.output_only]
LOSS_CASES = {**LOSSES, "huber(0.5)": huber(0.5), "pinball(0.2)": pinball(0.2)}

needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")


def data(network, n_samples, dtype="float64", labels=False):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((n_samples, network.widths[0])).astype(dtype)
    classes = rng.integers(0, network.widths[-1], n_samples)
    if labels:
        return X, classes.astype(np.int32)
    if network.widths[-1] == 1:
        return X, rng.random((n_samples, 1)).astype(dtype)
    return X, np.eye(network.widths[-1], dtype=dtype)[classes]


def both(step, params, opt_state, X, Y, batches, engine=None, **options):
    """Return what the loops engine makes of it, and the eager one; the arrays given must stay as they are."""
    before = [leaf.copy() for leaf in leaves((params, opt_state, X, Y))]
    actual = (engine or Loops()).run(step, params, opt_state, X, Y, batches, **options)
    for old, given in zip(before, leaves((params, opt_state, X, Y)), strict=True):
        np.testing.assert_array_equal(given, old)
    return actual, Eager().run(step, params, opt_state, X, Y, batches, **options)


def as_arrays(tree):
    """Eager NumPy makes scalars of 0-d arrays."""
    return tuple(map(as_arrays, tree)) if isinstance(tree, tuple) else None if tree is None else np.asarray(tree)


def gather_in_python(order, first, n_rows, samples, width, memory, place):
    rows = samples.reshape(-1, width)[order[first : first + n_rows]]
    memory[place : place + n_rows * width] = rows.reshape(-1)


def interpreted(step, params, opt_state, X, Y, weight=None, n_steps=3, shuffled=False):
    """Run the source of the loops as Python does, on one batch again and again."""
    code = ScalarCode(Trace(step, (params, opt_state), (X, Y, weight)))
    names = {"gather": gather_in_python}
    exec(code.source, names)
    memory = {dtype: np.zeros(size, dtype) for dtype, size in code.memory.items()}
    state = list(leaves((params, opt_state)))
    for (dtype, place, _), leaf in zip(code.state_places, state, strict=True):
        memory[dtype][place : place + leaf.size] = leaf.reshape(-1)
    losses, done = np.zeros(n_steps, code.loss_dtype), np.zeros(1, int)
    samples, order = [np.concatenate([x] * n_steps) for x in leaves((X, Y, weight))], ()
    if shuffled:
        order = np.random.default_rng(0).permutation(len(samples[0]))
        samples = [x[np.argsort(order)] for x in samples]
    names["epoch"](0, n_steps, done, losses, order, *(x.reshape(-1) for x in samples), *memory.values())
    assert done[0] == n_steps
    new = [memory[dtype][place : place + math.prod(shape)].reshape(shape) for dtype, place, shape in code.state_places]
    return new, losses


def assert_interpreted_as_eager(step, params, opt_state, X, Y, weight=None, rtol=1e-12):
    runs = [interpreted(step, params, opt_state, X, Y, weight, shuffled=shuffled) for shuffled in (False, True)]
    expected = []
    for _ in range(3):
        params, opt_state, loss = step(params, opt_state, X, Y, weight)
        expected.append(loss)
    for new, losses in runs:
        assert np.isfinite(losses).all()
        np.testing.assert_allclose(losses, expected, rtol=rtol)
        for actual, leaf in zip(new, leaves((params, opt_state)), strict=True):
            assert actual.dtype == leaf.dtype
            np.testing.assert_allclose(actual, leaf, rtol=rtol, atol=1e-14)


def test_every_elementwise_operation_of_a_trace_has_a_form():
    assert set(FORMS) == ELEMENTWISE


@pytest.mark.parametrize("name", LOSS_CASES)
@pytest.mark.parametrize("activation", HIDDEN)
def test_every_activation_and_loss(activation, name):
    loss = LOSS_CASES[name]
    for output in loss.outputs or ("identity", "tanh", "softmax"):
        network = bx.Network((3, 4, 3), activation=activation, output=output)
        params = bx.init(network, seed=1, bias_initializer="uniform")
        X, Y = data(network, 5)
        optimizer = bx.sgd(0.05)
        step = bx.make_step(network, loss, optimizer)
        assert_interpreted_as_eager(step, params, optimizer.init(params), X, Y)


RULES = [bx.sgd, bx.momentum, bx.nesterov, bx.rmsprop, bx.adam, bx.adamw]
SCHEDULES = [bx.schedules.PLANNED[name](0.02, 4) for name in bx.schedules.PLANNED]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimizer_and_schedule(rule, schedule):
    network = bx.Network((2, 3, 2), activation="tanh", output="softmax")
    params = bx.init(network)
    X, Y = data(network, 4, labels=True)
    optimizer = rule(schedule)
    assert_interpreted_as_eager(bx.make_step(network, "cross_entropy", optimizer), params, optimizer.init(params), X, Y)


@pytest.mark.parametrize("bias", [True, False, "shared"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalty", [{}, {"l2": 0.1}, {"l2": 0.1, "l2_per_batch": True}, {"clip_norm": 0.01}])
@pytest.mark.parametrize("packed", [False, True])
def test_bias_weights_penalties_and_packed_rows(bias, weighted, penalty, packed):
    network = bx.Network((3, 11, 2), activation="sigmoid", output="softmax", bias=bias)  # products short and long
    params = bx.init(network, bias_initializer="uniform")
    params = pack(params) if packed else params
    X, Y = data(network, 9)
    weight = np.linspace(0.5, 2.0, 9) if weighted else None
    optimizer = bx.nesterov(0.1)
    step = bx.make_step(network, "cross_entropy", optimizer, packed=packed, **penalty)
    assert_interpreted_as_eager(step, params, optimizer.init(params), X, Y, weight)


def test_frozen_and_multiplied_leaves():
    network = bx.Network((3, 4, 4, 2), activation="relu")
    params, optimizer = bx.init(network, seed=2), bx.adamw(0.01)
    X, Y = data(network, 5)
    step = bx.make_step(network, "squared_error", optimizer, multipliers=[(0, 0), (1, 2), (0.5, 0)])
    assert_interpreted_as_eager(step, params, optimizer.init(params), X, Y)


@pytest.mark.parametrize(("loss", "output"), objectives.OBJECTIVES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_estimators_own_heads(loss, output, weighted):
    network = bx.Network((3, 4, 3 if output == "softmax" else 2), activation="tanh", output=output)
    X, Y = data(network, 6)
    weight = np.linspace(0.5, 2.0, 6) if weighted else None
    head = objectives.head(loss, network, np.finfo(np.float64).eps, divided=True)
    params, optimizer = pack(bx.init(network, seed=3)), bx.adam(0.01)
    step = bx.make_step(network, head, optimizer, l2=1e-2, l2_per_batch=True, packed=True)
    assert_interpreted_as_eager(step, params, optimizer.init(params), X, Y, weight)


WIDE = [name for name in HIDDEN if name != "identity"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rule", [bx.sgd, bx.adam])
@pytest.mark.parametrize("activation", WIDE)
def test_products_of_blas_and_arithmetic_in_vectors(activation, rule, packed):
    network = bx.Network((20, 18, 17, 3), activation=activation, output="softmax")
    params, optimizer = bx.init(network, seed=1, bias_initializer="uniform"), rule(0.05)
    params = pack(params) if packed else params
    X, Y = data(network, 9)
    step = bx.make_step(network, "cross_entropy", optimizer, l2=0.1, packed=packed)
    state = optimizer.init(params)
    source = ScalarCode(Trace(step, (params, state), (X, Y, None))).source
    assert source.count(" dot(") == 5  # of eight: those with three units are in loops
    assert_interpreted_as_eager(step, params, state, X, Y, rtol=1e-11)


@pytest.mark.parametrize(
    ("widths", "n_rows", "n_dots"), [((70, 40, 1), 60, 4), ((70, 40, 60), 1, 3), ((9, 5, 1), 6, 0)]
)
def test_matrices_of_one_row_or_column(widths, n_rows, n_dots):
    network = bx.Network(widths, activation="sigmoid", output="identity")
    params, optimizer = bx.init(network, bias_initializer="uniform"), bx.sgd(0.01)
    X, Y = data(network, n_rows)
    step = bx.make_step(network, "squared_error", optimizer)
    state = optimizer.init(params)
    assert ScalarCode(Trace(step, (params, state), (X, Y, None))).source.count(" dot(") == n_dots
    assert_interpreted_as_eager(step, params, state, X, Y)


def test_short_loops_call_the_mathematical_library():
    for width, vectors in ((15, False), (16, True)):
        network = bx.Network((2, width, 2), activation="tanh", output="softmax")
        params, optimizer = bx.init(network), bx.sgd(0.1)
        X, Y = data(network, 4)
        step = bx.make_step(network, "cross_entropy", optimizer)
        source = ScalarCode(Trace(step, (params, optimizer.init(params)), (X, Y, None))).source
        assert ("= tanh_float64(" in source, "= math.tanh(" in source) == (vectors, not vectors)
        assert "= math.exp(" in source  # of the two outputs


@pytest.mark.parametrize("n", [4, 20])  # products in loops; by BLAS
def test_places_are_not_given_away_while_they_are_read(n):
    """What is read across its diagonal, and leaves of the new state that others are made of."""

    def step(params, opt_state, X, Y, weight=None):
        ((A, B), (C, D)), xp = params, namespace_of(X)
        first = xp.matmul(X, A)
        both_ways = first + xp.matrix_transpose(first)
        A = xp.matmul(both_ways, A)
        B = xp.matmul(A, B)
        C = xp.matmul(B, C)
        D = xp.matmul(C, D) - B
        return ((A, B), (C, D)), opt_state, xp.sum(both_ways * Y)

    rng = np.random.default_rng(0)
    A, B, C, D, X, Y = rng.standard_normal((6, n, n)) / n
    params = ((A, B), (C, D))
    new, losses = interpreted(step, params, (), X, Y, n_steps=1)
    expected, _, loss = step(params, (), X, Y)
    np.testing.assert_allclose(losses, [loss], rtol=1e-12)
    for actual, leaf in zip(new, leaves(expected), strict=True):
        np.testing.assert_allclose(actual, leaf, rtol=1e-11, atol=1e-13)


def test_memory_is_used_again():
    """Ten layers take the memory of two: what the layers leave, and no more for each of the arrays in between."""
    sizes = []
    for n_layers in (2, 10):
        network = bx.Network((16,) * (n_layers + 1), activation="sigmoid")
        params, optimizer = bx.init(network), bx.sgd(0.1)
        X, Y = np.ones((64, 16)), np.ones((64, 16))
        step = bx.make_step(network, "squared_error", optimizer)
        code = ScalarCode(Trace(step, (params, optimizer.init(params)), (X, Y, None)))
        sizes.append(code.memory["float64"])
    outputs, weights = 64 * 16, 16 * 16 + 16
    assert sizes[1] - sizes[0] <= 8 * (outputs + 2 * weights)


# Units in the last place: what the source's arithmetic may be wrong by.
ULPS = {"exp": 1.5, "expm1": 2.0, "tanh": 3.0}


def reals(dtype):
    """Return numbers of every size, to where exp is 0 and infinite."""
    rng = np.random.default_rng(0)
    top = math.log(float(np.finfo(dtype).max))
    numbers = [rng.standard_normal(300) * scale for scale in (1e-9, 1e-3, 0.3, 3.0, top / 3)]
    return np.concatenate([*numbers, np.linspace(-top, top, 301)[1:-1], [0.0]]).astype(dtype)


def as_python(source):
    """Return the functions of a source as they are."""
    names = {}
    exec(source, names)
    return names


@pytest.mark.parametrize("functions", [as_python, pytest.param(loops.functions, marks=needs_numba)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", scalar_functions.NAMES)
def test_functions_in_plain_arithmetic(name, dtype, functions):
    function, X = functions("from numpy import *\n" + scalar_functions.source(dtype))[f"{name}_{dtype}"], reals(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        actual = np.asarray([function(x) for x in [*X, *np.asarray([math.inf, -math.inf, math.nan], dtype)]])
        exact = getattr(np, name)(X.astype(np.longdouble))
        rounded = exact.astype(dtype)
    np.testing.assert_array_equal(actual, actual.astype(dtype))  # compiled functions return Python's floats
    np.testing.assert_array_equal(actual[-3:], getattr(np, name)([math.inf, -math.inf, math.nan]))
    tiny = np.abs(exact) < 2 * np.finfo(dtype).smallest_normal
    normal = np.isfinite(rounded) & ~tiny
    errors = np.abs(actual[:-3] - exact)[normal] / np.spacing(np.abs(rounded[normal]))
    assert errors.max() < ULPS[name]
    assert (np.abs(actual[:-3][tiny]) < 4 * np.finfo(dtype).smallest_normal).all()
    assert np.isinf(actual[:-3][np.isinf(rounded)]).all()


def test_a_state_whose_leaves_change_places():
    """New leaves that are other old ones, views, or read from other elements must not see each other's new values."""

    def step(params, opt_state, X, Y, weight=None):
        (A, B), (C, D) = params
        xp = namespace_of(X)
        loss = xp.sum(A * B, axis=(-2, -1))
        return ((B, A), (xp.matrix_transpose(C) + X[0:1, 0:1], D + C)), opt_state, loss

    rng = np.random.default_rng(0)
    params = tuple(tuple(rng.standard_normal((3, 3)) for _ in range(2)) for _ in range(2))
    assert_interpreted_as_eager(step, params, (), np.ones((2, 2)), np.zeros(2))


def test_what_is_not_a_number_stays_so():
    network = bx.Network((3, 4, 3), activation="relu", output="softmax")
    X, Y = data(network, 5)
    X[2, 1] = np.nan
    params, optimizer = bx.init(network), bx.sgd()
    new, losses = interpreted(bx.make_step(network, "cross_entropy", optimizer), params, optimizer.init(params), X, Y)
    assert np.isnan(losses).all()
    assert np.isnan(new[-3]).all()  # the output's bias


@pytest.mark.parametrize("name", ["maximum", "minimum", "sign"])
def test_forms_hand_a_nan_on(name):
    for a, b in itertools.product([np.nan, -np.inf, -1.5, 0.0, 2.0, np.inf], repeat=2):
        operands = (a,) if name == "sign" else (a, b)
        actual = eval(FORMS[name].format("a", "b", one="1.0"), {"a": a, "b": b})
        np.testing.assert_array_equal(actual, getattr(np, name)(*operands))


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("name", ["max", "min"])
def test_reductions_hand_a_nan_on(name, axis):
    def step(params, opt_state, X, Y, weight=None):
        xp = namespace_of(X)
        return (getattr(xp, name)(X, axis=axis, keepdims=True) + 0.0 * params[0],), opt_state, xp.sum(Y, axis=-1)

    X = np.random.default_rng(0).standard_normal((4, 4))
    X[1, 2] = X[2, 0] = X[0, 3] = np.nan
    expected = getattr(np, name)(X, axis=axis, keepdims=True)
    [actual], _ = interpreted(step, (np.zeros_like(expected),), (), X, np.zeros(4))
    np.testing.assert_array_equal(actual, expected)


# ---- compiled --------------------------------------------------------------------------------------------------------


@needs_numba
def test_every_activation_compiled():
    network = bx.Network((3, *[2] * len(HIDDEN), 3), activation=HIDDEN, output="softmax")
    X, Y = data(network, 6)
    params, optimizer = bx.init(network, seed=1, bias_initializer="uniform"), bx.sgd(0.02)
    step = bx.make_step(network, "cross_entropy", optimizer)
    batches = IndexBatches(np.asarray([5, 1, 0, 2, 4, 3] * 3, dtype=np.int32), 18, 2)
    actual, expected = both(step, params, optimizer.init(params), X, Y, batches)
    assert_trees_close(actual, as_arrays(expected), 1e-12, atol=1e-14)


@needs_numba
def test_every_loss_compiled():
    network = bx.Network((3, 4, 3), activation="tanh", output="softmax")
    parts = [
        loss_head(bx.Network(network.widths, output=(loss.outputs or ("identity",))[0]), loss)
        for loss in LOSS_CASES.values()
    ]

    def head(z, Y, weight, xp):
        values, deltas = zip(*(part(z, Y, weight, xp) for part in parts), strict=True)
        return sum(values[1:], values[0]), sum(deltas[1:], deltas[0])

    X, Y = data(network, 6)
    params, optimizer = bx.init(network, seed=1), bx.sgd(0.02)
    step = bx.make_step(network, head, optimizer)
    weight = np.linspace(0.5, 1.0, 6)
    actual, expected = both(step, params, optimizer.init(params), X, Y, IndexBatches(None, 6, 6), weight=weight)
    assert_trees_close(actual, as_arrays(expected), 1e-12, atol=1e-14)


@needs_numba
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-10), ("float32", 1e-4)])
@pytest.mark.parametrize("rule", [bx.sgd, bx.nesterov, bx.adam])
@pytest.mark.parametrize(("widths", "size"), [((4, 9, 3), 10), ((24, 32, 17, 3), 50)])  # products in loops; by BLAS
def test_a_thousand_steps_with_dropout_and_short_batches(widths, size, rule, dtype, rtol):
    network = bx.Network(widths, activation="tanh", output="softmax")
    n_samples = 4 * size + 3
    X, Y = data(network, n_samples, dtype, labels=True)
    params, optimizer = bx.init(network, dtype=dtype), rule(0.01)
    step = bx.make_step(network, "cross_entropy", optimizer, dropout=0.25, seed=5)
    rng, engine, eager = np.random.default_rng(0), Loops(), Eager()
    actual = expected = params, optimizer.init(params)
    for _ in range(200):  # of five steps, the last one of three rows
        batches = IndexBatches(rng.permutation(n_samples).astype(np.int32), n_samples, size)
        *actual, losses = engine.run(step, *actual, X, Y, batches)
        *expected, expected_losses = eager.run(step, *expected, X, Y, batches)
        assert losses.dtype == dtype
        np.testing.assert_allclose(losses, expected_losses, rtol=rtol * 10, atol=rtol / 10)
    scale = max(np.abs(leaf).max() for leaf in leaves(expected[0]))
    assert_trees_close(tuple(actual), as_arrays(tuple(expected)), rtol, atol=rtol * scale)
    assert int(actual[1].count) == 1000


@needs_numba
def test_no_float64_creeps_into_float32():
    network = bx.Network((4, 6, 3), activation="gelu", output="softmax")
    X, Y = data(network, 8, "float32", labels=True)
    params, optimizer = bx.init(network, dtype="float32"), bx.adam(bx.schedules.cosine(0.01, 100))
    step = bx.make_step(network, "cross_entropy", optimizer, l2=1e-3, dropout=0.5)
    state = optimizer.init(params)
    code = ScalarCode(Trace(step, (params, state), (X, Y, None)))
    assert set(code.memory) == {"float32", "int32"}
    engine = Loops()
    engine.run(step, params, state, X, Y, IndexBatches(None, 8, 8))
    [overload] = loops._compiled[code.source].overloads.values()
    names = {name: str(kind) for name, kind in overload.type_annotation.typemap.items()}
    assert {name for name, kind in names.items() if "float64" in kind} == set()
    assert {name for name, kind in names.items() if name.startswith("v") and "int64" in kind} == set()


@pytest.fixture
def small():
    """A step, and what it is run on."""
    network = bx.Network((2, 3, 2), activation="sigmoid", output="softmax")
    X, Y = data(network, 8, labels=True)
    params, optimizer = bx.init(network), bx.sgd(0.1)
    return bx.make_step(network, "cross_entropy", optimizer), params, optimizer.init(params), X, Y


@needs_numba
def test_compiles_once(small):
    traced_step, params, state, X, Y = small
    lines, calls = [], []

    def step(*arguments):
        calls.append(arguments)
        return traced_step(*arguments)

    first, batches = Loops(lines.append), IndexBatches(None, 7, 3)
    loops._compiled.clear()
    for _ in range(3):
        params, state, _ = first.run(step, params, state, X, Y, batches)
    assert first.n_compiled == len(calls) == 2
    assert re.fullmatch(r"loops: compiled a step of 3 rows in \d+\.\d\d s", lines[0])
    assert re.fullmatch(r"loops: compiled a step of 1 rows in \d+\.\d\d s", lines[1])
    second = Loops(lines.append)
    step = bx.make_step(bx.Network((2, 3, 2), activation="sigmoid", output="softmax"), "cross_entropy", bx.sgd(0.5))
    second.run(step, params, state, X.copy(), Y, batches)
    assert second.n_compiled == 0
    assert len(lines) == 2


@needs_numba
def test_the_learning_rate_is_read_at_every_run(small):
    step, params, state, X, Y = small
    engine, batches = Loops(), IndexBatches(None, 8, 4)
    for rate in (0.1, 0.0, 0.7):
        replaced = state._replace(learning_rate=np.asarray(rate))
        actual, expected = both(step, params, replaced, X, Y, batches, engine)
        assert_trees_close(actual, as_arrays(expected), 1e-12)
    assert engine.n_compiled <= 1


@needs_numba
def test_arrays_in_any_order_and_read_only(small):
    step, params, state, X, Y = small
    X = np.asfortranarray(X)
    X.flags.writeable = Y.flags.writeable = False
    order = np.asarray([7, 0, 3, 1])
    actual, expected = both(step, params, state, X, Y, IndexBatches(order, 4, 4))
    assert_trees_close(actual, as_arrays(expected), 1e-12)
    with pytest.raises(IndexError, match="the batches are rows of 4 samples, the data have 8"):
        Loops().run(step, params, state, X, Y, IndexBatches(order + 1, 4, 4))


@needs_numba
def test_no_more_rows_than_the_batches_have(small):
    """However long the order is: what is written for more would lie outside."""
    step, params, state, X, Y = small
    order = np.tile(np.arange(8), 2_000)
    batches = IndexBatches(order, 8_197, 8)  # more than are gathered at once, and a short one
    actual, expected = both(step, params, state, X, Y, batches)
    assert_trees_close(actual, as_arrays(expected), 1e-9)
    cut = Loops().run(step, params, state, X, Y, IndexBatches(order[:8_197], 8_197, 8))
    assert_trees_close(actual, cut, 0.0)


@needs_numba
@pytest.mark.parametrize("widths", [(3, 4, 1), (40, 30, 1)])
def test_data_of_other_types_than_the_weights(widths):
    """In loops, and in products that are BLAS's."""
    network = bx.Network(widths, activation="sigmoid", output="identity")
    X, Y = data(network, 8)
    params, optimizer = bx.init(network), bx.sgd(0.1)
    step, state = bx.make_step(network, "squared_error", optimizer), optimizer.init(params)
    for of_x, of_y in ((">f8", "int32"), (">f8", "int64"), ("float32", "uint8"), ("float32", ">f8")):
        given = X.astype(of_x), np.abs(Y * 3).astype(of_y)
        actual, expected = both(step, params, state, *given, IndexBatches(None, 8, 4))
        assert_trees_close(actual, as_arrays(expected), 1e-11)


@needs_numba
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("width", [1, 3, 16, 17, 64, 20_000])  # the last is more than is fetched ahead
def test_gather_copies_the_rows_and_nothing_beside(width, dtype):
    rng = np.random.default_rng(0)
    samples, order = rng.integers(0, 2 if dtype == "bool" else 100, (9, width)).astype(dtype), rng.permutation(9)
    for first, n_rows in ((0, 4), (4, 4), (5, 4), (8, 1), (0, 9), (3, 0)):
        memory = np.ones(9 * width + 10, dtype)
        expected = memory.copy()
        expected[5 : 5 + n_rows * width] = samples[order[first : first + n_rows]].reshape(-1)
        gather()(order, first, n_rows, samples.reshape(-1), width, memory, 5)
        np.testing.assert_array_equal(memory, expected)


@needs_numba
@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError])
def test_data_whose_copying_failed_are_copied_anew(small, monkeypatch, failure):
    step, params, state, X, Y = small
    order = np.arange(8)[::-1]
    engine, batches = Loops(), IndexBatches(order, 8, 4)
    engine.run(step, params, state, X + 1, Y, IndexBatches(order[:4], 4, 4))

    def failing(*given):
        raise failure

    X, expected = np.asfortranarray(X), Loops().run(step, params, state, X, Y, batches)
    with monkeypatch.context() as patched:
        patched.setattr(np, "require", failing)
        with pytest.raises(failure):
            engine.run(step, params, state, X, Y, batches)
    assert_trees_close(engine.run(step, params, state, X, Y, batches), expected, 0.0)


@needs_numba
@pytest.mark.parametrize("reason", [KeyboardInterrupt, StopTraining])
def test_a_callback_ends_the_run(small, reason):
    step, params, state, X, Y = small
    heard = []

    def on_batch(batch, loss):
        heard.append((batch, float(loss)))
        if batch == 1:
            raise reason

    batches = IndexBatches(None, 8, 3)
    new, new_state, losses = Loops().run(step, params, state, X, Y, batches, on_batch=on_batch)
    assert heard == list(enumerate(losses))
    expected = Eager().run(step, params, state, X, Y, IndexBatches(None, 6, 3))
    assert_trees_close((new, new_state, losses), as_arrays(expected), 1e-12)


@needs_numba
@pytest.mark.parametrize(
    ("place", "call", "size", "n_rows"),
    [((Copies, "of"), 1, 8, 8), ((Copies, "of"), 1, 3, 8), ((loops._Body, "load"), 2, 3, 6)],
)
def test_ctrl_c_while_the_state_is_copied_loses_no_step(small, monkeypatch, place, call, size, n_rows):
    """Copied out at the end, or for the short last batch."""
    step, params, state, X, Y = small
    copied, calls = getattr(*place), []

    def interrupted(*given):
        calls.append(given)
        if len(calls) == call:
            raise KeyboardInterrupt
        return copied(*given)

    monkeypatch.setattr(*place, interrupted)
    engine = Loops()
    actual = engine.run(step, params, state, X, Y, IndexBatches(None, 8, size))
    assert engine.interrupted
    monkeypatch.undo()
    expected = Eager().run(step, params, state, X, Y, IndexBatches(None, n_rows, size))
    assert_trees_close(actual, as_arrays(expected), 1e-12)


@needs_numba
def test_ctrl_c_during_a_long_epoch():
    network = bx.Network((16, 32, 4), activation="sigmoid", output="softmax")
    X, Y = data(network, 8, labels=True)
    params, optimizer = bx.init(network), bx.sgd(0.01)
    step, state, engine = bx.make_step(network, "cross_entropy", optimizer), optimizer.init(params), Loops()
    engine.run(step, params, state, X, Y, IndexBatches(None, 8, 8))
    n_samples = 8 * 2_000_000  # about ten seconds
    order = np.broadcast_to(np.arange(8, dtype=np.int32), (n_samples // 8, 8)).reshape(-1)
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))

    def begun(batch, loss):  # not before: on a busy machine it takes a while until the first step
        if timer.ident is None:
            timer.start()

    begun.paced = True
    *stopped, losses = engine.run(step, params, state, X, Y, IndexBatches(order, n_samples, 8), on_batch=begun)
    timer.join()
    assert engine._at_once < len(losses)  # in several calls
    assert 1 < len(losses) < n_samples // 8
    *again, other_losses = engine.run(step, params, state, X, Y, IndexBatches(order, 8 * len(losses), 8))
    np.testing.assert_array_equal(losses, other_losses)
    assert_trees_close(tuple(stopped), tuple(again), 0.0)


@needs_numba
def test_an_interrupt_before_the_first_step_passes_on(small):
    step, params, state, X, Y = small

    def say(line):
        raise KeyboardInterrupt

    loops._compiled.clear()
    with pytest.raises(KeyboardInterrupt):
        Loops(say).run(step, params, state, X, Y, IndexBatches(None, 8, 8))


# ---- what it refuses -------------------------------------------------------------------------------------------------


@needs_numba
def test_refuses_what_it_cannot_run(small):
    step, params, state, X, Y = small
    batches = IndexBatches(None, 8, 4)
    with pytest.raises(InputError, match="runs on dense arrays of NumPy: use device 'cpu' and backend 'numpy'"):
        Loops().run(step, params, state, scipy.sparse.csr_array(X), Y, batches)

    def branching(params, opt_state, X, Y, weight=None):
        return params, opt_state, 1.0 if X[0, 0] > 0 else 0.0

    with pytest.raises(InputError, match=r"cannot run this step \(a branch on a value\): use engine 'eager'"):
        Loops().run(branching, params, state, X, Y, batches)
    stacked = tuple((np.stack([W, W]), np.stack([b, b])) for W, b in params)
    with pytest.raises(InputError, match="one network at a time"):
        Loops().run(step, stacked, bx.sgd(0.1).init(stacked), X, Y, batches)


def test_names_the_command_where_numba_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(InputError, match=r"needs numba, which is not installed: pip install 'backprop-xp\[numba\]'"):
        Loops()


@needs_numba
def test_numba_is_loaded_with_the_engine():
    code = (
        "import sys; from backprop_xp.engines.loops import Loops; before = 'numba' in sys.modules; Loops(); "
        "print(before, 'numba' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]
