"""The command line: train, predict, evaluate, parity, info."""

import json
import os
import platform
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from backprop_xp import __version__, backends, display, engines, flags, reporting
from backprop_xp.callbacks import Callback, JsonLines, PrintProgress
from backprop_xp.checkpoints import Checkpoints
from backprop_xp.datasets import BUILT_IN, load
from backprop_xp.errors import DivergedError, InputError, lookup
from backprop_xp.job import Job, prepare, share
from backprop_xp.model import Model
from backprop_xp.model import load as load_model
from backprop_xp.parity import DTYPES, compare
from backprop_xp.scoring import scores
from backprop_xp.tables import TableEncoder, encoder_from_json
from backprop_xp.training import Trainer

# Typer carries its own copy of click since 0.26, under a private name; the base class of its errors is found through
# what is public.
_UsageError: type[Any] = typer.BadParameter.__mro__[1].__mro__[1]

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Train multilayer perceptrons on the CPU or a GPU, and use them. Start with: backprop-xp train",
)  # fmt: skip
# A file or a pipe has no width of its own.
_WIDTH = None if sys.stdout is not None and sys.stdout.isatty() else int(os.environ.get("COLUMNS") or 160)
out = display.Screen(highlight=False, markup=False, width=_WIDTH)

DataSource = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help=f"A built-in data set ({', '.join(BUILT_IN)}) or a file: .csv, .tsv, .parquet, .npz, .npy, idx(.gz).",
    ),
]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file that train wrote.")]
TargetOption = Annotated[
    str | None,
    typer.Option(
        help="The column to learn, or a comparison: 'arr_delay > 15'. For .npy and idx: the file of labels.",
        rich_help_panel="Data",
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto: CUDA if there is a device.", rich_help_panel="Machine")
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        help="numpy, cupy, jax, torch or array_api_strict. Default: numpy on the CPU, cupy on CUDA.",
        rich_help_panel="Machine",
    ),
]


