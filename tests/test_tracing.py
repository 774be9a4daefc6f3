"""A step recorded: what is in the list, and what is refused."""

import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp.engines.program import Program
from backprop_xp.engines.tracing import ELEMENTWISE, REDUCTIONS, VIEWS, Trace, Traced, TracingError, leaves, rebuilt
from backprop_xp.namespaces import NUMPY

NETWORK = bx.Network((4, 3, 2), activation="sigmoid", output="softmax")
PARAMS = bx.init(NETWORK, dtype="float32")
X, Y = np.zeros((5, 4), np.float32), np.zeros((5, 2), np.float32)


def traced(rule=None, *, weight=None, state=None, **settings):
    rule = rule or bx.sgd(0.1)
    step = bx.make_step(NETWORK, "cross_entropy", rule, **settings)
    return Trace(step, state or (PARAMS, rule.init(PARAMS)), (X, Y, weight))


def test_the_operations_of_a_step_by_hand():
    assert [x.op for x in traced().operations] == [
        "matmul", "add", "negative", "minimum", "exp", "add", "reciprocal",  # the hidden layer
        "matmul", "add", "max", "subtract", "exp", "sum", "divide", "subtract",  # the outputs and their delta
        "log", "subtract", "multiply", "sum", "multiply", "multiply",  # the loss, and the mean of both
        "transpose", "matmul", "sum", "transpose", "matmul", "subtract", "multiply", "multiply",  # back
        "transpose", "matmul", "sum",
        "add", *["multiply", "subtract"] * 4,  # the count, and the update of four leaves
    ]  # fmt: skip


def test_shapes_and_types_are_those_of_the_step():
    rule = bx.adam(bx.schedules.cosine(1e-3, 10))
    trace = traced(rule, weight=np.ones(5, np.float32), dropout=0.5, l2=1e-3, clip_norm=1.0)
    step = bx.make_step(NETWORK, "cross_entropy", rule)
    params, state, loss = step(PARAMS, rule.init(PARAMS), X, Y)
    for value, array in zip([*trace.new_state, trace.loss], [*leaves((params, state)), loss], strict=True):
        assert (value.shape, value.dtype) == (np.shape(array), array.dtype)
    assert {x.dtype.name for x in trace.operations} == {"float32", "int32", "bool"}
    known = ELEMENTWISE | REDUCTIONS | VIEWS | {"matmul", "vecdot", "arange", "concat"}
    assert {x.op for x in trace.operations} <= known
    numbers = [x.number for x in trace.operations]
    assert numbers == sorted(numbers)
    assert all(y.number < x.number for x in trace.operations for y in x.inputs)


def test_a_constant_rate_is_handed_on_and_nothing_unused_is_kept():
    trace = traced()
    rate = trace.state.index(trace.new_state[-1])
    assert trace.new_state[rate] is trace.state[rate]
    assert len(traced(l2=0.0).operations) == len(trace.operations)


@pytest.mark.parametrize(("change", "reason"), [
    (lambda params, state, loss: (params, state, float(loss)), "a branch on a value"),
    (lambda params, state, loss: (params, state, -loss if loss else loss), "a branch on a value"),
    (lambda params, state, loss: (params, state, np.exp(loss)), "TypeError"),
    (lambda params, state, loss: (params, state, params[0][0][loss > 0]), "an index of"),
    (lambda params, state, loss: (params, state, 1.0), "returns numbers"),
    (lambda params, state, loss: ((*params, params[0]), state, loss), "changes its form"),
    (lambda params, state, loss: (params, state, loss.__array_namespace__().cumulative_sum(loss)), "cumulative_sum"),
])  # fmt: skip
def test_what_cannot_be_recorded_is_refused(change, reason):
    rule = bx.sgd(0.1)
    step = bx.make_step(NETWORK, "cross_entropy", rule)
    with pytest.raises(TracingError, match=reason):
        Trace(lambda *given: change(*step(*given)), (PARAMS, rule.init(PARAMS)), (X, Y, None))


def test_a_tree_and_its_leaves():
    state = bx.adam().init(PARAMS)
    same = rebuilt(state, iter(leaves(state)))
    assert type(same) is type(state)
    assert [a is b for a, b in zip(leaves(same), leaves(state), strict=True)] == [True] * 10
    assert rebuilt(((1, None),), iter("a")) == (("a", None),)


@pytest.mark.parametrize(("function", "dtype"), [
    (lambda x, xp: xp.sum(x > 0, axis=0), "int64"),
    (lambda x, xp: xp.where(x > 0, 1, -1), "int64"),
    (lambda x, xp: xp.where(x > 0, x, 0.0), "float32"),
    (lambda x, xp: (x > 0) * 2 - 1, "int64"),
    (lambda x, xp: (x > 0) * x, "float32"),
    (lambda x, xp: x * np.float64(2.0), "float64"),
    (lambda x, xp: x * 2.0, "float32"),
    (lambda x, xp: xp.sum(x), "float32"),
])  # fmt: skip
def test_data_types_are_numpys(function, dtype):
    def step(params, opt_state, X, Y, weight=None):
        return params, opt_state, function(X, X.__array_namespace__() if isinstance(X, Traced) else NUMPY)

    x = np.linspace(-1, 2, 20, dtype=np.float32).reshape(5, 4)
    trace = Trace(step, (PARAMS, ()), (x, Y, None))
    expected = function(x, NUMPY)
    assert (
        (trace.loss.dtype, trace.loss.shape) == (expected.dtype, expected.shape) == (np.dtype(dtype), trace.loss.shape)
    )
    program = Program(trace, [leaf.copy() for leaf in leaves(PARAMS)])
    program.take(x, Y)
    np.testing.assert_array_equal(program.loss, expected)


@pytest.mark.parametrize("function", [
    lambda x, xp: (x > 0) - (x > 1),
    lambda x, xp: xp.where(x, 1.0, 0.0),
    lambda x, xp: np.dot(x, x),
])  # fmt: skip
def test_what_numpy_refuses_or_does_by_itself_is_refused(function):
    def step(params, opt_state, X, Y, weight=None):
        return params, opt_state, function(X, X.__array_namespace__())

    with pytest.raises(TracingError):
        Trace(step, (PARAMS, ()), (X, Y, None))
