"""Matrix products by cuBLAS, on a handle and a workspace of our own, so that a CUDA graph can record them.

CuPy's own products refuse to be captured. Numbers and signatures are those of the headers
`cublas_api.h` of cuBLAS 12.9 and `library_types.h` of CUDA 13.0.
"""

import ctypes
import importlib
from typing import Any, NamedTuple

from backprop_xp.engines.tracing import Shape

WORKSPACE = 32 * 2**20  # bytes; what the cuBLAS manual asks for on Hopper, more than it does elsewhere

_N, _T = 0, 1  # CUBLAS_OP_N, CUBLAS_OP_T
_DATA = {"float32": 0, "float64": 1}  # CUDA_R_32F, CUDA_R_64F
_ALGORITHM = -1  # CUBLAS_GEMM_DEFAULT
_COMPUTE_64F = 70

# With "tf32" and "bfloat16" the operands stay float32 in memory and cuBLAS rounds them on the way into the tensor
# cores; sums are float32. So weights need no second copy that has to be kept in step with the first. The price: half
# the memory traffic of the operands is not saved, and for "bfloat16" the header allows cuBLAS TF32 in its place.
COMPUTE = {
    "float32": 68,  # CUBLAS_COMPUTE_32F
    "tf32": 77,  # CUBLAS_COMPUTE_32F_FAST_TF32
    "bfloat16": 75,  # CUBLAS_COMPUTE_32F_FAST_16BF
}


class Layout(NamedTuple):
    """The arguments of cublasGemmEx for a product of row-major matrices.

    A row-major matrix is the transpose of the column-major one in the same memory, and C = A B is the same as
    C^T = B^T A^T: so the operands change places, and nothing is copied.
    """

    first_operation: int
    second_operation: int
    m: int
    n: int
    k: int
    first_leading: int
    second_leading: int
    result_leading: int


def layout(a: Shape, a_transposed: bool, b: Shape, b_transposed: bool) -> Layout:
    """Return the arguments for op(A) op(B); the first operand is B, the second A.

    Parameters
    ----------
    a, b : (int, int)
        The shapes as they lie in memory, row by row.
    a_transposed, b_transposed : bool
        Whether the transpose is meant.
    """
    rows, inner = a[::-1] if a_transposed else a
    columns = b[0] if b_transposed else b[1]
    return Layout(_T if b_transposed else _N, _T if a_transposed else _N, columns, rows, inner, b[1], a[1], columns)


class Products:
    """A cuBLAS handle with its workspace.

    Parameters
    ----------
    workspace : int
        Address of WORKSPACE bytes on the device, which have to outlive the graphs.
    precision : str
        A key of COMPUTE, for float32 operands; those of float64 are multiplied in float64.

    Raises
    ------
    RuntimeError
        If cuBLAS reports an error.
    """

    def __init__(self, workspace: int, precision: str) -> None:
        self._library = _library()
        self._workspace, self._compute = workspace, COMPUTE[precision]
        self._handle = ctypes.c_void_p()
        self._check(self._library.cublasCreate_v2(ctypes.byref(self._handle)))

    def use(self, stream: int) -> None:
        """Work on this stream from now on."""
        self._check(self._library.cublasSetStream_v2(self._handle, stream))
        # Setting the stream puts back the default workspace, which a graph must not use.
        self._check(self._library.cublasSetWorkspace_v2(self._handle, self._workspace, WORKSPACE))

    def multiply(self, a: Any, a_transposed: bool, b: Any, b_transposed: bool, out: Any) -> None:
        """Write op(a) op(b) to `out`: contiguous CuPy matrices of one data type."""
        number = ctypes.c_double if out.dtype == "float64" else ctypes.c_float
        compute = _COMPUTE_64F if out.dtype == "float64" else self._compute
        kind = _DATA[out.dtype.name]
        of_b, of_a, m, n, k, ld_b, ld_a, ld_out = layout(a.shape, a_transposed, b.shape, b_transposed)
        self._check(
            self._library.cublasGemmEx(
                self._handle, of_b, of_a, m, n, k, ctypes.byref(number(1.0)),
                b.data.ptr, kind, ld_b, a.data.ptr, kind, ld_a, ctypes.byref(number(0.0)),
                out.data.ptr, kind, ld_out, compute, _ALGORITHM,
            )
        )  # fmt: skip

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.cublasDestroy_v2(self._handle)

    def _check(self, status: int) -> None:
        if status:
            raise RuntimeError(f"cuBLAS reports status {status}")


def _library() -> Any:
    """Return cuBLAS where CUDA's Python packages or the system have it, with the types of its functions."""
    pathfinder = importlib.import_module("cuda.pathfinder")
    library = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    library.cublasCreate_v2.argtypes = [pointer]
    library.cublasDestroy_v2.argtypes = [pointer]
    library.cublasSetStream_v2.argtypes = [pointer, pointer]
    library.cublasSetWorkspace_v2.argtypes = [pointer, pointer, ctypes.c_size_t]
    library.cublasGemmEx.argtypes = [
        pointer, integer, integer, integer, integer, integer, pointer, pointer, integer, integer,
        pointer, integer, integer, pointer, pointer, integer, integer, integer, integer,
    ]  # fmt: skip
    return library
