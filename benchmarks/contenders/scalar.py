"""The step as scalar loops: backprop_xp.loops as Python runs them, and the same functions compiled by numba."""

import types
from typing import Any

import numpy as np

from backprop_xp import loops
from backprop_xp.loops import backward, descend, forward, output_delta
from benchmarks.problems import Problem


class Interpreted:
    """`backprop_xp.loops.step` on nested lists, in Python."""

    def __init__(self, problem: Problem) -> None:
        X, labels, _, params = problem.inputs()
        self.problem, self.params_ = problem, loops.to_lists(params)
        self.batches = list(zip(X.tolist(), labels.tolist(), strict=True))

    def run(self, n_steps: int) -> None:
        """Take the steps."""
        problem, network = self.problem, self.problem.network
        for k in range(n_steps):
            X, y = self.batches[k % len(self.batches)]
            self.params_, _ = loops.step(network, self.params_, X, y, problem.loss, problem.learning_rate)

    def params(self) -> list[Any]:
        """Return the parameters."""
        return [np.asarray(leaf) for layer in self.params_ for leaf in layer]


class Compiled:
    """The same loops on arrays, compiled; the loop over samples is compiled as well."""

    def __init__(self, problem: Problem) -> None:
        X, _, Y, params = problem.inputs()
        self.X, self.Y = X, Y
        self.params_ = tuple((W, b[0]) for W, b in params)
        self.grads = tuple((np.empty_like(W), np.empty_like(b)) for W, b in self.params_)
        self.units = tuple(tuple(np.zeros(width, problem.dtype) for width in problem.widths) for _ in range(3))
        self.kinds = tuple(loops.ACTIVATIONS[name] for name in (*("sigmoid",) * (len(params) - 1), problem.output))
        self.learning_rate, self.scale = problem.learning_rate, 1.0 / problem.batch

    def run(self, n_steps: int) -> None:
        """Take the steps."""
        _steps(
            n_steps, self.params_, self.grads, self.kinds, *self.units, self.X, self.Y, self.scale, self.learning_rate
        )

    def params(self) -> list[Any]:
        """Return the parameters."""
        return [leaf for layer in self.params_ for leaf in layer]


def _compiled() -> Any:
    """Return `_steps_in_python`, compiled with the functions of `backprop_xp.loops` that hold the arithmetic.

    numba finds what a function calls in its globals, so each gets one dictionary that holds the compiled ones.
    """
    import numba

    names = "largest softmax weighted_sums activate forward softmax_cross_entropy times_derivative output_delta"
    found: dict[str, Any] = dict(vars(loops))
    for name in [*names.split(), *["accumulate", "send_back", "backward", "move", "descend"]]:
        function = types.FunctionType(getattr(loops, name).__code__, found, name)
        found[name] = numba.njit(fastmath=True, error_model="numpy", inline="always")(function)
    function = types.FunctionType(_steps_in_python.__code__, found, "steps")
    return numba.njit(fastmath=True, error_model="numpy")(function)


def _steps_in_python(n_steps, params, grads, kinds, z, a, delta, X, Y, scale, learning_rate):  # type: ignore[no-untyped-def]
    """Steps of `backprop_xp.loops.gradient` and `descend` over arrays that are there already."""
    value = 0.0
    for k in range(n_steps):
        for dW, db in grads:
            dW[:] = 0.0
            db[:] = 0.0
        for n in range(X.shape[1]):
            a[0][:] = X[k % len(X), n]
            forward(params, kinds, z, a)
            value += output_delta(True, kinds[-1], z[-1], a[-1], Y[k % len(X), n], scale, delta[-1])
            backward(params, kinds, a, delta, grads)
        descend(params, grads, learning_rate)
    return value


_steps = _compiled()
