"""What counts as better, and for how long nothing has been."""

import math

import pytest

from backprop_xp.early_stopping import Best


@pytest.mark.parametrize(("higher", "values", "best", "stale"), [
    (False, [3.0, 2.0, 2.5, 1.0, 1.5], 4, [0, 0, 1, 0, 1]),
    (True, [3.0, 2.0, 4.0, 4.0], 3, [0, 1, 0, 1]),
    (False, [3.0, 2.95, 2.91, 2.8], 4, [0, 1, 2, 0]),  # two changes smaller than min_delta = 0.1
    (True, [0.5, 0.59, 0.7], 3, [0, 1, 0]),
    (False, [math.nan, math.nan, 5.0], 3, [1, 2, 0]),
    (True, [math.nan, math.nan], 0, [1, 2]),
])  # fmt: skip
def test_the_best_epoch_and_how_long_ago_it_was(higher, values, best, stale):
    watched, since = Best(), []
    for epoch, value in enumerate(values, start=1):
        watched = watched.after(epoch, value, (epoch,), higher=higher, min_delta=0.1)
        since.append(epoch - watched.epoch)
    assert since == stale
    assert watched.epoch == best
    assert watched.params == ((best,) if best else ())
