"""What the results were measured on, as a table and in a line."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.report.markup import Table, table
from benchmarks.report.results import Results, Run
from benchmarks.report.wording import printable, size


def facts(run: Run) -> dict[str, str]:
    """Return what a suite's file says of its machine and commit, as far as it does."""
    machine, written = run.machine, {}
    plain = {"name": "name", "processor": "processor", "cores": "cores", "threads used": "threads", "system": "system",
             "Python": "python", "BLAS": "blas"}  # fmt: skip
    for label, key in plain.items():
        if machine.get(key) is not None:
            written[label] = printable(machine[key])
    if machine.get("memory_bytes"):
        written["memory"] = size(machine["memory_bytes"])
    written |= {"GPU": _gpu(machine["device"])} if machine.get("device") else {}
    written |= {name: printable(version) for name, version in (machine.get("libraries") or {}).items() if version}
    if machine.get("unrest") is not None:
        written["slow rounds over quick ones"] = f"{printable(machine['unrest'])}, of a fixed loop"
    scale = (machine.get("options") or {}).get("scale")
    written |= {"scale of the run": printable(scale)} if scale else {}
    return written | _commit(run)


def _gpu(device: Mapping[str, Any]) -> str:
    forms: dict[str, Callable[[Any], str]] = {
        "name": printable, "memory_bytes": size, "driver": "driver {}".format, "runtime": "CUDA {}".format,
    }  # fmt: skip
    return ", ".join(form(device[key]) for key, form in forms.items() if device.get(key))


def _commit(run: Run) -> dict[str, str]:
    commit = {"commit": printable(run.commit["id"])[:12]} if run.commit.get("id") else {}
    if commit and run.commit.get("dirty"):
        commit["commit"] += ", with uncommitted changes"
    return commit | ({"measured": run.measured[:16].replace("T", " ")} if run.measured else {})


def machine_table(results: Results) -> Table:
    """Return every fact with its value; where suites differ, each value with its suites."""
    by_fact: dict[str, dict[str, list[str]]] = {}
    for run in results.runs:
        for name, value in facts(run).items():
            by_fact.setdefault(name, {}).setdefault(value, []).append(run.suite)
    rows = [(name, _values(values, len(results.runs))) for name, values in by_fact.items()]
    return table(["", "value"], rows, labels=2)


def _values(values: Mapping[str, list[str]], n_runs: int) -> str:
    if len(values) == 1 and len(next(iter(values.values()))) == n_runs:
        return next(iter(values))
    return "; ".join(f"{value} ({', '.join(suites)})" for value, suites in values.items())


def machine_line(results: Results) -> str:
    """Return the machine in a line."""
    known = facts(max(results.runs, key=lambda run: run.measured))
    cores = [f"{known['cores']} cores"] if "cores" in known else []
    python = [f"Python {known['Python']}"] if "Python" in known else []
    numpy = [f"NumPy {known['numpy']}"] if "numpy" in known else []
    first = [known[name] for name in ("processor", "GPU") if name in known] or [
        known.get("name", "a machine that isn't named")
    ]
    blas = [known["BLAS"]] if "BLAS" in known else []
    short = ["a short run: fewer cases"] if known.get("scale of the run") == "short" else []
    return ", ".join([*first[:1], *cores, *first[1:], *numpy, *blas, *python, *short])
