"""Early stopping: the best value of a figure so far, and for how long it has not been bettered."""

import math
from typing import NamedTuple

from backprop_xp.network import Params


class Best(NamedTuple):
    """The best epoch so far.

    Parameters
    ----------
    params : tuple of (W, b)
        As that epoch left them; () before there is one.
    value : float
        Of the figure.
    epoch : int
        0 before there is one.
    """

    params: Params = ()
    value: float = 0.0
    epoch: int = 0

    def after(self, epoch: int, value: float, params: Params, *, higher: bool, min_delta: float) -> "Best":
        """Return the best with this epoch taken in: better is higher, or lower, by more than `min_delta`."""
        gain = value - self.value if higher else self.value - value
        better = gain > min_delta if self.epoch else value == value and value != (-math.inf if higher else math.inf)
        return Best(params, value, epoch) if better else self  # a NaN is no improvement
