"""The harness: contenders in processes of their own, shown to agree, warmed up, and timed in turns, round by round."""

import json
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks import machine
from benchmarks.contenders import Contender

ROOT = Path(__file__).parent.parent
CHECKED_STEPS = 2
TINY = 1e-30
PATIENCE = 600.0  # seconds without an answer before a contender is given up


class Task(Protocol):
    """What is given to contenders: a Problem, a Fit, or a Job."""

    @property
    def work(self) -> int:
        """A measure that time is in proportion to, for large ones."""

    @property
    def tolerance(self) -> float:
        """The largest `distance` that is no other result."""

    @property
    def dtype(self) -> str:
        """What the parameters are rounded to."""

    def expected(self, n_steps: int) -> list[Any]:
        """Return the parameters after that many steps."""

    def params(self) -> Any:
        """Return the first parameters."""

    def of_round(self, k: int) -> "Task":
        """Return the task of a round in which it is done anew."""


@dataclass(frozen=True)
class Plan:
    """How a case is timed.

    Parameters
    ----------
    rounds : int
    seconds : float
        Of a turn.
    longest : float
        Seconds of turns after which a contender has no further ones; it has three in any case.
    budget : float, optional
        Seconds that a contender may need for a case; predicted to need more, it is left out. Predictions are close
        where the cases come in the order of their work.
    fresh : "session", "case" or "round"
        How long a process lives.
    steps : int
        A turn is a multiple of so many: an epoch, for those who go through one at a time.
    """

    rounds: int
    seconds: float
    longest: float
    budget: float | None = None
    fresh: str = "session"
    steps: int = 1


@dataclass
class Outcome:
    """What came of a contender in a case: seconds a step, one figure a round, or the reason why there are none."""

    gap: str | None = None
    reason: str = ""
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def start(self) -> float | None:
        """Seconds before the first step, of those who say what compiling took: of importing and compiling."""
        last = self.facts[-1]
        return last["importing"] + last["compiling"] if "compiling" in last else None


class Unavailable(Exception):  # noqa: N818
    """The contender has no figure."""

    def __init__(self, gap: str, reason: str) -> None:
        super().__init__(reason)
        self.gap, self.reason = gap, reason


