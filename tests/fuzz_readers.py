"""Files from strangers: valid ones are changed in their own structure, and each reader may refuse them, no more.

    python tests/fuzz_readers.py --inputs 100000

Hypothesis draws the changes: of a file's bytes; of a header's JSON; of an array's claimed shape and type, in an archive
that is sound; of a table's fields. A reader fails if it raises anything but InputError, takes more than five seconds,
or 1 GiB of memory. The example is printed in its smallest form.
"""

import argparse
import contextlib
import faulthandler
import gzip
import io
import json
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import backprop_xp as bx
from backprop_xp import backends, checkpoints, datasets, run_report
from backprop_xp.early_stopping import Best
from backprop_xp.errors import InputError
from backprop_xp.job import prepare
from backprop_xp.tables import TableEncoder
from backprop_xp.targets import Target

SECONDS, BYTES = 5.0, 2**30
NETWORK = bx.Network((3, 4, 2), activation="tanh", output="softmax")
DATA = np.linspace(-1, 1, 36, dtype=np.float32).reshape(12, 3)
LABELS = np.arange(12) % 2
TABLE = pa.table({"a": DATA[:, 0], "b": ["x"] * 12})  # three features: a, b=x, b other

ODD_NUMBERS = [
    0,
    -1,
    1,
    2,
    3,
    255,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**62,
    2**63,
    2**64,
    10**30,
    1.5,
    -0.0,
    1e308,
]
ODD = st.one_of(
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from([None, True, False, "", "a", "\x00", "é", [], {}, [[]], [2**40] * 3, {"a": 1}, float("nan")]),
    st.integers(-(2**70), 2**70),
    st.text(max_size=8),
)


# Changes


def bytes_changed(draw: Any, content: bytes) -> bytes:
    """Return the content with some bytes set, cut out, doubled or cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        if not changed:
            break
        at, how = draw(st.integers(0, len(changed) - 1)), draw(st.integers(0, 4))
        if how == 0:
            changed[at] = draw(st.integers(0, 255))
        elif how == 1:
            changed[at : at + draw(st.integers(1, 16))] = draw(st.binary(max_size=16))
        elif how == 2:
            changed[at:at] = changed[at : at + draw(st.integers(1, 64))]
        elif how == 3:
            del changed[at:]
        else:
            changed[at : at + 8] = struct.pack(draw(st.sampled_from("<>")) + "Q", draw(st.integers(0, 2**64 - 1)))
    return bytes(changed)


def json_changed(draw: Any, value: Any) -> Any:
    """Return a JSON value in which a place, drawn on the way down, is another."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 5)):
            return {name: each for name, each in value.items() if name != key}
        return {**value, key: json_changed(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], json_changed(draw, value[at]), *value[at + 1 :]]
    return draw(ODD)


