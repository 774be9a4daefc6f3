"""Kernels without a GPU: their own source through the C++ compiler against the functions that they stand for."""

import ctypes
import importlib
import itertools
import math

import numpy as np
import pytest
from cuda_shim import CpuDevice

import backprop_xp as bx
from backprop_xp import dropout, losses, optimizers, schedules
from backprop_xp.activations import ACTIVATIONS, pull_back
from backprop_xp.batches import IndexBatches
from backprop_xp.engines import tracing
from backprop_xp.engines.kernels.buffers import Slots, aligned
from backprop_xp.engines.kernels.epochs import Epochs
from backprop_xp.engines.kernels.fusion import Fusion, Launch, Product
from backprop_xp.engines.kernels.products import layout
from backprop_xp.engines.kernels.source import Rows, source
from backprop_xp.engines.tracing import Trace, TracingError
from backprop_xp.namespaces import NUMPY
from backprop_xp.step import loss_head

DTYPES = ["float64", "float32"]
SHAPES = [(37, 5), (1, 300), (300, 1), (1, 1), (257, 9)]  # of one row, one column, and none a multiple of the block
LIMITS = {"float64": 1e-12, "float32": 2e-6}  # of the result, or of the terms that it is the difference of
generator = np.random.default_rng(5)


def by_kernels(function, *arrays):
    """Return what the kernels of `function(xp, *arrays) -> arrays` write on the CPU, whatever the order of threads."""
    expected = function(NUMPY, *arrays)
    state = tuple(np.zeros(np.shape(x), np.asarray(x).dtype) for x in expected), ()

    def step(params, opt_state, *inputs):
        return function(tracing.NAMESPACE, *inputs), opt_state, tracing.NAMESPACE.asarray(0.0)

    results = []
    for reverse in (False, True):
        device, n = CpuDevice(reverse=reverse), max(x.shape[0] for x in arrays)
        epochs = Epochs(device, device.compiled, step, state, arrays, IndexBatches(None, n, n))
        results.append(epochs.run(state, None, None)[0])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)  # so no thread reads what another wrote in the same phase
    return results[0]


def agree(function, *arrays, scales=None, exactly=False):
    """Compare; `scales` are the sizes of terms that cancel, whose rounding the results cannot be better than."""
    with np.errstate(all="ignore"):
        actual, expected = by_kernels(function, *arrays), function(NUMPY, *arrays)
    for n, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert (a.shape, a.dtype) == (np.shape(e), np.asarray(e).dtype)
        if exactly:
            np.testing.assert_array_equal(a, e)
        else:
            limit, unit = LIMITS[arrays[0].dtype.name], 1.0 if scales is None else scales[n]
            np.testing.assert_allclose(a / unit, e / unit, rtol=limit, atol=limit)


def numbers(shape, dtype, scale=3.0):
    return (generator.normal(size=shape) * scale).astype(dtype)


def peculiar(dtype):
    """Numbers where formulas break: large, tiny, zeros of both signs, infinite and not a number."""
    some = [0.0, -0.0, 1e-30, -1e-30, 20.0, -20.0, 89.0, -89.0, 1e4, -1e4, np.inf, -np.inf, np.nan]
    return np.asarray(some, dtype).reshape(13, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_derivatives_times_what_comes_from_above(name, dtype):
    activation = ACTIVATIONS[name]

    def values(xp, *zs):
        return tuple(activation.value(z, xp) + 0.0 for z in zs)

    def derivatives(xp, *arrays):
        upstreams, zs = arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]
        sources = zs if activation.from_input else [activation.value(z, xp) for z in zs]
        return tuple(pull_back(activation, *pair, xp) + 0.0 for pair in zip(upstreams, sources, strict=True))

    zs = [numbers(shape, dtype) for shape in SHAPES]
    upstreams = [numbers(shape, dtype) for shape in SHAPES]
    agree(values, *zs, peculiar(dtype))
    scales = [np.abs(u).max() * (1.0 + np.abs(z)) for u, z in zip(upstreams, zs, strict=True)]
    agree(derivatives, *upstreams, np.ones((13, 1), dtype), *zs, peculiar(dtype), scales=[*scales, 1.0])


