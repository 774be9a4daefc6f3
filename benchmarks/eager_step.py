"""The eager step on NumPy against a hand-written in-place one, and Trainer.fit against the bare steps it runs.

    python -m benchmarks.eager_step            # about four minutes; --quick for a smoke run
    python -m benchmarks.eager_step --output benchmarks/results/NAME.json

Contenders take turns round by round, so that a change of the machine's speed meets all of them; the ratio is taken
within each round, and the median over rounds is printed. Before any timing all contenders make the same steps, and
their parameters are compared.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import backprop_xp as bx

SHAPES = [
    ((2, 4, 2), 4),
    ((64, 64, 10), 32),
    ((784, 128, 10), 128),
    ((784, 512, 512, 10), 256),
    ((1024, 1024, 1024, 10), 1024),
]
RATE = 0.01


class HandWritten:
    """One step of a network with sigmoid hidden layers and a softmax head, written by hand for NumPy.

    Every array that a step needs is made once and written in place, and transposes are taken once. `product` is
    np.matmul or np.dot, both of which take `out`.
    """

    def __init__(self, params: Any, n_samples: int, product: Callable[..., Any]) -> None:
        self.product, self.n_samples = product, n_samples
        self.W, self.b = ([leaf.copy() for leaf in leaves] for leaves in zip(*params, strict=True))
        self.dW, self.db = ([np.empty_like(leaf) for leaf in leaves] for leaves in (self.W, self.b))
        shapes = [(n_samples, W.shape[1]) for W in self.W]
        self.a, self.delta, self.work = ([np.empty(shape, np.float32) for shape in shapes] for _ in range(3))
        self.aT, self.WT = [a.T for a in self.a], [W.T for W in self.W]
        self.column = np.empty((n_samples, 1), np.float32)
        self.rate, self.share = np.float32(RATE), np.float32(1 / n_samples)

    def step(self, X: Any, Y: Any) -> float:
        """Forward, loss, backward; returns the loss. Y is one-hot."""
        a, last = X, len(self.W) - 1
        for layer in range(last):
            z = self.a[layer]
            self.product(a, self.W[layer], out=z)
            z += self.b[layer]
            np.negative(z, out=z)
            np.exp(z, out=z)
            z += 1
            np.reciprocal(z, out=z)
            a = z
        z, delta, column = self.a[last], self.delta[last], self.column
        self.product(a, self.W[last], out=z)
        z += self.b[last]
        np.maximum.reduce(z, axis=1, keepdims=True, out=column)
        z -= column
        np.exp(z, out=delta)
        np.add.reduce(delta, axis=1, keepdims=True, out=column)
        delta /= column
        np.log(column, out=column)
        z *= Y
        loss = (np.add.reduce(column, axis=None) - np.add.reduce(z, axis=None)) / self.n_samples
        delta -= Y
        delta *= self.share
        for layer in range(last, 0, -1):
            h, upstream, work = self.a[layer - 1], self.delta[layer - 1], self.work[layer - 1]
            self.product(self.aT[layer - 1], delta, out=self.dW[layer])
            np.add.reduce(delta, axis=0, keepdims=True, out=self.db[layer])
            self.product(delta, self.WT[layer], out=upstream)
            np.multiply(h, h, out=work)
            np.subtract(h, work, out=work)
            upstream *= work
            delta = upstream
            self.update(layer)
        self.product(X.T, delta, out=self.dW[0])
        np.add.reduce(delta, axis=0, keepdims=True, out=self.db[0])
        self.update(0)
        return float(loss)

    def update(self, layer: int) -> None:
        """W <- W - lr dW, b <- b - lr db."""
        for leaf, grad in ((self.W[layer], self.dW[layer]), (self.b[layer], self.db[layer])):
            grad *= self.rate
            leaf -= grad


class HandWrittenAdam(HandWritten):
    """The same with Adam."""

    def __init__(self, params: Any, n_samples: int, product: Callable[..., Any]) -> None:
        super().__init__(params, n_samples, product)
        self.t = 0
        leaves = [*self.W, *self.b]
        self.moments = {id(leaf): tuple(np.zeros_like(leaf) for _ in range(3)) for leaf in leaves}

    def step(self, X: Any, Y: Any) -> float:
        """Count the step, and take it."""
        self.t += 1
        self.corrected = np.float32(RATE * (1 - 0.999**self.t) ** 0.5 / (1 - 0.9**self.t))
        return super().step(X, Y)

    def update(self, layer: int) -> None:
        """Adam's update of both leaves of a layer, in place."""
        for leaf, grad in ((self.W[layer], self.dW[layer]), (self.b[layer], self.db[layer])):
            m, v, work = self.moments[id(leaf)]
            m *= np.float32(0.9)
            np.multiply(grad, np.float32(0.1), out=work)
            m += work
            v *= np.float32(0.999)
            grad *= grad
            grad *= np.float32(0.001)
            v += grad
            np.sqrt(v, out=work)
            work += np.float32(1e-8)
            np.multiply(m, self.corrected, out=grad)
            grad /= work
            leaf -= grad


OPTIMIZERS = {"sgd": (bx.sgd, HandWritten), "adam": (bx.adam, HandWrittenAdam)}


