"""Every optimizer against a loop over numbers, on every backend; multipliers, schedules, decay."""

import math

import numpy as np
import pytest
from conftest import assert_trees_close

from backprop_xp import adam, adamw, momentum, nesterov, rmsprop, schedules, sgd
from backprop_xp.optimizers import OPTIMIZERS

STEPS = 7


class Loop:
    """The update rules of the papers, one number at a time, in plain Python."""

    def __init__(self, name, lr, **settings):
        self.name, self.lr, self.settings = name, lr, settings

    def run(self, w, grads, *, weight):
        m = v = 0.0
        for t, g in enumerate(grads, start=1):
            lr = self.lr(t - 1) if callable(self.lr) else self.lr
            w, m, v = getattr(self, self.name)(w, g, m, v, t, lr, weight)
        return w

    def sgd(self, w, g, m, v, t, lr, weight):
        return w - lr * g, m, v

    def momentum(self, w, g, m, v, t, lr, weight):
        m = self.settings["momentum"] * m - lr * g
        return w + m, m, v

    def nesterov(self, w, g, m, v, t, lr, weight):
        m = self.settings["momentum"] * m - lr * g
        return w + self.settings["momentum"] * m - lr * g, m, v

    def rmsprop(self, w, g, m, v, t, lr, weight):
        v = self.settings["decay"] * v + (1 - self.settings["decay"]) * g**2
        return w - lr * g / (math.sqrt(v) + 1e-8), m, v

    def adam(self, w, g, m, v, t, lr, weight):
        b1, b2 = self.settings["beta_1"], self.settings["beta_2"]
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        # Kingma and Ba's algorithm 1, with the epsilon that its folded form at the end of section 2 has
        hat = 1e-8 / math.sqrt(1 - b2**t)
        return w - lr * (m / (1 - b1**t)) / (math.sqrt(v / (1 - b2**t)) + hat), m, v

    def adamw(self, w, g, m, v, t, lr, weight):
        new, m, v = self.adam(w, g, m, v, t, lr, weight)
        return new - lr * self.settings["weight_decay"] * w if weight else new, m, v


CASES = {
    "sgd": (sgd, {}),
    "momentum": (momentum, {"momentum": 0.8}),
    "nesterov": (nesterov, {"momentum": 0.8}),
    "rmsprop": (rmsprop, {"decay": 0.7}),
    "adam": (adam, {"beta_1": 0.8, "beta_2": 0.95}),
    "adamw": (adamw, {"weight_decay": 0.1, "beta_1": 0.8, "beta_2": 0.95}),
}


def problem():
    rng = np.random.default_rng(5)
    shapes = [((3, 2), (1, 2)), ((2, 2), None), ((2, 1), (1, 1))]

    def tree():
        return tuple(tuple(None if s is None else rng.normal(size=s) for s in pair) for pair in shapes)

    return tree(), [tree() for _ in range(STEPS)]


def run(lib, optimizer, params, gradients, multipliers=None):
    params, gradients = lib.params(params), [lib.params(g) for g in gradients]
    with lib.no_host_reads():
        state = optimizer.init(params)
        for grads in gradients:
            params, state = optimizer.update(grads, state, params, multipliers=multipliers)
    return lib.host(params), state


def looped(loop, params, gradients, multipliers=None):
    result = []
    for layer, pair in enumerate(params):
        new = []
        for position, leaf in enumerate(pair):
            factor = multipliers[layer][position] if multipliers else 1.0
            scaled = Loop(
                loop.name, lambda t, f=factor: f * (loop.lr(t) if callable(loop.lr) else loop.lr), **loop.settings
            )
            new.append(
                leaf if leaf is None else np.array([
                    scaled.run(w, [g[layer][position].flat[i] for g in gradients], weight=position == 0)
                    for i, w in enumerate(leaf.flat)
                ]).reshape(leaf.shape)
            )  # fmt: skip
        result.append(tuple(new))
    return tuple(result)


def test_every_optimizer_has_a_case():
    assert set(CASES) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", CASES)
def test_update_rule(lib, name):
    make, settings = CASES[name]
    params, gradients = problem()
    actual, state = run(lib, make(0.03, **settings), params, gradients)
    assert_trees_close(actual, looped(Loop(name, 0.03, **settings), params, gradients), rtol=1e-12)
    assert int(lib.host(state.count)) == STEPS


