"""A benchmark file with the controls in it; tests/test_benchmarks.py runs it as `pytest benchmarks` would."""

from controls import MISSING, SLOWED, STEADY, WRONG

from benchmarks.bench_peers import facts, task, test_step
from benchmarks.contest import Plan

__all__ = ["facts", "task", "test_step"]
SUITE, UNIT = "peers", "step"


def cases(scale):
    return [{"shape": "64-64-10", "batch": 32, "optimizer": "sgd", "device": "cpu"}]


def contenders(case):
    return [SLOWED, STEADY, WRONG, MISSING]


def plan(case, _, scale):
    return Plan(5, 0.01, 1.0)