def run(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0; 2 for unusable input, 1 for other failures, 130 after Ctrl-C.

    SIGTERM ends a `train` that keeps checkpoints by SystemExit, with 143.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    """
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except _UsageError as error:
        if not error.format_message():  # no command was given, and the help has been shown
            return 2
        return _fail(f"{error.format_message()} (backprop-xp --help tells more)")
    except DivergedError as error:
        return _fail(str(error), 1)
    except MemoryError as error:
        return _fail(f"not enough memory ({error}): use fewer rows, a smaller --hidden or --batch-size", 1)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            out.on_broken_pipe()
            return 0
        return _fail(f"cannot write the output: {error.strerror}", 1)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int = 2) -> int:
    print(f"backprop-xp: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _version(wanted: bool) -> None:
    if wanted:
        print(f"backprop-xp {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def train(
    data: DataSource = "digits",
    target: TargetOption = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classification, multilabel or regression. Default: classification for text, true/false "
            "and at most 20 whole numbers.",
            rich_help_panel="Data",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="A column that is no input; may be given repeatedly.", rich_help_panel="Data"),
    ] = None,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
    engine: Annotated[
        str,
        typer.Option(
            help="How steps are run: auto, eager, jax, torch, loops (compiled, for tiny networks) or cuda_graph.",
            rich_help_panel="Machine",
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="Of matrix products of float32: float32, tf32 or bfloat16. Engines jax, torch and cuda_graph.",
            rich_help_panel="Machine",
        ),
    ] = "float32",
    hidden: Annotated[
        str,
        typer.Option(help="Units of each hidden layer, such as 256,128; none for no layer.", rich_help_panel="Network"),
    ] = "128",
    activation: Annotated[
        str,
        typer.Option(
            help="relu, leaky_relu, elu, selu, gelu, silu, mish, tanh, sigmoid, softplus or identity.",
            rich_help_panel="Network",
        ),
    ] = "relu",
    loss: Annotated[
        str | None,
        typer.Option(
            help="cross_entropy, binary_cross_entropy, squared_error, half_squared_error, absolute_error, huber:DELTA, "
            "poisson or pinball:QUANTILE. Default: told from the task.",
            rich_help_panel="Network",
        ),
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="sgd, momentum, nesterov, rmsprop, adam or adamw.", rich_help_panel="Training")
    ] = "adam",
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Default: 0.001 for rmsprop, adam and adamw, 0.02 with momentum, 0.1 for sgd.",
            rich_help_panel="Training",
        ),
    ] = None,
    schedule: Annotated[
        str,
        typer.Option(
            help="constant, step, exponential, inverse_scaling, cosine, warmup_cosine or one_cycle.",
            rich_help_panel="Training",
        ),
    ] = "constant",
    batch_size: Annotated[int, typer.Option(help="Rows a step.", rich_help_panel="Training")] = 32,
    epochs: Annotated[
        int, typer.Option(help="Passes over the training rows, at most.", rich_help_panel="Training")
    ] = 100,
    validation: Annotated[
        str | None,
        typer.Option(
            help="Share of the rows kept for validation, 0 for none, or a second file. Default: 0.2; 0 under 20 rows.",
            rich_help_panel="Data",
        ),
    ] = None,
    patience: Annotated[
        int,
        typer.Option(
            help="Stop after so many epochs without a better validation loss, and keep the best; 0 never stops.",
            rich_help_panel="Training",
        ),
    ] = 10,
    dropout: Annotated[
        float, typer.Option(help="Share of hidden units dropped in each step.", rich_help_panel="Network")
    ] = 0.0,
    l2: Annotated[
        float, typer.Option(help="L2 penalty: half of this times the squared weights.", rich_help_panel="Training")
    ] = 0.0,
    clip_norm: Annotated[
        float | None, typer.Option(help="Largest norm of the gradient over all parameters.", rich_help_panel="Training")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(help="Of the weights, the order of rows, the split and the dropout.", rich_help_panel="Training"),
    ] = 0,
    dtype: Annotated[str, typer.Option(help="float32 or float64.", rich_help_panel="Machine")] = "float32",
    output: Annotated[Path, typer.Option(help="The model file to write.", rich_help_panel="Files")] = Path(
        "model.safetensors"
    ),
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curves: .png, .svg or .pdf.", rich_help_panel="Files")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Write a JSON line an epoch.", rich_help_panel="Files")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A folder in which the run's state is kept, for --resume.", rich_help_panel="Checkpoints"),
    ] = None,
    every: Annotated[int, typer.Option(help="Epochs between two checkpoints.", rich_help_panel="Checkpoints")] = 1,
    every_steps: Annotated[
        int | None,
        typer.Option(help="Steps between two checkpoints within a long epoch.", rich_help_panel="Checkpoints"),
    ] = None,
    keep: Annotated[int, typer.Option(help="The last so many stay.", rich_help_panel="Checkpoints")] = 3,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the newest whole checkpoint, bit for bit; where there is none, begin.",
            rich_help_panel="Checkpoints",
        ),
    ] = False,
) -> int:
    """Train a network on DATA and save it.

    Tables are taken as they are: numbers are imputed and standardised, text is
    one-hot, dates become numbers. All of it is kept in the model file, so that
    predict takes raw rows.

    For example:

      backprop-xp train

      backprop-xp train flights.csv --target 'arr_delay > 15' --hidden 256,128 --batch-size 512

      backprop-xp train train-images-idx3-ubyte.gz --hidden 256,128,100 --device cuda --plot curves.png

    A run with --checkpoint DIR may be killed at any moment: the same command with
    --resume goes on as if nothing had happened.

      backprop-xp train flights.csv --target 'arr_delay > 15' --checkpoint run1 --resume
    """
    second = None if validation is None or share(validation) is not None else validation
    flags.all_different({"DATA": data, "--validation": second, "--output": output, "--plot": plot, "--log": log})
    flags.output_file("--output", output)
    flags.output_file("--plot", plot, (".png", ".svg", ".pdf"))
    flags.output_file("--log", log)
    if resume and checkpoint is None:
        raise InputError("--resume needs to know from where: give --checkpoint FOLDER")
    checkpoints = None if checkpoint is None else Checkpoints(checkpoint, every, every_steps, keep)
    sizes = flags.hidden(hidden)
    flags.optimizer(optimizer, learning_rate, schedule, 1)
    _at_least("--batch-size", batch_size, 1)
    _at_least("--epochs", epochs, 1)
    _at_least("--patience", patience, 0)
    _at_least("--seed", seed, 0)
    _allow_float64(engine if engine == "jax" else backend, dtype)
    backends.select(device, engines.backend_for(engine, device, backend), dtype)

    source = load(data, target, drop=tuple(drop or ()))
    job = prepare(source, task=task, loss=loss, validation=validation, seed=seed, dtype=dtype)
    network = job.network(sizes, activation)
    n_rows = len(job.train[0])
    metric = "r2" if job.target.task == "regression" else "accuracy"
    trainer = Trainer(
        network, job.loss, flags.optimizer(optimizer, learning_rate, schedule, epochs * -(-n_rows // batch_size)),
        device=device, backend=backend, engine=engine, precision=precision, batch_size=batch_size,
        epochs=epochs, seed=seed, dtype=dtype,
        initializer=flags.INITIALIZERS.get(activation, "glorot_uniform"), l2=l2, clip_norm=clip_norm,
        dropout=dropout, metrics=(metric,), patience=patience if patience and job.validation else None,
        checkpoint=checkpoints,
        callbacks=_callbacks(log, {"data": source.name, "widths": network.widths, "version": __version__}),
    )  # fmt: skip
    for line in reporting.opening(source, job, trainer):
        out.print(line)
    described = {"data": source.name, "target": source.target_name, "dropped": list(drop or ())}
    try:
        seconds = _fitted(trainer, job, resume)
    finally:  # what was trained is kept whatever ended training
        if trainer.history:
            _model(trainer, job, described).save(output)
            if plot is not None:
                display.save_curves(trainer.history, plot)
            out.print(display.table("result", reporting.closing(trainer, model=output, curves=plot)))
        if checkpoint is not None and trainer.stopped in ("interrupted", "terminated"):
            out.print("the same command with --resume goes on from here")
    if trainer.history:
        out.print(f"{seconds:.1f} s; next, on rows it has not seen: backprop-xp evaluate {output} DATA", style="dim")
    return 130 if trainer.stopped == "interrupted" else 0


@app.command()
def predict(
    model: ModelFile,
    data: DataSource,
    output: Annotated[
        Path | None, typer.Option(help="The file to write, .csv or .parquet. Default: CSV on the standard output.")
    ] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Add the probability of each class.")] = False,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
) -> int:
    """Predict every row of DATA with MODEL.

    A table needs the columns that the model was trained on, by name and in any order; others are left aside.
    """
    flags.all_different({"MODEL": model, "DATA": data, "--output": output})
    flags.output_file("--output", output, (".csv", ".parquet"))
    chosen = load_model(model)
    if proba and (chosen.target is None or chosen.target.task == "regression"):
        raise InputError("--proba: this model predicts numbers, which have no probabilities; leave it out")
    X, _ = _encoded(chosen, data, None, need_target=False)
    outputs = _outputs(chosen, X, device, backend)
    classes = None if chosen.target is None else chosen.target.classes
    columns = display.predictions(chosen.decide(outputs), outputs, classes, with_outputs=proba)
    _write_table(columns, output)
    if output is not None:
        out.print(f"{len(outputs):,} predictions written to {output}")
    return 0


@app.command()
def evaluate(
    model: ModelFile,
    data: DataSource,
    target: TargetOption = None,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> int:
    """Compare MODEL's predictions with the targets in DATA."""
    chosen = load_model(model)
    X, values = _encoded(chosen, data, target, need_target=True)
    if Path(data).name == chosen.extra.get("data"):
        print(
            "the model was trained on data of this name: rows it has not seen are likely to do worse", file=sys.stderr
        )
    figures = scores(chosen, _outputs(chosen, X, device, backend), values)
    if as_json:
        print(json.dumps({"rows": len(X), **figures}))
    else:
        out.print(display.table(f"{model} on {data}: {len(X):,} rows", display.figures(figures)))
    return 0


@app.command()
def parity(
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
    engine: Annotated[
        str, typer.Option(help="How steps are run there: eager, jax, torch, loops or cuda_graph.")
    ] = "eager",
    dtype: Annotated[str | None, typer.Option(help="float32 or float64. Default: both.")] = None,
    activation: Annotated[str, typer.Option(help="Of the hidden layers.")] = "tanh",
    steps: Annotated[int, typer.Option(help="Steps of the small job.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the job.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> int:
    """Train a small job on NumPy and on a device, and compare them step by step.

    It is what to run on a new machine before trusting it. The exit code is 1 if
    the two part by more than rounding explains.

    For example:

      backprop-xp parity --device cuda

      backprop-xp parity --backend jax --json
    """
    _at_least("--steps", steps, 1)
    _at_least("--seed", seed, 0)
    if dtype is not None:
        lookup("dtype", dtype, dict.fromkeys(DTYPES))
    dtypes = DTYPES if dtype is None else (dtype,)
    for each in dtypes:
        _allow_float64(engine if engine == "jax" else backend, each)
    report = compare(device, backend, engine, dtypes=dtypes, steps=steps, activation=activation, seed=seed)
    if as_json:
        print(json.dumps(report.to_json()))
    else:
        title = f"{report.backend} on {report.device}, engine {engine}, beside NumPy: {steps} steps"
        out.print(display.table(title, *reporting.parity(report)))
        out.print(reporting.verdict(report))
    return 0 if report.parted is None else 1


@app.command()
def info(
    model: Annotated[Path | None, typer.Argument(metavar="[MODEL]", help="A model file to describe.")] = None,
) -> int:
    """Show devices, libraries, BLAS and what each missing extra would add; or what a MODEL file holds."""
    if model is not None:
        out.print(display.table(str(model), reporting.described(load_model(model))))
        return 0
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    rows = [
        ("backprop-xp", __version__),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("NumPy", f"{np.__version__}, BLAS {blas.get('name')} {blas.get('version')}"),
        ("processor", f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"),
        ("engine auto", engines.rule()),
    ]
    out.print(display.table("this machine", rows))
    libraries = [
        (row.name, row.version or "not installed", row.devices or row.install, row.adds) for row in backends.installed()
    ]
    out.print(display.table("optional", libraries, ("library", "version", "devices, or how to install", "adds")))
    return 0


def _encoded(model: Model, data: str, target: str | None, *, need_target: bool) -> tuple[NDArray[Any], Any]:
    """Return (X, raw targets) of the data, made ready as the model's training data were."""
    if model.preprocessing is None:
        raise InputError("this model was saved by the library, without preprocessing: use backprop_xp.load in Python")
    encoder = encoder_from_json(model.preprocessing)
    source = load(data, target or model.extra.get("target"), need_target=need_target)
    if isinstance(encoder, TableEncoder) and hasattr(source.inputs, "column_names"):
        ignored = [name for name in encoder.extra(source.inputs) if name not in model.extra.get("dropped", ())]
        if ignored:
            print(f"columns the model was not trained on are ignored: {', '.join(ignored)}", file=sys.stderr)
    X = encoder.transform(source.inputs, str(model.params[0][0].dtype))
    if X.shape[1] != model.network.widths[0]:
        raise InputError(f"the model file is damaged: {X.shape[1]} features for {model.network.widths[0]} inputs")
    return X, source.target


def _outputs(model: Model, X: NDArray[Any], device: str, backend: str | None) -> NDArray[Any]:
    """Return the network's outputs, once all are finite."""
    _allow_float64(backend, str(model.params[0][0].dtype))
    outputs = model.outputs(X, device=device, backend=backend)
    if not np.isfinite(outputs).all():
        row = int(np.argmin(np.isfinite(outputs).all(axis=1)))
        raise InputError(f"the model's output for row {row + 1} is not finite: are its inputs like those of training?")
    return outputs


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{name} must be at least {least}, not {value}")


def _allow_float64(backend: str | None, dtype: str) -> None:
    if backend == "jax" and dtype == "float64":
        os.environ.setdefault("JAX_ENABLE_X64", "1")  # read when JAX is first imported, which comes after


def _callbacks(log: Path | None, header: dict[str, Any]) -> list[Callback]:
    progress: Callback = display.ProgressBar(out) if out.is_terminal else PrintProgress()
    return [progress, *([JsonLines(log, header)] if log else [])]


def _fitted(trainer: Trainer, job: Job, resume: bool) -> float:
    """Train, and return the seconds it took."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "training was interrupted")  # the closing table says so
        trainer.fit(*job.train, validation_data=job.validation, resume=resume)
    return time.perf_counter() - start


def _model(trainer: Trainer, job: Job, described: dict[str, Any]) -> Model:
    return replace(trainer.model, target=job.target, preprocessing=job.encoder.to_json(), extra=described)


def _write_table(columns: dict[str, NDArray[Any]], path: Path | None) -> None:
    """Write the columns as CSV or Parquet, or as CSV to the standard output."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    from backprop_xp.files import write_output

    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    buffer = pa.BufferOutputStream()
    if path is not None and path.suffix.lower() == ".parquet":
        parquet.write_table(table, buffer)
    else:
        csv.write_csv(table, buffer, csv.WriteOptions(quoting_style="needed"))
    content = buffer.getvalue().to_pybytes()
    if path is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)  # UTF-8, whatever the terminal's encoding
    else:
        write_output(path, content)
