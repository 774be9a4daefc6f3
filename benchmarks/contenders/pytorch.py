"""PyTorch as its users write it: nn.Sequential, CrossEntropyLoss, torch.optim; eager, compiled, and as a CUDA graph."""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from backprop_xp.errors import InputError
from benchmarks.contenders import whole_jobs
from benchmarks.problems import EPSILON, Problem


def mlp(widths: tuple[int, ...], activation: type[nn.Module]) -> nn.Sequential:
    """Return linear layers with the activation between them; the loss takes the last one's output as it is."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), activation()]
    return nn.Sequential(*layers[:-1])


def require(device: str) -> None:
    """Raise InputError unless PyTorch can compute there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("PyTorch finds no CUDA device")


class Eager:
    """The loop of every tutorial."""

    def __init__(self, problem: Problem, device: str = "cpu") -> None:
        require(device)
        X, labels, _, params = problem.inputs()
        self.batches = [
            (torch.tensor(Xb).to(device), torch.tensor(y).to(device)) for Xb, y in zip(X, labels, strict=True)
        ]
        self.model = mlp(problem.widths, nn.Sigmoid)
        self.linear = [layer for layer in self.model if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, (W, b) in zip(self.linear, params, strict=True):
                layer.weight.copy_(torch.tensor(W.T))
                layer.bias.copy_(torch.tensor(b[0]))
        self.model.to(device)
        make = {"sgd": torch.optim.SGD, "adam": partial(torch.optim.Adam, eps=EPSILON, fused=True)}[problem.optimizer]
        self.optimizer: Any = make(self.model.parameters(), lr=problem.learning_rate)
        model, criterion, self.device = self.model, nn.CrossEntropyLoss(), device
        self.loss: Callable[[Any, Any], Any] = lambda X, y: criterion(model(X), y)

    def run(self, n_steps: int) -> None:
        """Take the steps."""
        for k in range(n_steps):
            X, y = self.batches[k % len(self.batches)]
            self.optimizer.zero_grad()
            self.loss(X, y).backward()
            self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()

    def params(self) -> list[Any]:
        """Return the parameters."""
        leaves = [leaf for layer in self.linear for leaf in (layer.weight.T, layer.bias)]
        return [leaf.detach().cpu().numpy() for leaf in leaves]


def sgd(params: list[Any], state: Any, grads: Sequence[Any], learning_rate: float) -> None:
    """w - lr g."""
    for w, g in zip(params, grads, strict=True):
        w.sub_(g, alpha=learning_rate)


def adam(params: list[Any], state: Any, grads: Sequence[Any], learning_rate: float) -> None:
    """Kingma and Ba 2015, algorithm 1."""
    t, moments = state
    t.add_(1)
    c, d = 1 - 0.9**t, 1 - 0.999**t
    for w, g, (m, v) in zip(params, grads, moments, strict=True):
        m.mul_(0.9).add_(g, alpha=0.1)
        v.mul_(0.999).addcmul_(g, g, value=0.001)
        w.sub_(learning_rate * (m / c) / ((v / d).sqrt() + EPSILON))


class Compiled(Eager):
    """Gradient and update compiled together, which takes the gradient by torch.func: a `backward` breaks the graph.

    With model and loss compiled alone, the rest of the step, autograd's and the optimizer's, stays in Python.
    """

    def __init__(self, problem: Problem, device: str = "cpu") -> None:
        if device == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
            raise InputError("torch.compile needs a C++ compiler: apt-get install g++")
        super().__init__(problem, device)
        names, leaves = zip(*self.model.named_parameters(), strict=True)
        self.leaves = [leaf.detach() for leaf in leaves]
        moments = [(torch.zeros_like(leaf), torch.zeros_like(leaf)) for leaf in self.leaves]
        self.state = torch.zeros((), device=device), moments
        update = {"sgd": sgd, "adam": adam}[problem.optimizer]

        def loss(params: list[Any], X: Any, y: Any) -> Any:
            z = torch.func.functional_call(self.model, dict(zip(names, params, strict=True)), (X,))
            return nn.functional.cross_entropy(z, y)

        def step(params: list[Any], state: Any, X: Any, y: Any) -> None:
            update(params, state, torch.func.grad(loss)(params, X, y), problem.learning_rate)

        self.step = torch.compile(step)

    def run(self, n_steps: int) -> None:
        """Take the steps."""
        with torch.no_grad():
            for k in range(n_steps):
                self.step(self.leaves, self.state, *self.batches[k % len(self.batches)])
        if self.device == "cuda":
            torch.cuda.synchronize()


class Graphed(Eager):
    """The whole step as a CUDA graph with static inputs, as in PyTorch's documentation ("whole-network capture")."""

    def __init__(self, problem: Problem, device: str = "cuda") -> None:
        super().__init__(problem, device)
        for group in self.optimizer.param_groups:
            group["capturable"] = True  # which SGD is without being told
        self.X, self.y = (array.clone() for array in self.batches[0])
        leaves = list(self.model.parameters())
        first = [leaf.detach().clone() for leaf in leaves]
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(beside)
        self.optimizer.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()
        with torch.no_grad():  # what the steps to warm up have done is undone
            for leaf, value in zip(leaves, first, strict=True):
                leaf.copy_(value)
            for moment in (moment for state in self.optimizer.state.values() for moment in state.values()):
                moment.zero_()

    def step(self) -> None:
        """Take a step of the static inputs."""
        self.optimizer.zero_grad()
        self.loss(self.X, self.y).backward()
        self.optimizer.step()

    def run(self, n_steps: int) -> None:
        """Take the steps."""
        for k in range(n_steps):
            X, y = self.batches[k % len(self.batches)]
            self.X.copy_(X)
            self.y.copy_(y)
            self.graph.replay()
        torch.cuda.synchronize()


class FitJob(whole_jobs.Fit):
    """The usual loop, with what is quick: the data on the device, rows taken by index, Adam fused."""

    def loop(self, note: Callable[..., None] | None = None) -> None:
        """Train; call note, where there is one, after each epoch."""
        require(self.device)
        job, several = self.job, self.job.n_outputs > 1
        torch.manual_seed(job.seed)
        X = torch.from_numpy(self.data.X).to(self.device)
        y = torch.from_numpy(self.data.y).to(self.device, torch.int64 if several else torch.float32)
        self.fitted = mlp((X.shape[1], *job.hidden, job.n_outputs), nn.ReLU).to(self.device)
        criterion = nn.CrossEntropyLoss() if several else nn.BCEWithLogitsLoss()
        optimizer = torch.optim.Adam(self.fitted.parameters(), lr=job.learning_rate, fused=True)
        for epoch in range(job.epochs):
            for rows in torch.randperm(len(X), device=self.device).split(job.batch):
                optimizer.zero_grad()
                criterion(self.fitted(X[rows]), y[rows]).backward()
                optimizer.step()
            if self.device == "cuda" and (note is not None or epoch == job.epochs - 1):
                torch.cuda.synchronize()
            if note is not None:
                note()

    def accuracy(self) -> float:
        """Return the share of validation rows that are told rightly."""
        with torch.inference_mode():
            z = self.fitted(torch.from_numpy(self.data.X_val).to(self.device)).cpu().numpy()
        return whole_jobs.right(z if self.job.n_outputs > 1 else z + 0.5, self.data.y_val)
