"""Optimizers: each a pair (init, update), state passed in and out.

`update` walks over the leaves (the weights and biases) and applies one small pure function, the rule, to each. In the
formulas w is a leaf, g its gradient, lr the learning rate, m and v its moments, t the number of updates with this one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

Array = Any
Params = tuple[tuple[Array, Array | None], ...]
Moments = tuple[Array, ...]
Multipliers = Sequence[tuple[float, float]]
Rule = Callable[[Array, Array, Array, Moments, Any], tuple[Array, Moments]]
LearningRate = float | Callable[[Array, Any], Array]


class OptimizerState(NamedTuple):
    """What an optimizer carries from one update to the next: arrays all, since they change under a captured step.

    Parameters
    ----------
    count : array (), int32
        Updates made so far.
    learning_rate : array ()
        The rate of the next update where it is constant, of the last one where a schedule gives it.
    moments : tuple
        For each layer (moments of W, moments of b), each a tuple of arrays in the shape of its leaf.
    """

    count: Array
    learning_rate: Array
    moments: tuple[tuple[Moments, Moments], ...]


class Optimizer(NamedTuple):
    """An update rule.

    Parameters
    ----------
    init : function (params) -> OptimizerState
    update : function (grads, opt_state, params, *, multipliers=None, xp=None) -> (params, opt_state)
        `multipliers` are factors of the learning rate, ((for W, for b), ...) a layer; a leaf with factor 0 is frozen.
        None of the arguments is changed.
    weight_decay : float
        Decoupled decay of the weights; it is what tells them from biases.
    name : str
        Of the rule, as in `OPTIMIZERS`; empty for one of your own.
    settings : tuple of (str, float)
        The rule's, by the names that its formula has.
    steady : bool
        Whether the learning rate in its state stays as `init` sets it, so that it need not be read after each epoch.
    """

    init: Callable[[Params], OptimizerState]
    update: Callable[..., tuple[Params, OptimizerState]]
    weight_decay: float = 0.0
    name: str = ""
    settings: tuple[tuple[str, float], ...] = ()
    steady: bool = False


def sgd(learning_rate: LearningRate = 0.1) -> Optimizer:
    """Gradient descent: w <- w - lr g.

    Parameters
    ----------
    learning_rate : float or schedule
    """

    def rule(w: Array, g: Array, lr: Array, moments: Moments, xp: Any) -> tuple[Array, Moments]:
        return w - g * lr, ()

    return _optimizer("sgd", {}, learning_rate, 0, rule)


def momentum(learning_rate: LearningRate = 0.1, momentum: float = 0.9) -> Optimizer:
    """Heavy ball: m <- momentum m - lr g; w <- w + m (Polyak 1964).

    Parameters
    ----------
    learning_rate : float or schedule
    momentum : float in [0, 1]
    """
    _in_unit_interval(momentum=momentum, closed=True)
    momentum = float(momentum)

    def rule(w: Array, g: Array, lr: Array, moments: Moments, xp: Any) -> tuple[Array, Moments]:
        m = moments[0] * momentum
        m -= g * lr
        return w + m, (m,)

    return _optimizer("momentum", {"momentum": momentum}, learning_rate, 1, rule)


def nesterov(learning_rate: LearningRate = 0.1, momentum: float = 0.9) -> Optimizer:
    """Nesterov's momentum: m <- momentum m - lr g; w <- w + momentum m - lr g (Sutskever et al. 2013, as scikit-learn).

    Parameters
    ----------
    learning_rate : float or schedule
    momentum : float in [0, 1]
    """
    _in_unit_interval(momentum=momentum, closed=True)
    momentum = float(momentum)

    def rule(w: Array, g: Array, lr: Array, moments: Moments, xp: Any) -> tuple[Array, Moments]:
        step = g * lr
        m = moments[0] * momentum
        m -= step
        ahead = m * momentum
        ahead -= step
        return w + ahead, (m,)

    return _optimizer("nesterov", {"momentum": momentum}, learning_rate, 1, rule)


def rmsprop(learning_rate: LearningRate = 0.001, decay: float = 0.9, epsilon: float = 1e-8) -> Optimizer:
    """RMSProp: v <- decay v + (1 - decay) g^2; w <- w - lr g / (sqrt(v) + epsilon) (Hinton 2012, lecture 6e).

    Parameters
    ----------
    learning_rate : float or schedule
    decay : float in [0, 1)
    epsilon : float, in the units of g
    """
    _in_unit_interval(decay=decay)
    _not_negative(epsilon=epsilon)
    decay, epsilon = float(decay), float(epsilon)

    def rule(w: Array, g: Array, lr: Array, moments: Moments, xp: Any) -> tuple[Array, Moments]:
        v = _average(moments[0], g * g, decay)
        return _less_quotient(w, g, v, lr, epsilon, xp), (v,)

    return _optimizer("rmsprop", {"decay": decay, "epsilon": epsilon}, learning_rate, 1, rule)


def adam(
    learning_rate: LearningRate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8
) -> Optimizer:
    """Adam: w <- w - lr c m / (sqrt(v) + epsilon), with m, v the running averages of g and g^2.

    The bias correction c = sqrt(1 - beta_2^t) / (1 - beta_1^t) is folded into the rate, as at the end of section 2 of
    Kingma and Ba 2015 and in scikit-learn.

    Parameters
    ----------
    learning_rate : float or schedule
    beta_1, beta_2 : float in [0, 1)
    epsilon : float, in the units of g
    """
    rule = adamw(learning_rate, 0.0, beta_1, beta_2, epsilon)
    return rule._replace(name="adam", settings=rule.settings[1:])


def adamw(
    learning_rate: LearningRate = 0.001,
    weight_decay: float = 0.01,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
) -> Optimizer:
    """Adam with decoupled decay: Adam's update, less lr weight_decay w (Loshchilov and Hutter 2019, algorithm 2).

    Parameters
    ----------
    learning_rate : float or schedule
    weight_decay : float
        Of the weights; biases do not decay.
    beta_1, beta_2 : float in [0, 1)
    epsilon : float, in the units of g
    """
    _in_unit_interval(beta_1=beta_1, beta_2=beta_2)
    _not_negative(weight_decay=weight_decay, epsilon=epsilon)
    # A number of NumPy's, such as np.linspace gives, would make float64 of float32 arrays.
    weight_decay, beta_1, beta_2, epsilon = map(float, (weight_decay, beta_1, beta_2, epsilon))
    log_1, log_2 = (math.log(beta) if beta else -math.inf for beta in (beta_1, beta_2))

    # The state holds m / (1 - beta_1) and v / (1 - beta_2), which take a product less each; root is sqrt(1 - beta_2).
    root = math.sqrt(1.0 - beta_2)

    def rule(w: Array, g: Array, lr: Array, moments: Moments, xp: Any) -> tuple[Array, Moments]:
        m, v = moments[0] * beta_1, moments[1] * beta_2
        m += g
        v += g * g
        return _less_quotient(w, m, v, lr, epsilon / root, xp), (m, v)

    def correction(t: Array, xp: Any) -> Array:
        # 1 - beta^t as -expm1(t log beta): in float32 the difference itself keeps only three digits of 1 - 0.999.
        return xp.sqrt(-xp.expm1(t * log_2)) / -xp.expm1(t * log_1) * ((1.0 - beta_1) / root)

    settings = {"weight_decay": weight_decay, "beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
    return _optimizer("adamw", settings, learning_rate, 2, rule, correction, weight_decay)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}


def _average(old: Array, new: Array, beta: float) -> Array:
    """beta old + (1 - beta) new."""
    average = old * beta
    average += new * (1.0 - beta)
    return average


def _less_quotient(w: Array, m: Array, v: Array, lr: Array, epsilon: float, xp: Any) -> Array:
    """w - lr m / (sqrt(v) + epsilon)."""
    root = xp.sqrt(v)
    root += epsilon
    step = m * lr
    step /= root
    return w - step


def _in_unit_interval(*, closed: bool = False, **rates: float) -> None:
    for name, rate in rates.items():
        if not (0 <= rate < 1 or (closed and rate == 1)):
            raise ValueError(f"{name} must be at least 0 and {'at most' if closed else 'below'} 1, not {rate!r}")


def _not_negative(**settings: float) -> None:
    for name, setting in settings.items():
        if not 0 <= setting < math.inf:
            raise ValueError(f"{name} must be a number of at least 0, not {setting!r}")


def _optimizer(
    name: str,
    settings: Mapping[str, float],
    learning_rate: LearningRate,
    n_moments: int,
    rule: Rule,
    correction: Callable[[Array, Any], Array] | None = None,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Return the pair (init, update) that applies `rule` to every leaf.

    `correction` (t, xp) is a factor of the rate that changes with the number of updates; `weight_decay` is decoupled.
    """
    schedule = learning_rate if callable(learning_rate) else None
    if not callable(learning_rate):
        _not_negative(learning_rate=learning_rate)

    def init(params: Params) -> OptimizerState:
        W = params[0][0]
        xp, like = array_namespace(W), {"dtype": W.dtype, "device": device(W)}
        count = xp.zeros((), dtype=xp.int32, device=device(W))
        rate = _rate(schedule, xp.zeros((), **like), xp) if schedule else xp.asarray(learning_rate, **like)
        moments = tuple((_zeros(W, n_moments, xp), _zeros(b, n_moments, xp)) for W, b in params)
        return OptimizerState(count, rate, moments)

    def update(
        grads: Params, state: OptimizerState, params: Params, *, multipliers: Multipliers | None = None, xp: Any = None
    ) -> tuple[Params, OptimizerState]:
        xp = array_namespace(grads[0][0]) if xp is None else xp
        count, rate, moments = state
        if schedule is not None:
            rate = _rate(schedule, xp.astype(count, rate.dtype), xp)
        count = count + 1
        lr = rate if correction is None else rate * correction(xp.astype(count, rate.dtype), xp)
        rates = repeat((lr, lr)) if multipliers is None else [_scaled(lr, pair) for pair in multipliers]
        if weight_decay:
            params = _decayed(params, rate * weight_decay, multipliers)

        new_params, new_moments = [], []
        for (W, b), (dW, db), (of_W, of_b), (lr_W, lr_b) in zip(params, grads, moments, rates, strict=False):
            if lr_W is not None:
                W, of_W = rule(W, dW, lr_W, of_W, xp)
            if b is not None and lr_b is not None:
                b, of_b = rule(b, db, lr_b, of_b, xp)
            new_params.append((W, b))
            new_moments.append((of_W, of_b))
        return tuple(new_params), OptimizerState(count, rate, tuple(new_moments))

    return Optimizer(init, update, weight_decay, name, tuple(settings.items()), steady=schedule is None)


def _rate(schedule: Callable[[Array, Any], Array], count: Array, xp: Any) -> Array:
    """Return the schedule's rate in the data type of `count`, whatever the numbers are that it was made with."""
    rate = schedule(count, xp)
    return rate if rate.dtype == count.dtype else xp.astype(rate, count.dtype)


def _zeros(leaf: Array | None, n_moments: int, xp: Any) -> Moments:
    return () if leaf is None else tuple(xp.zeros_like(leaf) for _ in range(n_moments))


def _scaled(lr: Array, factors: tuple[float, float]) -> tuple[Array | None, Array | None]:
    """Return the rates of a layer's two leaves, None for a frozen one."""
    for_W, for_b = factors
    return lr * float(for_W) if for_W else None, lr * float(for_b) if for_b else None


def _decayed(params: Params, shrink: Array, multipliers: Multipliers | None) -> Params:
    """Return the parameters with each W less its share of decay, in proportion to its learning rate."""
    factors = [float(pair[0]) for pair in multipliers] if multipliers else [1.0] * len(params)
    return tuple((W - W * (shrink * factor), b) for (W, b), factor in zip(params, factors, strict=True))
