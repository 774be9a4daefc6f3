"""The solver "lbfgs": SciPy's L-BFGS-B on one host vector, with loss and gradient from the core.

A line search turns one different rounding into another path, so on NumPy the core's pieces are put together in
scikit-learn's order of roundings, with SciPy's expit and logarithm where scikit-learn takes them.
"""

import operator
import warnings
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from scipy import special
from sklearn.exceptions import ConvergenceWarning

from backprop_xp import backends, namespaces, packing
from backprop_xp.activations import ACTIVATIONS, Activation
from backprop_xp.estimators.objectives import head
from backprop_xp.network import Array, Network, Params, back_propagate, propagate
from backprop_xp.step import decayed, squared_norm
from backprop_xp.training_data import TrainingData

Vector = NDArray[np.float64]


def _as_scikit_learn(namespace: ModuleType) -> ModuleType:
    xp = ModuleType(namespace.__name__, namespace.__doc__)
    vars(xp).update({**vars(namespace), "matmul": operator.matmul, "xlogy": special.xlogy})
    return xp


_NAMESPACES = {namespace.__name__: _as_scikit_learn(namespace) for namespace in (namespaces.NUMPY, namespaces.SPARSE)}


def _times_sigmoid_derivative(delta: Array, a: Array, xp: Any) -> Array:
    delta *= a
    delta *= 1.0 - a
    return delta


_EXPIT = Activation(
    lambda z, xp: special.expit(z), ACTIVATIONS["sigmoid"].derivative, times_derivative=_times_sigmoid_derivative
)


class _ScipysNetwork(Network):
    """A network whose sigmoids are SciPy's."""

    @cached_property
    def activations(self) -> tuple[Activation, ...]:
        plain = Network.activations.func(self)  # type: ignore[attr-defined]
        return tuple(_EXPIT if activation is ACTIVATIONS["sigmoid"] else activation for activation in plain)


class Objective:
    """Loss and gradient of a network as a function of one host vector, scikit-learn's order: weights, then biases.

    Parameters
    ----------
    network : Network
    loss : str
    alpha : float
    data : TrainingData
        On `place`; on NumPy in the data types that scikit-learn lets meet, which decide how products are rounded.
    place : Backend
    dtype : str
        Of the network's outputs.
    """

    def __init__(
        self, network: Network, loss: str, alpha: float, data: TrainingData, place: backends.Backend, dtype: str
    ) -> None:
        self._data, self._place, self._alpha = data, place, alpha
        self._xp = namespaces.namespace_of(data.X)
        self._dtype = dtype
        if place.name == "numpy":
            self._xp = _NAMESPACES[self._xp.__name__]
            network = _ScipysNetwork(network.widths, network.activation, network.output)
        self._network = network
        self._head = head(loss, network, float(np.finfo(dtype).eps), divided=False)
        self._unpack = packing.unpacker(network.shapes)

    def params(self, x: Vector, *, on_host: bool = False) -> Params:
        """Return the vector as parameters, on the device or as it is."""
        row: Array = x[None, :]
        if self._place.name != "numpy":  # there it stays in float64, as scikit-learn's
            row = row.astype(self._dtype) if on_host else backends.to_device(row, self._place, self._dtype)
        return self._unpack(((row, None),), namespaces.namespace_of(row))

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """Return the loss and its gradient, (Σ w l + alpha/2 Σ W²) / Σ w and what it differentiates to."""
        network, xp, params, (X, Y, weight) = self._network, self._xp, self.params(x), self._data
        inputs, sources, z = propagate(network, params, X, None, xp)
        loss, delta = self._head(z, Y, weight, xp)
        grads = back_propagate(network, params, inputs, sources, delta, None, xp)
        total = X.shape[0] if weight is None else xp.sum(weight, axis=0)
        loss = loss + (0.5 * self._alpha) * squared_norm(params, xp) / total
        grads = tuple((xp.astype(dW / total, dW.dtype), db / total) for dW, db in decayed(grads, params, self._alpha))
        ((gradient, _),) = packing.pack(grads, xp)
        return float(loss), backends.to_host(gradient)[0].astype(np.float64, copy=False)


def minimise(
    objective: Objective, params: Params, *, max_iter: int, max_fun: int, tol: float, verbose: bool
) -> tuple[Vector, np.float64, int]:
    """Return the vector that SciPy's L-BFGS-B ends with, its loss, and the number of iterations.

    Parameters
    ----------
    objective : Objective
    params : tuple of (W, b)
        Host arrays to begin with.
    max_iter, max_fun : int
        At most so many iterations, and evaluations of the objective.
    tol : float
        Of the gradient's largest component.
    verbose : bool
        Print a line an iteration.

    Warns
    -----
    ConvergenceWarning
        If it ended for another reason than convergence.
    UserWarning
        If Ctrl-C ended it: what comes back is the last iteration's.
    """
    n_iter, last = 0, packing.pack(params)[0][0][0]

    def accepted(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        nonlocal n_iter, last
        n_iter, last = n_iter + 1, intermediate_result.x.copy()
        if verbose:
            print(f"Iteration {n_iter}, loss = {intermediate_result.fun:.8f}")

    try:
        result = scipy.optimize.minimize(
            objective,
            last,
            method="L-BFGS-B",
            jac=True,
            callback=accepted,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=4)
        return last, np.float64(objective(last)[0]), n_iter
    if result.status != 0:
        warnings.warn(
            f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}): {result.message}. "
            f"Increase max_iter ({max_iter}) or max_fun ({max_fun}), or scale the data: "
            "sklearn.preprocessing.StandardScaler",
            ConvergenceWarning,
            stacklevel=4,
        )
    return result.x, np.float64(result.fun), min(result.nit, max_iter)