HEADS = [
    (name, output)
    for name, loss in losses.LOSSES.items()
    for output in (loss.outputs or ("identity", "sigmoid", "softmax"))
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "output"), HEADS)
def test_loss_heads(name, output, weighted, dtype):
    given, heads = [], []
    kinds = [dtype, "int64", "int32", "uint8"] if name == "cross_entropy" else [dtype]
    for (n_rows, n_outputs), kind in itertools.product([(37, 3), (1, 2), (300, 33), (5, 300)], kinds):
        heads.append(loss_head(bx.Network((2, n_outputs), output=output), name))
        given.append(numbers((n_rows, n_outputs), dtype, 2.0 if output == "exp" else 5.0))
        if kind == dtype:
            given.append(generator.dirichlet(np.ones(n_outputs), n_rows).astype(dtype))
        else:
            given.append(generator.integers(0, min(n_outputs, 256), n_rows).astype(kind))
        given.append(generator.uniform(0.5, 2.0, n_rows).astype(dtype))

    def function(xp, *arrays):
        found = []
        for n, head in enumerate(heads):
            z, Y, weight = arrays[3 * n : 3 * n + 3]
            found += head(z, Y, weight if weighted else None, xp)
        return tuple(x + 0.0 for x in found)

    agree(function, *given)


