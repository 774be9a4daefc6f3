"""Contenders that must lose, be refused or fail: by them the tests know that the benchmarks' harness would see it."""

import os
import sys
import time
from types import SimpleNamespace

import numpy as np

import backprop_xp as bx
from benchmarks.contenders import Contender
from benchmarks.contenders.ours import Steps


class Clocked(Steps):
    """All steps are worked out `times` times, and the last result kept; by its process's clock, each takes 100 µs."""

    now = 0.0

    def __init__(self, problem, times=1):
        super().__init__(problem)
        self.times = times
        sys.modules["__main__"].time = SimpleNamespace(perf_counter=lambda: self.now)  # the worker's

    def epochs(self, n_steps):
        self.now += 1e-4 * n_steps
        return super().epochs(n_steps)

    def run(self, n_steps):
        for _ in range(self.times - 1):
            self.epochs(n_steps)
        super().run(n_steps)


class Wrong(Steps):
    """The learning rate is larger by one part in a hundred."""

    def __init__(self, problem):
        super().__init__(problem)
        self.state = bx.sgd(problem.learning_rate * 1.01).init(self.params_)


class Hoarder(Steps):
    """Fills 64 MiB that it does not need, and lets go of them."""

    def run(self, n_steps):
        np.ones(2**23)
        super().run(n_steps)


class Raises(Steps):
    """Fails in its first step."""

    def run(self, n_steps):
        raise ValueError("a step too far\nand more")


class Dies(Steps):
    """Its process ends in the first step."""

    def run(self, n_steps):
        os.write(2, b"last words\n")
        os._exit(3)


class Hangs(Steps):
    """Never answers."""

    def run(self, n_steps):
        time.sleep(3600)


class Chatty(Steps):
    """Prints what would not be understood as an answer."""

    def run(self, n_steps):
        print("{} hello")
        os.write(1, b"hello\n")
        super().run(n_steps)


def control(name, role="peer"):
    return Contender(name, role, f"tests.controls:{name}")


STEADY = control("Clocked", role="ours")
SLOWED = Contender("Slowed", "peer", "tests.controls:Clocked", {"times": 5})
WRONG = control("Wrong")
MISSING = Contender("Missing", "peer", "tests.controls:Clocked", {}, "no_such_library", "pip install no-such-library")
