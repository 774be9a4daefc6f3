"""Schedules: their values at points that can be worked out by hand, on every backend."""

import math

import numpy as np
import pytest

from backprop_xp import schedules

COUNTS = [0, 1, 4, 5, 9, 10, 20, 30]
CASES = {
    "constant": (schedules.constant(0.3), lambda t: 0.3),
    "step": (schedules.step(0.8, 5, 0.5), lambda t: 0.8 * 0.5 ** (t // 5)),
    "exponential": (schedules.exponential(0.8, 0.9, 2), lambda t: 0.8 * 0.9 ** (t / 2)),
    "inverse_scaling": (schedules.inverse_scaling(0.8, 0.25), lambda t: 0.8 / (t + 1) ** 0.25),
    "cosine": (schedules.cosine(0.8, 20, 0.2), lambda t: 0.2 + 0.3 * (1 + math.cos(math.pi * min(t, 20) / 20))),
    "warmup_cosine": (
        schedules.warmup_cosine(0.8, 5, 20, 0.1, 0.2),
        lambda t: 0.1 + 0.7 * t / 5 if t < 5 else 0.2 + 0.3 * (1 + math.cos(math.pi * min(t - 5, 15) / 15)),
    ),
    "one_cycle": (
        schedules.one_cycle(0.8, 20, 0.25, 4.0, 10.0),
        lambda t: (0.2 + 0.3 * (1 - math.cos(math.pi * t / 5)) if t < 5
                   else 0.02 + 0.39 * (1 + math.cos(math.pi * min(t - 5, 15) / 15))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_value(lib, name):
    schedule, expected = CASES[name]
    for count in COUNTS:
        with lib.no_host_reads():
            rate = schedule(lib.array(float(count)), lib.xp)
        np.testing.assert_allclose(lib.host(rate), expected(count), rtol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_a_plain_number_draws_the_curve(name):
    schedule, expected = CASES[name]
    assert float(schedule(9.0, np)) == pytest.approx(expected(9))
