"""A loop over steps as JAX's XLA compiles it best."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Array = Any
Loop = Callable[..., Any]

# Measured on 2 cores of an AMD EPYC. Vectors as wide as the processor has, where it has AVX-512; XLA's own choice is
# half of that: a step took 0.96 of the time at 64-64-10 and 784-128-10, and as long as before where matrix products
# take most of it. And small products as code of XLA's own rather than calls of Eigen, which the second setting does,
# whatever its name says: 0.29 of the time at 2-4-2, 0.95 at 64-64-10. Large ones still take all cores.
_SETTINGS = {"xla_cpu_prefer_vector_width": 512, "xla_cpu_multi_thread_eigen": False}


def loop(step: Callable[..., Any], rows: int, batch_size: int, fixed: int | None, precision: str) -> Loop:
    """Return `loop(state, losses, data, order, (first, last, base))`.

    It takes the steps from `first` to before `last`; step `base` has the data's first rows, or the order's. All three
    are arguments, so that one program does for any number of steps; or their number is fixed, and the first of them has
    the first rows. It returns the state, `losses` with the steps' own put in, and the last of them.
    """
    import jax

    def loop(state: Any, losses: Array, data: Any, order: Array | None, steps: Array) -> Any:
        # Numbers without a sign, or JAX lets each kernel ask whether they are below 0.
        first, last, base = (np.uint32(k) for k in (0, fixed, 0)) if fixed else steps.astype(jax.numpy.uint32)
        ahead = first - base

        def one(i: Array, carry: tuple[Any, Array]) -> tuple[Any, Array]:
            (state, losses), i = carry, i.astype(jax.numpy.uint32)

            def of_batch(array: Array) -> Array:
                return jax.lax.dynamic_slice_in_dim(array, (ahead + i) * np.uint32(batch_size), rows)

            if order is None:
                batch = jax.tree.map(of_batch, data)
            else:
                chosen = of_batch(order)
                batch = jax.tree.map(lambda array: jax.numpy.take(array, chosen, axis=0, mode="clip"), data)
            *state, loss = step(*state, *batch)
            return tuple(state), jax.lax.dynamic_update_index_in_dim(losses, loss, first + i, 0)

        with jax.default_matmul_precision(precision):
            state, losses = jax.lax.fori_loop(0, fixed or steps[1] - steps[0], one, (state, losses))
        return state, losses, losses[last - 1]

    return loop


def programs(jax: Any, loop: Loop, *, donates: bool, on_cpu: bool) -> Iterator[Any]:
    """Yield the loop under `jax.jit`, the fastest first; XLA may refuse all but the last.

    Parameters
    ----------
    loop : function
        Of `loop`.
    donates : bool
        The state and the losses are the program's to overwrite.
    on_cpu : bool
    """
    donated = (0, 1) if donates else ()
    if on_cpu:
        yield jax.jit(loop, donate_argnums=donated, compiler_options=_SETTINGS)
    yield jax.jit(loop, donate_argnums=donated)


def with_gradients_first(step: Any, state: Any, rows: int) -> Any:
    """Return the step with all gradients made before the first of them is used, where that saves time.

    Else XLA copies every W but the first in each step, lest its update comes before its use by the deltas below. Where
    a batch has more activations than there are weights, the copies take less than what keeping the gradients costs: at
    1024-2048-2048-10 and 4,096 rows, 2 % less.
    """
    n_weights = sum(W.size for W, _ in state[0])
    n_activations = rows * sum(W.size // W.shape[-2] for W, _ in state[0])
    pays = n_weights > n_activations and hasattr(step, "between")
    return step.between(_after_the_first) if pays else step


def _after_the_first(grads: Any) -> Any:
    """Return the gradients, all made to depend on the first layer's, which is the last to be known.

    XLA looks for an order in what depends on what alone, and takes no barrier for one; 0 times a number counts.
    """
    (dW, db), *others = grads
    tie = dW[..., :1, :1] * 0
    return ((dW, db), *((dW + tie, db) for dW, db in others))
