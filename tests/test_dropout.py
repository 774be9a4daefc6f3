"""Dropout masks: equal everywhere, and as random as they must be."""

import numpy as np
import pytest

from backprop_xp import dropout
from backprop_xp.namespaces import NUMPY


def drawn(lib, *, seed=0, layer=0, step=0, shape=(64, 50), rate=0.3):
    with lib.no_host_reads():
        like, count = lib.array(0.0), lib.array(step, "int32")
        mask = dropout.mask(dropout.layer_key(seed, layer), count, shape, rate=rate, like=like, xp=lib.xp)
    return lib.host(mask)


def numpy_mask(seed=0, layer=0, step=0, shape=(64, 50), rate=0.3):
    count, like = np.asarray(step, dtype=np.int32), np.zeros(())
    return dropout.mask(dropout.layer_key(seed, layer), count, shape, rate=rate, like=like, xp=NUMPY)


@pytest.mark.parametrize(
    "place", [{}, {"seed": 2**63}, {"layer": 3}, {"step": 2**31 - 1}, {"rate": 0.0}, {"rate": 0.99}]
)
def test_the_same_on_every_backend(other, place):
    np.testing.assert_array_equal(drawn(other, **place), numpy_mask(**place))


def test_a_known_hash():
    # lowbias32 of 1, 2 and 0xffffffff, worked out with unsigned 64-bit arithmetic apart from the code under test
    def reference(x):
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ x >> 16

    words = np.array([1, 2, -1], dtype=np.int32)
    assert [int(h) % 2**32 for h in dropout._mix(words)] == [reference(x) for x in (1, 2, 2**32 - 1)]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_and_scale(rate):
    mask = numpy_mask(rate=rate, shape=(1000, 1000))
    assert set(np.unique(mask)) == {0.0, 1 / (1 - rate)}
    # a share of 10^6 draws lies within 5 standard deviations
    assert abs((mask == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / 1e6)


def test_masks_of_other_steps_layers_seeds_rows_and_columns_are_independent():
    masks = [
        (numpy_mask(**place, rate=0.5, shape=(500, 400)) > 0).ravel()
        for place in [{}, {"step": 1}, {"step": 2}, {"step": 999}, {"layer": 1}, {"seed": 1}, {"seed": 2**32}]
    ]
    whole = masks[0].reshape(500, 400)
    pairs = [(masks[i], masks[j]) for i in range(7) for j in range(i)]
    pairs += [(whole[1:].ravel(), whole[:-1].ravel()), (whole[:, 1:].ravel(), whole[:, :-1].ravel())]
    pairs += [(masks[0][lag:], masks[1][:-lag]) for lag in (1, 2, 400)]
    for a, b in pairs:
        assert abs((a == b).mean() - 0.5) < 5 * 0.5 / np.sqrt(len(a))