def rounds(contenders: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Return microseconds a call, one figure a round; the contenders take turns in each."""
    for call in contenders.values():
        call()
    start = time.perf_counter()
    next(iter(contenders.values()))()
    calls = max(1, int(0.005 / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 5:
        for name, call in contenders.items():
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return times


def ratio(times: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Return the median over rounds of ours / theirs."""
    return statistics.median(a / b for a, b in zip(times[ours], times[theirs], strict=True))


def bench_step(widths: tuple[int, ...], n_samples: int, optimizer: str, seconds: float) -> dict[str, Any]:
    """Time one step against the hand-written ones."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, widths[0])).astype(np.float32)
    Y = np.eye(widths[-1], dtype=np.float32)[rng.integers(0, widths[-1], n_samples)]
    network = bx.Network(widths, activation="sigmoid", output="softmax")
    make, hand_written = OPTIMIZERS[optimizer]
    params = bx.init(network, dtype=np.float32)
    rule = make(RATE)
    step = bx.make_step(network, "cross_entropy", rule)
    state: list[Any] = [params, rule.init(params)]
    rivals = {"in place, np.matmul": np.matmul, "in place, np.dot": np.dot}
    written = {name: hand_written(params, n_samples, product) for name, product in rivals.items()}

    def ours() -> None:
        state[0], state[1], _ = step(state[0], state[1], X, Y)

    for _ in range(5):
        ours()
        for rival in written.values():
            rival.step(X, Y)
    for rival in written.values():
        for (W, b), V, c in zip(state[0], rival.W, rival.b, strict=True):
            np.testing.assert_allclose(W, V, rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(b, c, rtol=1e-3, atol=1e-5)

    times = rounds({"backprop_xp": ours, **{n: (lambda r=r: r.step(X, Y)) for n, r in written.items()}}, seconds)
    return {
        "shape": "-".join(map(str, widths)), "batch": n_samples, "optimizer": optimizer,
        "microseconds": {name: statistics.median(values) for name, values in times.items()},
        "ratio": {name: ratio(times, "backprop_xp", name) for name in rivals},
    }  # fmt: skip


def bench_fit(widths: tuple[int, ...], batch_size: int, seconds: float) -> dict[str, Any]:
    """Time an epoch of Trainer.fit, shuffled, against a bare loop over ready-made batches of the same rows."""
    n_batches = max(2, min(1000, 2**21 // (batch_size * widths[0])))
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_batches * batch_size, widths[0])).astype(np.float32)
    y = rng.integers(0, widths[-1], len(X)).astype(np.int32)
    network = bx.Network(widths, activation="sigmoid", output="softmax")
    rule = bx.sgd(RATE)
    step, params = bx.make_step(network, "cross_entropy", rule), bx.init(network, dtype=np.float32)
    batches = list(zip(np.split(X, n_batches), np.split(y, n_batches), strict=True))

    def bare() -> None:
        state = params, rule.init(params)
        for Xb, yb in batches:
            state = step(*state, Xb, yb)[:2]

    trainer = bx.Trainer(network, "cross_entropy", rule, batch_size=batch_size, epochs=1)
    times = rounds({"bare": bare, "fit": lambda: trainer.fit(X, y)}, seconds)
    return {
        "shape": "-".join(map(str, widths)), "batch": batch_size, "steps": n_batches,
        "microseconds a step": {name: statistics.median(values) / n_batches for name, values in times.items()},
        "ratio": ratio(times, "fit", "bare"),
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = names[0].split(":")[1].strip() if names else processor
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "processor": processor, "cores": len(names) if names else None, "platform": platform.platform(),
        "python": platform.python_version(), "numpy": np.__version__, "blas": f"{blas['name']} {blas['version']}",
        "backprop_xp": bx.__version__,
    }  # fmt: skip


def main() -> None:
    """Measure, print the two tables, write them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the three smallest shapes, a second in all")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args()
    shapes, seconds = (SHAPES[:3], 0.1) if arguments.quick else (SHAPES, 15.0)

    print(f"{'a step':28}{'optimizer':>10}{'ours, us':>12}{'np.matmul':>12}{'ratio':>8}{'np.dot':>12}{'ratio':>8}")
    steps = []
    for optimizer in OPTIMIZERS:
        for widths, n_samples in shapes:
            row = bench_step(widths, n_samples, optimizer, seconds)
            ours, matmul, dot = row["microseconds"].values()
            by_matmul, by_dot = row["ratio"].values()
            name = f"{row['shape']}, batch {n_samples}"
            print(f"{name:28}{optimizer:>10}{ours:12.1f}{matmul:12.1f}{by_matmul:8.3f}{dot:12.1f}{by_dot:8.3f}")
            steps.append(row)
    print(f"\n{'an epoch, us a step':28}{'steps':>10}{'fit':>12}{'bare':>12}{'ratio':>8}")
    fits = []
    for widths, batch_size in shapes:
        row = bench_fit(widths, batch_size, seconds)
        bare, fit = row["microseconds a step"].values()
        name = f"{row['shape']}, batch {batch_size}"
        print(f"{name:28}{row['steps']:10}{fit:12.1f}{bare:12.1f}{row['ratio']:8.3f}")
        fits.append(row)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"machine": machine(), "steps": steps, "fit": fits}, indent=1)
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
