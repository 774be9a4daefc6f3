"""Files that could do harm: each reader refuses what it cannot take, at once and without much memory."""

import io
import struct
import zipfile

import fuzz_readers
import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp import datasets
from backprop_xp.errors import InputError


@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_changed_files_are_refused_or_read(name):
    """The short version; `python tests/fuzz_readers.py --inputs 100000` is the long one."""
    fuzz_readers.fuzz(name, 300)


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "content"), [
    ("d.csv", b"\x80,target\n1,2\n3,4\n"),
    ("d.npz", zipped(X=b"no array", y=b"nor this")),
    ("d.npz", zipped(X=b"\x93NUMPY\7\0", y=b"")),
    ("d.npz", b"PK\5\6" + b"\0" * 18),
    ("d.npz", b"\x80\4\x95"),
    ("d.npy", b"\x93NUMPY\1\0\x08\0{'descr'\0"),
    ("d.npy", b"\x93NUMPY\1\0\x0a\0({\n(((\n   "),
    ("d.npy", b"\x93NUMPY\4\0"),
    ("images-idx3-ubyte", b"\x93NUMPY\1\0\x0a\0({\n(((\n   "),
])  # fmt: skip
def test_what_the_fuzzing_found_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=str(name)):
        datasets.load(str(path))


def claiming(shape, dtype="<f4"):
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_of_ten_kilobytes_takes_no_gigabytes(tmp_path, how):
    path = tmp_path / "d.npz"
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("X.npy", claiming((2**31, 3)) + b"\0" * 10**6 * (how != zipfile.ZIP_STORED))
        archive.writestr("y.npy", claiming((2**31,)))
    before = fuzz_readers.virtual_memory()
    with pytest.raises(InputError, match=r"its header says|in an unusual way"):
        datasets.load(str(path))
    assert fuzz_readers.virtual_memory() - before < 2**28


def test_a_parquet_file_of_a_few_bytes_takes_no_gigabytes(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "d.parquet"
    zeros = pa.array(np.zeros(2**20, np.int8))
    with parquet.ParquetWriter(path, pa.schema([("a", pa.int8()), ("target", pa.int8())])) as writer:
        for _ in range(64):
            writer.write_table(pa.table({"a": zeros, "target": zeros}))
    before = fuzz_readers.virtual_memory()
    with pytest.raises(InputError, match="cannot hold"):
        datasets.load(str(path))
    assert fuzz_readers.virtual_memory() - before < 2**29


def test_lists_in_a_parquet_file_are_counted_by_their_values(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "d.parquet"
    many = pa.ListArray.from_arrays(pa.array([0, 2**24]), pa.array(np.zeros(2**24, np.int8)))
    with parquet.ParquetWriter(path, pa.schema([("a", many.type), ("target", pa.int8())])) as writer:
        for _ in range(5):
            writer.write_table(pa.table({"a": many, "target": pa.array([0], pa.int8())}))
    before = fuzz_readers.virtual_memory()
    with pytest.raises(InputError, match=r"cannot hold 671,088,6\d\d bytes"):
        datasets.load(str(path))
    assert fuzz_readers.virtual_memory() - before < 2**29


@pytest.mark.parametrize("shape", [(2**40, 3), (3, 2**40), (2**62, 2**62)])
def test_a_model_whose_header_claims_much(tmp_path, shape):
    path = tmp_path / "m"
    content = fuzz_readers._sound("model")
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].replace(b'"shape":[3,4]', b'"shape":[%d,%d]' % shape)
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + size :])
    with pytest.raises(InputError):
        bx.load(path)


def test_a_pickle_in_disguise_is_not_executed(tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    buffer = io.BytesIO()
    np.save(buffer, np.asarray([Harm()], dtype=object))
    for name in ("d.npy", "d.npz"):
        content = buffer.getvalue()
        if name == "d.npz":
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w") as packed:
                packed.writestr("X.npy", content)
            content = archive.getvalue()
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"Python objects"):
            datasets.load(str(tmp_path / name), target=str(tmp_path / name))
    assert not (tmp_path / "harm").exists()
