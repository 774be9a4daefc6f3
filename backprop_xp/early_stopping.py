"""Early stopping: the best value of a figure so far, and for how long it has not been bettered."""

import math

from backprop_xp.network import Params


class Best:
    """The best value of a figure so far, with the parameters that gave it."""

    def __init__(self, higher: bool, min_delta: float) -> None:
        self.params: Params = ()
        self._sign = 1.0 if higher else -1.0
        self._min_delta, self._value, self.epoch = min_delta, -math.inf, 0

    def stale(self, epoch: int, value: float, params: Params) -> int:
        """Return for how many epochs the figure has not become better."""
        if self._sign * value > self._value + self._min_delta:  # a NaN is no improvement
            self.params, self._value, self.epoch = params, self._sign * value, epoch
        return epoch - self.epoch