RULES = {
    **{name: make(0.01) for name, make in optimizers.OPTIMIZERS.items()},
    **{f"adam, {name}": optimizers.adam(plan(0.01, 100)) for name, plan in schedules.PLANNED.items()},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_updates_by_every_optimizer_and_schedule(name, dtype):
    rule = RULES[name]
    params = ((numbers((13, 21), dtype), numbers((1, 21), dtype)), (numbers((21, 3), dtype), None))
    state = rule.init(params)
    grads = tuple(tuple(None if x is None else numbers(x.shape, dtype) for x in layer) for layer in params)

    def step(params, opt_state, *grads):
        dW, db, dV = grads
        params, opt_state = rule.update(((dW, db), (dV, None)), opt_state, params)
        return params, opt_state, tracing.NAMESPACE.asarray(0.0)

    device = CpuDevice()
    data = tuple(tracing.leaves(grads))
    epochs = Epochs(device, device.compiled, step, (params, state), data, IndexBatches(None, 21, 21))
    expected = params, state
    for _ in range(3):  # from odd and even steps' places
        params, state, _ = epochs.run((params, state), None, None)
        expected = rule.update(grads, expected[1], expected[0])
    for a, e in zip(tracing.leaves((params, state)), tracing.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        np.testing.assert_allclose(a, e, rtol=LIMITS[dtype], atol=LIMITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_masks_bit_for_bit(dtype):
    def masks(xp, like, count):
        return tuple(
            dropout.mask(dropout.layer_key(7, layer), count, shape, rate=0.3, like=like, xp=xp)
            for layer, shape in enumerate([(37, 5), (1, 300), (300, 2)])
        )

    for count in (0, 1, 2**31 - 1):
        agree(masks, np.zeros((1, 1), dtype), np.asarray([[count]], np.int32), exactly=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_over_either_axis_or_both_in_one_stage_or_two(dtype):
    def function(xp, *arrays):
        found = []
        for x in arrays:
            found += [xp.sum(x, axis=axis, keepdims=True) for axis in (-2, -1, (-2, -1))]
            flat = xp.reshape(x, (-1,))
            found += [xp.sum(x, axis=-2), xp.max(x, axis=-1, keepdims=True), xp.min(x, axis=-2), xp.vecdot(flat, flat)]
        return tuple(found)

    shapes = [*SHAPES, (700, 40), (20_000, 3), (3, 20_000), (70_000, 1)]
    arrays = [generator.uniform(1.0, 2.0, shape).astype(dtype) for shape in shapes]
    exact = function(NUMPY, *(x.astype(np.float64) for x in arrays))  # in float32 NumPy loses more, row after row
    for a, e in zip(by_kernels(function, *arrays), exact, strict=True):
        assert (a.shape, a.dtype) == (np.shape(e), dtype)
        np.testing.assert_allclose(a, e, rtol=LIMITS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_is_the_greatest_and_the_least(dtype):
    x = numbers((9, 70), dtype)
    x[3, 60] = x[5, 0] = np.nan

    def function(xp, x):
        ends = xp.max(x, axis=-1, keepdims=True), xp.min(x, axis=-2, keepdims=True)
        return (
            *ends,
            xp.maximum(x, 0.0),
            xp.minimum(0.0 * x, x),
            xp.sign(x),
            xp.abs(x),
            xp.astype(xp.isfinite(x), x.dtype),
        )

    agree(function, x, exactly=True)


def test_whole_numbers_wrap_around_and_shift_as_numpys_do():
    x = generator.integers(-(2**31), 2**31, (40, 7), dtype=np.int32)
    x[0, :3] = -(2**31), 2**31 - 1, 0

    def function(xp, x):
        products = x * 0x7FEB352D, x + x, x - (2**31 - 1), -x
        return (
            *products,
            x >> 3,
            x << 5,
            x & 0xFFFF,
            x | 6,
            x ^ x >> 16,
            xp.astype(x, xp.float64) / 3.0,
            xp.where(x > 0, x, x * 3),
        )

    agree(function, x, exactly=True)


def test_views_and_concatenations_are_read_where_they_lie():
    def function(xp, x, y):
        row = xp.concat([x, y], axis=None)[None, :]
        piece = xp.reshape(row[..., 5:17], (3, 4))
        strided = x[1::2, None, 2] + x[3, 4]
        return (
            row * 2.0, piece + 1.0, xp.matrix_transpose(x) + 0.0, strided, xp.concat([x, y], axis=-1) + x[:, :1],
            xp.reshape(x, (5, 8)) * xp.reshape(y, (1, 16))[:, 8:],
        )  # fmt: skip

    agree(function, numbers((8, 5), "float64"), numbers((8, 2), "float64"), exactly=True)


# What is launched


def fused(optimizer, widths, n_rows=128, dtype="float32", *, direct=False, weighted=False, **settings):
    network = bx.Network(widths, output="softmax")
    step = bx.make_step(network, "cross_entropy", optimizer, **settings)
    params = bx.init(network, dtype=dtype)
    weight = np.ones(n_rows, dtype) if weighted else None
    batch = np.zeros((n_rows, widths[0]), dtype), np.zeros(n_rows, np.int64), weight
    return Fusion(Trace(step, (params, optimizer.init(params)), batch), direct=direct)


@pytest.mark.parametrize("optimizer", [bx.sgd(), bx.nesterov(), bx.adam()])
@pytest.mark.parametrize("n_layers", [1, 2, 3, 5])
def test_launch_budget_is_five_a_layer_whatever_the_optimizer(n_layers, optimizer):
    widths = (20, *[30] * (n_layers - 1), 10)
    assert len(fused(optimizer, widths).launches) == 5 * n_layers
    assert len(fused(optimizer, widths, direct=True).launches) == 5 * n_layers - 1  # nothing to gather
    assert len(fused(optimizer, widths, n_rows=5000).launches) == 5 * n_layers + 1  # long sums take two stages


def test_launch_budget_of_what_can_be_added():
    for settings, more in [
        ({"dropout": 0.5}, 0), ({"l2": 0.1}, 0), ({"clip_norm": 1.0}, 2), ({"weighted": True}, 0),
        ({"dropout": 0.5, "l2": 0.1, "l2_per_batch": True, "clip_norm": 1.0, "weighted": True}, 2),
    ]:  # fmt: skip
        assert len(fused(bx.adam(), (20, 30, 10), **settings).launches) == 10 + more, settings


def test_the_optimizers_updates_of_all_leaves_are_one_launch_and_in_place():
    fusion = fused(bx.adam(), (20, 30, 10))
    written = [root.place.of for task in fusion.launches[-1].tasks for root in task.roots if root.place.role == "new"]
    assert len(written) == 4 * 3 + 1  # weights, biases, two moments of each, and the count
    assert [leaf.shape for leaf in fusion.apart] == [()]
    earlier = [root.place.role for launch in fusion.launches[:-1] if isinstance(launch, Launch)
               for task in launch.tasks for root in task.roots]  # fmt: skip
    assert set(earlier) == {"value"}


def test_a_leaf_that_other_threads_still_read_is_not_written_over():
    xp = tracing.NAMESPACE

    def turned(params, opt_state, X):
        return params + params[::-1], opt_state, xp.asarray(0.0)

    x = np.zeros((4, 3))
    fusion = Fusion(Trace(turned, (x, ()), (x,)), direct=True)
    assert fusion.apart == set(fusion.state)

    def scaled(params, opt_state, X):
        (W, b), sums = params, xp.sum(X, axis=-2, keepdims=True)
        return (W * b + sums, b + sums), opt_state, xp.asarray(0.0)

    fusion = Fusion(Trace(scaled, ((x, x[:1]), ()), (x,)), direct=True)
    assert fusion.apart == {fusion.state[1]}  # every thread of a column reads b for W, and one of them writes it


@pytest.mark.parametrize(("n_rows", "clip_norm"), [(128, None), (5000, None), (128, 1.0)])
def test_no_value_is_written_over_while_it_is_needed(n_rows, clip_norm):
    fusion, slots = fused(bx.adam(), (20, 30, 25, 40, 30, 10), n_rows, clip_norm=clip_norm), Slots()
    places = slots.assigned(fusion)
    holds: dict[int, object] = {}
    for launch in fusion.launches:
        if isinstance(launch, Product):
            reads, writes = {launch.a.base, launch.b.base}, {launch.value}
        else:
            reads = {x for task in launch.tasks for x, _ in task.loads}
            writes = {root.value for task in launch.tasks for root in task.roots if root.place.role == "value"}
        read = {places[x]: x for x in reads - writes if x in places}
        assert all(holds[slot] is x for slot, x in read.items())
        written = {places[x]: x for x in writes}
        assert len(written) == len(writes)
        assert not set(written) & set(read)
        holds |= written
    assert all(aligned(x.size * x.dtype.itemsize) <= slots.sizes[slot] for x, slot in places.items())
    assert sum(slots.sizes) < 0.75 * sum(x.size * x.dtype.itemsize for x in places)
    before = list(slots.sizes)
    slots.assigned(fused(bx.adam(), (20, 30, 25, 40, 30, 10), n_rows // 2, clip_norm=clip_norm))
    assert slots.sizes == before  # a short last batch takes no memory of its own


def test_what_no_kernel_is_made_for_is_refused():
    x = np.zeros((4, 3))

    def made(function, *arrays):
        def step(params, opt_state, *inputs):
            return function(*inputs), opt_state, tracing.NAMESPACE.asarray(0.0)

        fusion = Fusion(Trace(step, (function(*arrays), ()), arrays), direct=True)
        return source(fusion, Rows(4), fusion.apart)

    with pytest.raises(TracingError, match="leading axis"):
        made(lambda x: x[None, ...] * 2, x)
    with pytest.raises(TracingError, match="product of int64 and int64"):
        made(lambda x: (x @ x.T) if isinstance(x, np.ndarray) else tracing.matmul(x, tracing.matrix_transpose(x)),
             x.astype(np.int64))  # fmt: skip
    with pytest.raises(TracingError, match="float16"):
        made(lambda x: x + x, x.astype(np.float16))


# Products


def column_major_gemm(operation_a, operation_b, m, n, k, A, lda, B, ldb, C, ldc):
    """cuBLAS's definition: C = op(A) op(B), column by column, of flat memory with leading dimensions."""
    for i, j in itertools.product(range(m), range(n)):
        C[i + j * ldc] = sum(
            (A[p + i * lda] if operation_a else A[i + p * lda]) * (B[j + p * ldb] if operation_b else B[p + j * ldb])
            for p in range(k)
        )


@pytest.mark.parametrize(("a_transposed", "b_transposed"), list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize(("m", "k", "n"), [(2, 3, 4), (1, 3, 4), (4, 1, 2), (3, 2, 1), (1, 1, 1)])
def test_row_major_products_in_column_major_terms(m, k, n, a_transposed, b_transposed):
    a = numbers((k, m) if a_transposed else (m, k), "float64")
    b = numbers((n, k) if b_transposed else (k, n), "float64")
    out = np.zeros(m * n)
    to_b, to_a, *sizes, ld_b, ld_a, ld_out = layout(a.shape, a_transposed, b.shape, b_transposed)
    column_major_gemm(to_b, to_a, *sizes, b.ravel(), ld_b, a.ravel(), ld_a, out, ld_out)
    expected = (a.T if a_transposed else a) @ (b.T if b_transposed else b)
    np.testing.assert_allclose(out.reshape(m, n), expected, rtol=1e-14)


# CUDA's own compiler


def nvrtc():
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
        library = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("nvrtc").abs_path)
    except Exception:
        pytest.skip("needs NVRTC: pip install cuda-pathfinder 'nvidia-cuda-nvrtc-cu12>=12.8'")
    return library


def compile_for(library, text, architecture):
    program = ctypes.c_void_p()
    assert library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"step.cu", 0, None, None) == 0
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17", b"--fmad=false"]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    assert status == 0, f"{architecture}: {log.value.decode()}\n{text}"
    assert library.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0
    assert size.value > 0
    library.nvrtcDestroyProgram(ctypes.byref(program))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_kernels_of_steps_compile_with_nvrtc(architecture):
    library = nvrtc()
    for number, activation in enumerate(ACTIVATIONS):
        if ACTIVATIONS[activation].output_only:
            continue
        dtype = DTYPES[number % 2]
        network = bx.Network((20, 30, 10), activation=activation, output="softmax")
        rate = schedules.warmup_cosine(0.1, 10, 100)
        rule = [bx.sgd(rate), bx.adamw(rate), bx.rmsprop(0.1), bx.nesterov(rate)][number % 4]
        step = bx.make_step(network, "cross_entropy", rule, dropout=0.2, clip_norm=1.0, l2=0.1)
        params = bx.init(network, dtype=dtype)
        n_rows = [100, 3000][number % 2]
        batch = np.zeros((n_rows, 20), dtype), np.zeros(n_rows, np.int64), np.ones(n_rows, dtype)
        fusion = Fusion(Trace(step, (params, rule.init(params)), batch), direct=False)
        written = source(fusion, Rows(n_rows, np.dtype(np.int32)), fusion.apart)
        compile_for(library, written.text, architecture)
    assert math.prod(fusion.loss.shape) == 1