@pytest.mark.parametrize("name", CASES)
def test_multipliers_scale_the_rate_and_zero_freezes(lib, name):
    make, settings = CASES[name]
    params, gradients = problem()
    multipliers = ((1.0, 0.0), (0.0, 1.0), (0.5, 2.0))
    actual, _ = run(lib, make(0.03, **settings), params, gradients, multipliers)
    expected = looped(Loop(name, 0.03, **settings), params, gradients, multipliers)
    assert_trees_close(actual, expected, rtol=1e-12)
    assert_trees_close((actual[0][1], actual[1][0]), (params[0][1], params[1][0]), rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_gives_the_rate_of_each_update(lib, name):
    make, settings = CASES[name]
    params, gradients = problem()
    actual, state = run(lib, make(schedules.cosine(0.1, 10, 0.01), **settings), params, gradients)
    loop = Loop(name, lambda t: 0.01 + 0.045 * (1 + math.cos(math.pi * t / 10)), **settings)
    assert_trees_close(actual, looped(loop, params, gradients), rtol=1e-11)
    np.testing.assert_allclose(lib.host(state.learning_rate), loop.lr(STEPS - 1), rtol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_arguments_are_left_as_they_were(lib, name):
    make, settings = CASES[name]
    optimizer, (params, gradients) = make(0.1, **settings), problem()
    given, grads = lib.params(params), lib.params(gradients[0])
    state = optimizer.init(given)
    _, second = optimizer.update(grads, state, given)
    before = lib.host(second)
    optimizer.update(grads, second, given)
    assert_trees_close(lib.host((given, grads)), (params, gradients[0]), rtol=0)
    assert_trees_close(lib.host(second), before, rtol=0)


def test_adams_first_step_in_float32_is_the_learning_rate(lib):
    # 1 - 0.999 has three digits left in float32: the naive correction is wrong by 3e-5 here.
    W = lib.array(np.zeros((2, 2)), "float32")
    optimizer = adam(1.0)
    params, _ = optimizer.update(((W + 3.0, None),), optimizer.init(((W, None),)), ((W, None),))
    np.testing.assert_allclose(lib.host(params[0][0]), -1.0, rtol=3e-7)


@pytest.mark.parametrize(("make", "bad"), [
    (sgd, {"learning_rate": -0.1}), (sgd, {"learning_rate": math.nan}), (momentum, {"momentum": 1.1}),
    (nesterov, {"momentum": -0.1}), (rmsprop, {"decay": 2.0}), (adam, {"beta_1": 1.0}), (adamw, {"beta_2": -1.0}),
    (adamw, {"weight_decay": -0.1}), (rmsprop, {"epsilon": -1e-8}), (adam, {"epsilon": math.inf}),
])  # fmt: skip
def test_settings_out_of_range(make, bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
        make(**bad)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_numbers_of_numpys_leave_float32_what_it_is(name):
    """As np.linspace or scipy.stats give them: float32 times one of them is float64."""
    settings = {"momentum": 0.9, "nesterov": 0.9, "rmsprop": 0.8, "adamw": 0.1}
    given = [settings[name]] if name in settings else []
    W, grads = np.ones((2, 3), np.float32), ((np.full((2, 3), 0.3, np.float32), np.full((1, 3), 0.1, np.float32)),)
    for rate in (lambda number: number(0.02), lambda number: schedules.cosine(number(0.02), 9, number(0.001))):
        ends = []
        for number in (float, np.float64):
            rule = OPTIMIZERS[name](rate(number), *map(number, given))
            params = ((W, W[:1] * 0),)
            state = rule.init(params)
            for _ in range(3):
                params, state = rule.update(grads, state, params, multipliers=((number(0.5), number(2.0)),))
            ends.append((params, state.moments, state.learning_rate))
        moments = [moment for layer in ends[1][1] for of_leaf in layer for moment in of_leaf]
        numbers = [*(leaf for layer in ends[1][0] for leaf in layer), *moments, ends[1][2]]
        assert {array.dtype for array in numbers} == {np.dtype("float32")}
        assert_trees_close(ends[1][0], ends[0][0], rtol=1e-6)