class Process:
    """A contender's process, stopped whenever it is not its turn, so that no thread of it spins beside another's."""

    def __init__(self, threads: int) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env={**machine.unbidden(), **limits, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            # of its own, so that Ctrl-C reaches the harness alone; in the same session, so that it ends with it
            process_group=0,
        )
        assert self.process.stdout is not None
        self.answers = selectors.DefaultSelector()
        self.answers.register(self.process.stdout, selectors.EVENT_READ)
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer; raise Unavailable if it is a gap, or none comes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        try:
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline() if self.answers.select(PATIENCE) else None
        except BrokenPipeError:
            line = ""
        self.process.send_signal(signal.SIGSTOP)
        if line is None:
            raise Unavailable("failed", f"no answer in {PATIENCE:g} seconds")
        if not line:
            raise Unavailable("failed", f"its process ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "gap" in answer:
            raise Unavailable(answer["gap"], answer["reason"])
        return answer

    def _last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return lines[-1] if lines else f"exit {self.process.wait()}"

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.answers.close()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            if pipe is not None:
                pipe.close()


class Harness:
    """Holds contests; keeps the processes, and what was learnt of each contender's speed, from case to case."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        # by the contender, not its name: on the CPU and on CUDA it may have the same
        self.processes: dict[Contender, Process] = {}
        self.absent: dict[Contender, Unavailable] = {}
        self.paces: dict[Contender, list[tuple[int, float]]] = {}
        self.fixed: list[float] = []  # seconds of `machine.pace`, before each round

    def __enter__(self) -> "Harness":
        return self

    def __exit__(self, *_: object) -> None:
        for contender in list(self.processes):
            self._end(contender)

    def hold(self, task: Task, contenders: Sequence[Contender], plan: Plan) -> dict[str, Outcome]:
        """Return what came of every contender.

        Parameters
        ----------
        task : Problem, Fit or Job
        contenders : sequence of Contender
        plan : Plan
        """
        outcomes = {contender.name: Outcome() for contender in contenders}
        ready = []
        for contender in contenders:
            outcome = outcomes[contender.name]
            try:
                self._admit(contender, task, plan, outcome)
                ready.append(contender)
            except Unavailable as failure:
                self._give_up(contender, outcome, failure)
        self._rounds(ready, task, plan, outcomes)
        for contender in ready:
            outcome = outcomes[contender.name]
            if outcome.gap is None:
                try:
                    self._finish(contender, task, plan, outcome)
                except Unavailable as failure:
                    self._give_up(contender, outcome, failure)
        return outcomes

    def _admit(self, contender: Contender, task: Task, plan: Plan, outcome: Outcome) -> None:
        """Build the contender, compare its steps, warm it up, and choose how many steps a turn has."""
        if contender in self.absent:
            raise self.absent[contender]
        self._allow(contender, task, plan.budget, CHECKED_STEPS + 5 * plan.steps)
        if plan.fresh == "round":
            outcome.steps = plan.steps
            return
        self._prepare(contender, task)
        self._compare(contender, task)
        process = self.processes[contender]
        process.ask("steps", n=plan.steps)
        outcome.steps = plan.steps
        while (taken := process.ask("steps", n=outcome.steps)["seconds"]) < plan.seconds / 2:
            outcome.steps *= max(2, min(16, round(plan.seconds / taken)))
            process.ask("steps", n=outcome.steps)  # what is compiled for so many is compiled now, and not timed

    def _allow(self, contender: Contender, task: Task, budget: float | None, n_steps: int) -> None:
        """Leave the contender out if its steps, to agree, to warm up and for three rounds, would take too long."""
        predicted = self._predicted(contender, task)
        if budget is not None and predicted is not None and predicted * n_steps > budget:
            reason = f"predicted {predicted:.3g} s a step, so {predicted * n_steps:.3g} s in all: over {budget:g} s"
            raise Unavailable("over budget", reason)

    def _prepare(self, contender: Contender, task: Task) -> None:
        process = self.processes.get(contender)
        if process is None:
            process = self.processes[contender] = Process(self.threads)
        kind = f"{type(task).__module__}:{type(task).__qualname__}"
        try:
            process.ask(
                "prepare",
                make=contender.make,
                needs=contender.needs,
                options=contender.options,
                kind=kind,
                problem=asdict(task),  # type: ignore[call-overload]
            )
        except Unavailable as failure:
            if failure.gap == "missing" and contender.install:
                failure.reason += f": {contender.install}"
            if failure.gap in ("missing", "no device"):
                self.absent[contender] = failure
            raise

    def _compare(self, contender: Contender, task: Task) -> None:
        """Refuse a contender whose steps are not the task's."""
        process = self.processes[contender]
        process.ask("check", n=CHECKED_STEPS)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "params.npz"
            if not process.ask("save", path=str(path))["saved"]:
                return
            with np.load(path) as saved:
                params = [saved[name] for name in saved.files]
        off = distance(task, params, CHECKED_STEPS)
        if not off <= task.tolerance:
            raise Unavailable(
                "refused", f"what it learned differs from the others' by {100 * off:.2g} %, so it was not timed"
            )

    def _rounds(self, contenders: Sequence[Contender], task: Task, plan: Plan, outcomes: dict[str, Outcome]) -> None:
        """Let everyone have a turn in each round, each round beginning with another one."""
        playing = list(contenders)
        for k in range(plan.rounds):
            self.fixed.append(machine.pace())
            first = k % max(1, len(playing))
            for contender in playing[first:] + playing[:first]:
                outcome = outcomes[contender.name]
                try:
                    self._turn(contender, task, plan, outcome, k)
                except Unavailable as failure:
                    self._give_up(contender, outcome, failure)
                    playing.remove(contender)
                    continue
                if len(outcome.seconds) >= 3 and sum(outcome.seconds) * outcome.steps > plan.longest:
                    playing.remove(contender)

    def _turn(self, contender: Contender, task: Task, plan: Plan, outcome: Outcome, k: int) -> None:
        if plan.fresh == "round":
            self._prepare(contender, task.of_round(k))
        process = self.processes[contender]
        warm = 0 if plan.fresh == "round" else plan.steps
        outcome.seconds.append(process.ask("steps", n=outcome.steps, warm=warm)["seconds"] / outcome.steps)
        if plan.fresh == "round":
            outcome.facts.append(process.ask("facts"))
            self._end(contender)

    def _finish(self, contender: Contender, task: Task, plan: Plan, outcome: Outcome) -> None:
        """Remember the pace, ask for the facts, and let go of the arrays."""
        self.paces.setdefault(contender, []).append((task.work, float(np.median(outcome.seconds))))
        process = self.processes.get(contender)
        if process is not None:
            outcome.facts.append(process.ask("facts"))
            process.ask("release")
            if plan.fresh == "case":
                self._end(contender)

    def _predicted(self, contender: Contender, task: Task) -> float | None:
        """Return seconds a step, in proportion to the work: the least that follows from cases seen; None before any.

        It is taken that time grows no faster than work: then each case seen gives a bound, and a near one a close one.
        """
        seen = self.paces.get(contender, ())
        return min((seconds * max(1.0, task.work / work) for work, seconds in seen), default=None)

    def _give_up(self, contender: Contender, outcome: Outcome, failure: Unavailable) -> None:
        outcome.gap, outcome.reason, outcome.seconds = failure.gap, failure.reason, []
        self._end(contender)

    def _end(self, contender: Contender) -> None:
        process = self.processes.pop(contender, None)
        if process is not None:
            process.close()


def distance(task: Task, params: Sequence[Any], n_steps: int) -> float:
    """Return the largest distance, over the leaves, between an update and the one expected, in parts of its norm.

    What rounding the parameters to the task's type may do in each step is taken off. Deep below many sigmoids an update
    is smaller than that, and nothing is told of it; the layers above tell.
    """
    first = [leaf for layer in task.params() for leaf in layer]
    parts = []
    for leaf, start, end in zip(params, first, task.expected(n_steps), strict=True):
        rounding = n_steps * np.finfo(task.dtype).eps * np.linalg.norm(end)
        off = np.linalg.norm(leaf.reshape(end.shape) - end) - rounding
        parts.append(np.maximum(off, 0.0) / max(float(np.linalg.norm(end - start)), TINY))
    return float(np.max(parts))