def tensors_changed(draw: Any, content: bytes) -> bytes:
    """Return a safetensors file with another header: safetensors' own, or the JSON within."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if draw(st.booleans()):
        inner = json.loads(header["__metadata__"]["backprop_xp"])
        for _ in range(draw(st.integers(1, 3))):
            inner = json_changed(draw, inner)
        header["__metadata__"]["backprop_xp"] = json.dumps(inner)
    else:
        header = json_changed(draw, header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def array_file(draw: Any) -> bytes:
    """Return a .npy file whose header claims what it does not hold."""
    buffer = io.BytesIO()
    np.lib.format.write_array(
        buffer, draw(st.sampled_from([DATA, LABELS, DATA.astype(">f8"), np.asarray(["a", "bc"])]))
    )
    content = buffer.getvalue()
    shape = draw(st.lists(st.one_of(st.sampled_from(ODD_NUMBERS[:13]), st.integers(-9, 99)), max_size=4))
    kind = draw(
        st.sampled_from(["<f4", ">i8", "|u1", "<f2", "|O", "<U9", "<M8[s]", "V7", "<c16", "|b1", "<f99", "", "x"])
    )
    claim = {"descr": kind, "fortran_order": draw(st.booleans()), "shape": tuple(shape)}
    if not draw(st.integers(0, 4)):
        claim = json_changed(draw, {**claim, "shape": list(shape)})
    text = (repr(claim) + " " * draw(st.integers(0, 64)) + "\n").encode()
    version = draw(st.sampled_from([b"\1\0", b"\2\0", b"\3\0", b"\4\0"]))
    length = struct.pack("<H" if version == b"\1\0" else "<I", len(text) % 2**16)
    return content[:6] + version + length + text + content[128 : 128 + draw(st.integers(0, 400))]


def npz_changed(draw: Any, content: bytes) -> bytes:
    """Return an archive, sound as such, of arrays that are not."""
    buffer = io.BytesIO()
    how = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    with zipfile.ZipFile(buffer, "w", how) as archive, zipfile.ZipFile(io.BytesIO(content)) as sound:
        for name in ("X", "y"):
            kept = draw(st.integers(0, 3)) == 0
            archive.writestr(f"{name}.npy", sound.read(f"{name}.npy") if kept else array_file(draw))
    return buffer.getvalue()


def idx_changed(draw: Any, content: bytes) -> bytes:
    """Return an idx file of another type, number of axes and sizes, compressed or not."""
    magic = bytes([0, 0, draw(st.sampled_from([8, 9, 11, 12, 13, 14, 0, 255])), draw(st.integers(0, 6))])
    sizes = b"".join(struct.pack(">I", draw(st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)))) for _ in range(3))
    changed = magic + sizes[: draw(st.integers(0, 12))] + content[16 : 16 + draw(st.integers(0, 200))]
    return gzip.compress(changed, 1, mtime=0) if draw(st.booleans()) else changed


FIELDS = st.one_of(
    st.sampled_from(["", "nan", "NA", "inf", "-inf", "1e999", "1e-999", "0x10", "1_0", "--1", "9" * 400, "true", "1,5",
                     '"', '""', '"a,b"', "'", "\x00", "\ufeff", "é", "\U0001f600",
                     "2024-01-01", "2024-13-45", "25:61", "=1+1", " ", "\t", ";", "|", "\r", "null", "x" * 5000]),
    st.text(max_size=6),
    st.floats().map(repr),
    st.integers(-(2**80), 2**80).map(str),
)  # fmt: skip


def csv_changed(draw: Any, content: bytes) -> bytes:
    """Return a table with other fields, delimiters and line ends."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(draw(st.integers(1, 6))):
        row = draw(st.integers(0, len(rows) - 1))
        how = draw(st.integers(0, 3))
        if how == 0 and rows[row]:
            rows[row][draw(st.integers(0, len(rows[row]) - 1))] = draw(FIELDS)
        elif how == 1:
            rows[row].append(draw(FIELDS))
        elif how == 2:
            del rows[row][-1:]
        else:
            rows = [[*each, draw(FIELDS)] for each in rows[: draw(st.integers(1, len(rows)))]]
    delimiter, end = draw(st.sampled_from([",", ";", "\t", "|", " "])), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = end.join(delimiter.join(row) for row in rows)
    return text.encode(draw(st.sampled_from(["utf-8", "utf-16", "latin-1"])), "replace")


# Readers


def _sound(form: str) -> bytes:
    """Return a file that the reader takes."""
    buffer = io.BytesIO()
    if form == "npz":
        np.savez_compressed(buffer, X=DATA, y=LABELS)
    elif form == "npy":
        np.save(buffer, DATA)
    elif form == "idx":
        buffer.write(bytes([0, 0, 8, 3]) + struct.pack(">3I", 12, 2, 3) + bytes(range(72)))
    elif form == "csv":
        lines = [
            f"{a:.3f},{b:.2f},{'north' if c > 0 else 'south'},{label}"
            for (a, b, c), label in zip(DATA, LABELS, strict=True)
        ]
        buffer.write("\n".join(["a,b,c,target", *lines]).encode())
    elif form == "parquet":
        from pyarrow import parquet

        parquet.write_table(pa.table({"a": DATA[:, 0], "b": ["x"] * 12, "target": LABELS}), buffer)
    else:
        with tempfile.TemporaryDirectory() as place:
            trainer = bx.Trainer(
                NETWORK, optimizer=bx.adam(), epochs=1, checkpoint=Path(place, "c"),
                callbacks=[bx.Recorder(Path(place, "r"))],
            )  # fmt: skip
            trainer.fit(DATA, LABELS)
            encoder, target = TableEncoder.fit(TABLE), Target.fit(LABELS)
            replace(trainer.model, target=target, preprocessing=encoder.to_json()).save(Path(place, "m"))
            (kept,) = Path(place, "c").iterdir()
            buffer.write({"model": Path(place, "m"), "checkpoint": kept, "run": Path(place, "r")}[form].read_bytes())
    return buffer.getvalue()


