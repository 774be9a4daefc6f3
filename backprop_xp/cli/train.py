"""train: from a data set to a model file."""

import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from backprop_xp import __version__, backends, display, engines, flags, reporting
from backprop_xp.callbacks import Callback, JsonLines, PrintProgress
from backprop_xp.checkpoints import Checkpoints
from backprop_xp.cli import options
from backprop_xp.cli.record import recorder
from backprop_xp.datasets import BUILT_IN, load
from backprop_xp.errors import InputError
from backprop_xp.job import Job, prepare, share
from backprop_xp.model import Model
from backprop_xp.tensorboard import TensorBoard
from backprop_xp.training import Trainer


def train(
    context: typer.Context,
    data: options.DataSource = "digits",
    target: options.TargetOption = None,
    task: options.TaskOption = None,
    drop: options.DropOption = None,
    device: options.DeviceOption = "cpu",
    backend: options.BackendOption = None,
    engine: options.EngineOption = "auto",
    precision: options.PrecisionOption = "float32",
    hidden: options.HiddenOption = "128",
    activation: options.ActivationOption = "relu",
    loss: options.LossOption = None,
    optimizer: options.OptimizerOption = "adam",
    learning_rate: options.LearningRateOption = None,
    schedule: options.ScheduleOption = "constant",
    batch_size: options.BatchSizeOption = 32,
    epochs: options.EpochsOption = 100,
    validation: options.ValidationOption = None,
    patience: options.PatienceOption = 10,
    dropout: options.DropoutOption = 0.0,
    l2: options.L2Option = 0.0,
    clip_norm: options.ClipNormOption = None,
    seed: options.SeedOption = 0,
    dtype: options.DtypeOption = "float32",
    output: options.OutputOption = Path("model.safetensors"),
    plot: options.PlotOption = None,
    log: options.LogOption = None,
    record: options.RecordOption = None,
    tensorboard: options.TensorBoardOption = None,
    checkpoint: options.CheckpointOption = None,
    every: options.EveryOption = None,
    every_steps: options.EveryStepsOption = None,
    keep: options.KeepOption = None,
    resume: options.ResumeOption = False,
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

    A run with --record FILE can be looked at afterwards:

      backprop-xp train digits --record digits.run && backprop-xp report digits.run
    """
    second = None if validation is None or share(validation) is not None else validation
    written = {"--output": output, "--plot": plot, "--log": log, "--record": record}
    folders = {"--tensorboard": tensorboard, "--checkpoint": checkpoint}
    read = {"DATA": None if data in BUILT_IN else data, "--validation": second}
    flags.all_different({**read, **written, **folders})
    flags.output_file("--output", output)
    flags.output_file("--plot", plot, (".png", ".svg", ".pdf"))
    flags.output_file("--log", log)
    flags.output_file("--record", record)
    if record is not None and record.suffix.lower() in (".html", ".htm"):
        raise InputError(f"--record {str(record)!r}: {record.suffix} is for the report's page; choose another ending")
    checkpoints = _checkpoints(checkpoint, resume, {"every": every, "every_steps": every_steps, "keep": keep})
    sizes = flags.hidden(hidden)
    flags.optimizer(optimizer, learning_rate, schedule, 1)
    flags.at_least("--batch-size", batch_size, 1)
    flags.at_least("--epochs", epochs, 1)
    flags.at_least("--patience", patience, 0)
    flags.at_least("--seed", seed, 0)
    flags.allow_float64(engine if engine == "jax" else backend, dtype)
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
        callbacks=[
            *_callbacks(log, {"data": source.name, "widths": network.widths, "version": __version__}),
            *([] if record is None else [recorder(record, data, source, job, context)]),
            *([] if tensorboard is None else [TensorBoard(tensorboard)]),
        ],
    )  # fmt: skip
    for line in reporting.opening(source, job, trainer):
        display.out.print(line)
    described = {"data": source.name, "target": source.target_name, "dropped": list(drop or ())}
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "training was interrupted")  # the closing table says so
            trainer.fit(*job.train, validation_data=job.validation, resume=resume)
        seconds = time.perf_counter() - start
    finally:  # what was trained is kept whatever ended training
        _close(trainer, job, described, output=output, plot=plot, record=record)
    if trainer.history:
        display.out.print(
            f"{seconds:.1f} s; next, on rows it has not seen: backprop-xp evaluate {output} DATA", style="dim"
        )
    return 130 if trainer.stopped == "interrupted" else 0


def _checkpoints(folder: Path | None, resume: bool, given: dict[str, int | None]) -> Checkpoints | None:
    how = {name: value for name, value in given.items() if value is not None}
    if folder is not None:
        return Checkpoints(folder, **how)
    if resume:
        raise InputError("--resume needs to know from where: give --checkpoint FOLDER")
    for name in how:
        raise InputError(f"--{name.replace('_', '-')} needs to know where: give --checkpoint FOLDER")
    return None


def _callbacks(log: Path | None, header: dict[str, Any]) -> list[Callback]:
    progress: Callback = display.ProgressBar(display.out) if display.out.is_terminal else PrintProgress()
    return [progress, *([JsonLines(log, header)] if log else [])]


def _close(
    trainer: Trainer, job: Job, described: dict[str, Any], *, output: Path, plot: Path | None, record: Path | None
) -> None:
    """Write what was trained, show how it ended, and say how to go on."""
    if trainer.history:
        _model(trainer, job, described).save(output)
        if plot is not None:
            display.save_curves(trainer.history, plot)
        display.out.print(display.table("result", reporting.closing(trainer, model=output, curves=plot, run=record)))
    if trainer.checkpoint is not None and trainer.stopped in ("interrupted", "terminated"):
        display.out.print("the same command with --resume goes on from here")


def _model(trainer: Trainer, job: Job, described: dict[str, Any]) -> Model:
    setting = {} if job.loss.parameter is None else {"loss_setting": job.loss.parameter}
    return replace(
        trainer.model, target=job.target, preprocessing=job.encoder.to_json(), extra={**described, **setting}
    )
