"""The options of the commands: their types, and what --help says of them."""

from pathlib import Path
from typing import Annotated

import typer

from backprop_xp.datasets import BUILT_IN

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


# Those of train alone.
TaskOption = Annotated[
    str | None,
    typer.Option(
        help="classification, multilabel or regression. Default: classification for text, true/false "
        "and at most 20 different integers (1.0 is a quantity).",
        rich_help_panel="Data",
    ),
]
DropOption = Annotated[
    list[str] | None,
    typer.Option(help="A column that is no input; may be given repeatedly.", rich_help_panel="Data"),
]
EngineOption = Annotated[
    str,
    typer.Option(
        help="How steps are run: auto, eager, jax, torch, loops (compiled by numba) or cuda_graph.",
        rich_help_panel="Machine",
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        help="Of matrix products of float32: float32, tf32 or bfloat16. Engines jax, torch and cuda_graph.",
        rich_help_panel="Machine",
    ),
]
HiddenOption = Annotated[
    str,
    typer.Option(help="Units of each hidden layer, such as 256,128; none for no layer.", rich_help_panel="Network"),
]
ActivationOption = Annotated[
    str,
    typer.Option(
        help="relu, leaky_relu, elu, selu, gelu, silu, mish, tanh, sigmoid, softplus or identity.",
        rich_help_panel="Network",
    ),
]
LossOption = Annotated[
    str | None,
    typer.Option(
        help="cross_entropy, binary_cross_entropy, squared_error, half_squared_error, absolute_error, huber:DELTA, "
        "poisson or pinball:QUANTILE. Default: told from the task.",
        rich_help_panel="Network",
    ),
]
OptimizerOption = Annotated[
    str, typer.Option(help="sgd, momentum, nesterov, rmsprop, adam or adamw.", rich_help_panel="Training")
]
LearningRateOption = Annotated[
    float | None,
    typer.Option(
        help="Default: 0.001 for rmsprop, adam and adamw, 0.02 with momentum, 0.1 for sgd.",
        rich_help_panel="Training",
    ),
]
ScheduleOption = Annotated[
    str,
    typer.Option(
        help="constant, step, exponential, inverse_scaling, cosine, warmup_cosine or one_cycle.",
        rich_help_panel="Training",
    ),
]
BatchSizeOption = Annotated[int, typer.Option(help="Rows a step.", rich_help_panel="Training")]
EpochsOption = Annotated[int, typer.Option(help="Passes over the training rows, at most.", rich_help_panel="Training")]
ValidationOption = Annotated[
    str | None,
    typer.Option(
        help="Share of the rows kept for validation, 0 for none, or a second file. Default: 0.2; 0 under 20 rows.",
        rich_help_panel="Data",
    ),
]
PatienceOption = Annotated[
    int,
    typer.Option(
        help="Stop after so many epochs without a better validation loss, and keep the best; 0 never stops.",
        rich_help_panel="Training",
    ),
]
DropoutOption = Annotated[
    float, typer.Option(help="Share of hidden units dropped in each step.", rich_help_panel="Network")
]
L2Option = Annotated[
    float, typer.Option(help="L2 penalty: half of this times the squared weights.", rich_help_panel="Training")
]
ClipNormOption = Annotated[
    float | None, typer.Option(help="Largest norm of the gradient over all parameters.", rich_help_panel="Training")
]
SeedOption = Annotated[
    int,
    typer.Option(help="Of the weights, the order of rows, the split and the dropout.", rich_help_panel="Training"),
]
DtypeOption = Annotated[str, typer.Option(help="float32 or float64.", rich_help_panel="Machine")]
OutputOption = Annotated[Path, typer.Option(help="The model file to write.", rich_help_panel="Files")]
PlotOption = Annotated[Path | None, typer.Option(help="Draw the curves: .png, .svg or .pdf.", rich_help_panel="Files")]
LogOption = Annotated[Path | None, typer.Option(help="Write a JSON line an epoch.", rich_help_panel="Files")]
RecordOption = Annotated[
    Path | None,
    typer.Option(help="Record the run: report makes a page of it, explain one of its steps.", rich_help_panel="Files"),
]
TensorBoardOption = Annotated[
    Path | None,
    typer.Option("--tensorboard", help="A folder for TensorBoard's events.", rich_help_panel="Files"),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(help="A folder in which the run's state is kept, for --resume.", rich_help_panel="Checkpoints"),
]
EveryOption = Annotated[
    int | None, typer.Option(help="Epochs between two checkpoints. Default: 1.", rich_help_panel="Checkpoints")
]
EveryStepsOption = Annotated[
    int | None,
    typer.Option(help="Steps between two checkpoints within a long epoch.", rich_help_panel="Checkpoints"),
]
KeepOption = Annotated[
    int | None, typer.Option(help="The last so many stay. Default: 3.", rich_help_panel="Checkpoints")
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on from the newest whole checkpoint, bit for bit; where there is none, begin.",
        rich_help_panel="Checkpoints",
    ),
]