def read_model(path: Path) -> None:
    """Read it as a model, and predict."""
    model = bx.load(path)
    model.predict(np.zeros((2, model.network.widths[0])) if model.preprocessing is None else TABLE)


def read_checkpoint(path: Path) -> None:
    """Read it as the one checkpoint of a folder; damaged, it is passed over, which raises nothing."""
    rule, params = bx.adam(), bx.init(NETWORK, seed=0)
    begun = checkpoints.Progress(params, rule.init(params), Best(), 0, [], np.empty(0, np.float32))
    folder = path.parent / "folder"
    folder.mkdir(exist_ok=True)
    path.replace(folder / "epoch-00000001-step-0000000000.safetensors")
    with bx.Checkpoints(folder).opened() as opened:
        opened.resumed(begun, 3, backends.select("cpu", None, "float32"))


def read_run(path: Path) -> None:
    """Read it as a recorded run, and make both pages of it."""
    run_report.written(bx.load_run(path), "r")


def read_data(path: Path) -> None:
    """Read it as the data of a job."""
    labels = str(path.with_name("labels-idx1-ubyte")) if path.suffix == ".npy" else None
    source = datasets.load(str(path), labels)
    prepare(source, task=None, loss=None, validation="0.2", seed=0, dtype="float32")


READERS: dict[str, tuple[str, Callable[[Path], None], Callable[[Any, bytes], bytes]]] = {
    "model": ("m.safetensors", read_model, tensors_changed),
    "checkpoint": ("c.safetensors", read_checkpoint, tensors_changed),
    "run": ("r.run", read_run, tensors_changed),
    "csv": ("d.csv", read_data, csv_changed),
    "npz": ("d.npz", read_data, npz_changed),
    "npy": ("d.npy", read_data, lambda draw, content: array_file(draw)),
    "idx": ("images-idx3-ubyte", read_data, idx_changed),
    "parquet": ("d.parquet", read_data, bytes_changed),
}


@contextlib.contextmanager
def counted_memory() -> Iterator[None]:
    """Have Arrow take memory from the system: its own allocator reserves a gigabyte at a time, and uses little."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Let InputError pass, and nothing else: no other error, no hang, no gigabyte."""
    before, start = virtual_memory(), time.perf_counter()
    faulthandler.dump_traceback_later(12 * SECONDS, exit=True)  # for a hang in compiled code
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        pass
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert time.perf_counter() - start < SECONDS, "too slow"
    assert virtual_memory() - before < BYTES, "too much memory"


def virtual_memory() -> int:
    """Return the most memory that this process has asked for, in bytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmPeak"))
    return int(line.split()[1]) * 1024


def fuzz(name: str, n_inputs: int, number: int = 0) -> None:
    """Give the reader this many files; raise what went wrong with the smallest that does."""
    file, read, change = READERS[name]
    sound = _sound(name)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, file)
        (Path(place, "labels-idx1-ubyte")).write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 12]) + bytes(LABELS.tolist()))
        path.write_bytes(sound)
        read(path)  # the one that was not changed is taken

        @seed(number)
        @settings(max_examples=n_inputs, deadline=None, database=None, suppress_health_check=list(HealthCheck),
                  phases=(Phase.generate, Phase.shrink))  # fmt: skip
        @given(st.data())
        def each(data: Any) -> None:
            changed = (change if data.draw(st.integers(0, 2)) else bytes_changed)(data.draw, sound)
            path.write_bytes(changed)
            with guarded():
                read(path)

        with counted_memory():
            each()


def main(arguments: list[str] | None = None) -> int:
    """Fuzz every reader; return 0 if none failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="for each reader")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    at_once = 2000  # Hypothesis remembers what it drew
    for name in options.readers:
        start = time.perf_counter()
        for k, first in enumerate(range(0, options.inputs, at_once)):
            fuzz(name, min(at_once, options.inputs - first), options.seed + k)
        print(f"{name}: {options.inputs} inputs in {time.perf_counter() - start:.0f} s, none failed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
