"""The benchmarks' command line: python -m benchmarks run | report | compare | auto."""

import json
import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

try:
    import typer
except ImportError:
    sys.exit("the benchmarks need a few libraries more: pip install '.[bench]'")

from backprop_xp.errors import InputError
from benchmarks import machine

HERE = Path(__file__).parent
RESULTS = HERE / "results"
INTERRUPTED, NOTHING_SELECTED = 2, 5  # pytest's exit codes

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Loops against matrices, and this project beside what a user would pick instead, on this machine.\n\n"
    "`run` measures, `report` draws what was measured, `compare` sets two runs side by side, "
    "`auto` makes the rule of engine auto. A quick look at all of it: pytest benchmarks",
)


class Suite(StrEnum):
    """A benchmark file."""

    LOOPS = "loops"
    TUTORIAL = "tutorial"
    PEERS = "peers"
    JOBS = "jobs"
    FITS = "fits"
    GROWTH = "growth"


@app.command()
def run(
    suites: Annotated[list[Suite] | None, typer.Argument(help="Which suites. Default: all of them.")] = None,
    quick: Annotated[bool, typer.Option(help="Few cases and rounds: minutes in all, for a look.")] = False,
    gpu: Annotated[bool, typer.Option(help="Only what runs on a CUDA device.")] = False,
    threads: Annotated[
        int, typer.Option(min=1, max=machine.cores(), help="Processors for every contender.")
    ] = machine.cores(),
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results. Default: benchmarks/results/ and the machine's name, and what is unusual: "
            "-quick, -gpu, fewer threads."
        ),
    ] = None,
) -> None:
    """Measure, and write a file of results a suite: pytest-benchmark's JSON. Over two hours, or minutes if --quick.

    Leave the machine alone meanwhile. Ctrl-C keeps what was measured so far. A contender that is not installed, or a
    case that would take too long, is left out and named. Variables that bid a library take other kernels than its own
    choice, such as OPENBLAS_CORETYPE, are left out and named too.
    """
    bidden = [name for name in machine.KERNELS if name in os.environ]
    if bidden:
        typer.echo(f"{', '.join(bidden)} left out: every library takes the kernels of its own choice")
    folder = output or _folder(threads, "-quick" * quick + "-gpu" * gpu)
    folder.mkdir(parents=True, exist_ok=True)
    selected = ("-m", "gpu") if gpu else ()
    codes = {}
    for suite in suites or list(Suite):
        part = folder.resolve() / f"{suite}.json.part"
        options = "--scale", "short" if quick else "full", "--threads", threads, f"--benchmark-json={part}"
        codes[suite] = _pytest(HERE / f"bench_{suite}.py", "-v", *options, *selected)
        if part.exists():
            _compact(part)
            part.replace(part.with_suffix(""))
        else:
            typer.echo(f"nothing was measured of {suite}")
        if codes[suite] == INTERRUPTED:
            break
    typer.echo(f"\nresults in {folder}; python -m benchmarks report {folder} draws them")
    if INTERRUPTED in codes.values():
        raise typer.Exit(130)
    failed = [suite.value for suite, code in codes.items() if code not in (0, NOTHING_SELECTED)]
    if failed:
        raise InputError(f"not all went well in {', '.join(failed)}: see above")


def _folder(threads: int, kind: str = "") -> Path:
    fewer = f"-{threads}-threads" if threads < machine.cores() else ""
    return RESULTS / f"{machine.record(threads)['name']}{fewer}{kind}"


def _pytest(*arguments: object) -> int:
    """Run pytest and return its exit code; Ctrl-C reaches it too, and it writes what it has, however often it comes."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, arguments)]
    interrupted = False
    with subprocess.Popen(command, cwd=HERE.parent, env=machine.unbidden()) as process:
        while True:
            try:
                code = process.wait()
                return INTERRUPTED if interrupted else code
            except KeyboardInterrupt:
                interrupted = True


def _compact(path: Path) -> None:
    """Write a result a line, so that the files are small and their differences readable."""
    results = json.loads(path.read_text(encoding="utf-8"))
    lists = {name: results.pop(name) for name in ("benchmarks", "gaps")}
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in results.items()]
    for name, items in lists.items():
        lines.append(f" {json.dumps(name)}: [\n" + ",\n".join("  " + json.dumps(item) for item in items) + "\n ]")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


@app.command()
def report(
    folder: Annotated[
        Path | None,
        typer.Argument(help="A folder of results. Default: this machine's, the one written last.", show_default=False),
    ] = None,
    readme: Annotated[bool, typer.Option(help="Renew the section of README.md that shows measurements too.")] = False,
) -> None:
    """Draw a page, report.html, and its pictures into the folder of the results: everything in one file, to look at."""
    from benchmarks.report import page, results
    from benchmarks.report import readme as section

    folder = folder or (_folder(machine.cores()) if readme else _written_last())
    found = results.load(folder)
    if readme and found.machine.get("options") != {"scale": "full"}:
        raise InputError(f"README shows full runs only, and {folder} is a short one: python -m benchmarks run")
    typer.echo(f"wrote {page.write(found, folder)}")
    if readme:
        text = section.section(found, folder / "readme")
        changed = section.update(HERE.parent / "README.md", text)
        typer.echo(f"README.md {'is renewed' if changed else 'was up to date'}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A folder of results: before, or one machine.")],
    b: Annotated[Path, typer.Argument(help="Another: after, or the other machine.")],
    output: Annotated[Path | None, typer.Option(help="Write a page as well.", metavar="FILE.html")] = None,
) -> None:
    """Set two runs side by side, and say which differences exceed the noise."""
    from benchmarks.report import comparison, results

    found = comparison.compare(results.load(a), results.load(b))
    typer.echo(comparison.text(found))
    if output is not None:
        comparison.write(found, output)
        typer.echo(f"wrote {output}")


@app.command()
def auto(
    folder: Annotated[
        Path | None,
        typer.Argument(help="A folder of results. Default: this machine's, the one written last.", show_default=False),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the rule into the package, for all who use it.")] = False,
) -> None:
    """Make the rule by which engine "auto" chooses, and show what it would choose in every case that was measured."""
    from backprop_xp.engines.auto import FILE
    from backprop_xp.files import write_whole
    from benchmarks import auto as rule
    from benchmarks.report import results

    found = results.load(folder or _written_last())
    rules = rule.made(found)
    if write:
        write_whole(FILE, rule.as_json(rules).encode())
        typer.echo(f"wrote {FILE}\n")
    typer.echo(rule.text(found, rules))


def _written_last() -> Path:
    """Return the folder of this machine that was written last: of a full, a quick or a GPU's run."""
    folders = [_folder(machine.cores(), kind) for kind in ("", "-quick", "-gpu", "-quick-gpu")]
    written = {path: path.stat().st_mtime for folder in folders for path in folder.glob("*.json")}
    if not written:
        others = sorted(path.parent.name for path in RESULTS.glob("*/peers.json"))
        raise InputError(
            f"there are no results of this machine in {RESULTS}: python -m benchmarks run --quick makes some; "
            f"those of {', '.join(others) or 'no other'} are there"
        )
    return max(written, key=lambda path: written[path]).parent


def main() -> None:
    """Run the command line; what the user can mend is one line."""
    try:
        app(prog_name="python -m benchmarks")
    except InputError as error:
        sys.exit(_said(str(error)))
    except OSError as error:  # a folder that is a file, or may not be written
        sys.exit(_said(f"{error.filename}: {error.strerror}; name another with --output, or another folder"))


def _said(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
