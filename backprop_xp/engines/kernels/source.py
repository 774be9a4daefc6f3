"""The text of the kernels: CUDA C++ of the launches of a step.

A kernel is a row of tasks, each on blocks of its own. Threads of a block work in phases: `EACH_THREAD { ... } BARRIER`.
Nothing but shared memory goes from one phase to the next, so the same text also runs with one thread after the other.
"""

from collections.abc import Iterable, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from backprop_xp.engines.kernels.expressions import c_type, combined, elementwise, first, literal
from backprop_xp.engines.kernels.frames import frame_of, reduced
from backprop_xp.engines.kernels.fusion import Fusion, Launch, Place, Root, Task, threads_of
from backprop_xp.engines.kernels.indexing import Index, flat, operands, uses
from backprop_xp.engines.kernels.normal import THREADS
from backprop_xp.engines.tracing import REDUCTIONS, VIEWS, Shape, Value

_HEAD = """#ifndef EACH_THREAD
#define EACH_THREAD if (const int thread = threadIdx.x; true)
#define BARRIER __syncthreads();
#endif
"""
_SMALL = 2**17  # elements up to which a map has a thread for each; above, every thread has four


class Rows(NamedTuple):
    """Which rows of the data a step takes.

    Parameters
    ----------
    batch_size : int
        Rows of the steps before it; the step itself may have fewer.
    order : numpy.dtype or None
        Data type of the order, if there is one.
    """

    batch_size: int
    order: Any = None


class Kernel(NamedTuple):
    """One launch: its name in the source, its blocks, and the arrays that are its arguments.

    Parameters
    ----------
    name : str
    n_blocks : int
    places : list of Place
    """

    name: str
    n_blocks: int
    places: list[Place]


class Source(NamedTuple):
    """The kernels of a step.

    Parameters
    ----------
    text : str
        CUDA C++.
    kernels : list of Kernel
        In the order of the fusion's launches.
    """

    text: str
    kernels: list[Kernel]


def source(fusion: Fusion, rows: Rows, apart: Set[Value]) -> Source:
    """Return the kernels of all the launches of a step.

    Parameters
    ----------
    fusion : Fusion
    rows : Rows
    apart : set of Value
        Leaves of the state whose new value goes to another array: those of `fusion.apart`, or more.

    Raises
    ------
    TracingError
        If a function or data type has no counterpart in C.
    """
    launches = [launch for launch in fusion.launches if isinstance(launch, Launch)]
    written = [_kernel(f"launch_{n}", launch, _Arguments(fusion, rows, apart)) for n, launch in enumerate(launches)]
    return Source("\n".join([_HEAD, *(text for text, _ in written)]), [kernel for _, kernel in written])


def _kernel(name: str, launch: Launch, arguments: "_Arguments") -> tuple[str, Kernel]:
    lines, begun = ["const int block = blockIdx.x;"], 0
    for task in launch.tasks:
        n_blocks, text = _Writer(task, launch, arguments).text(begun)
        begun += n_blocks
        lines += [f"if (block >= {begun - n_blocks} && block < {begun}) {{", *_indented(text), "}"]
    head = f'extern "C" __global__ void __launch_bounds__({THREADS}) {name}({arguments.declared})'
    return "\n".join([f"{head} {{", *_indented(lines), "}\n"]), Kernel(name, begun, list(arguments.names))


def _indented(lines: Iterable[str]) -> list[str]:
    return ["  " + line for line in lines]


class _Arguments:
    """The arrays that a kernel is given."""

    def __init__(self, fusion: Fusion, rows: Rows, apart: Set[Value]) -> None:
        self.fusion, self.rows, self._apart = fusion, rows, apart
        self.names: dict[Place, str] = {}
        self._written: set[Place] = set()

    def read(self, place: Place) -> str:
        """Return the name of an array that is read."""
        return self.names.setdefault(place, f"p{len(self.names)}")

    def written(self, place: Place) -> str:
        """Return the name of an array that is written: a leaf of the state over itself, unless it is kept apart."""
        if place.role == "new" and place.of not in self._apart:
            place = Place("old", place.of)
        self._written.add(place)
        return self.read(place)

    @property
    def declared(self) -> str:
        """The parameters of the kernel."""
        found = []
        for place, name in self.names.items():
            kind = self._kind(place)
            found.append(f"{kind}* {name}" if place in self._written else f"const {kind}* __restrict__ {name}")
        return ", ".join(found)

    def _kind(self, place: Place) -> str:
        if place.role == "order":
            return c_type(np.dtype(self.rows.order))
        if place.role == "losses":
            return c_type(self.fusion.loss.dtype)
        return "int" if place.of is None else c_type(place.of.dtype)


class _Scope:
    """Statements between two braces, and what they have worked out."""

    def __init__(self, outer: "_Scope | None" = None, *, hoists: bool = False) -> None:
        self.lines: list[str] = []
        self.outer, self.hoists = outer, hoists
        self.known: dict[Any, str] = {}

    def find(self, key: Any) -> str | None:
        if key in self.known:
            return self.known[key]
        return None if self.outer is None else self.outer.find(key)


class _Writer:
    """Writes one task."""

    def __init__(self, task: Task, launch: Launch, arguments: _Arguments) -> None:
        self._task, self._frame, self._stored, self._arguments = task, task.frame, launch.stored, arguments
        self._n_names = 0
        self._threads = 1 if self._frame.kind == "map" else threads_of(task)
        self._shared = {x: f"s{n}" for n, x in enumerate(task.reductions)}

    def text(self, begun: int) -> tuple[int, list[str]]:
        """Return how many blocks the task takes, and its statements."""
        write = self._map if self._frame.kind == "map" else self._groups
        return write(begun)

    # A thread an element

    def _map(self, begun: int) -> tuple[int, list[str]]:
        shape = self._frame.shape
        n = int(np.prod(shape, dtype=np.int64))
        piece = THREADS * (1 if n <= _SMALL else 4)
        outer = _Scope()
        inner = _Scope(outer, hoists=True)
        if len(shape) == 2 and 1 not in shape:
            inner.lines.append(f"const int i = e / {shape[1]}, j = e % {shape[1]};")
        self._store(self._task.roots, inner)
        return -(-n // piece), [
            f"const int begin = (block - {begun}) * {piece}, end = begin + {piece} < {n} ? begin + {piece} : {n};",
            "EACH_THREAD {",
            *_indented(outer.lines),
            f"  for (int e = begin + thread; e < end; e += {THREADS}) {{",
            *_indented(_indented(inner.lines)),
            "  }",
            "}",
        ]

    # A group of threads for each row or column

    def _groups(self, begun: int) -> tuple[int, list[str]]:
        n_groups, a_block = self._frame.shape[0], THREADS // self._threads
        depths = self._depths()
        lines = [f"__shared__ {c_type(x.dtype)} {name}[{THREADS}];" for x, name in self._shared.items()]
        for depth in range(max(depths.values()) + 1):
            lines += self._phase([x for x in depths if depths[x] == depth], begun, n_groups, a_block)
        return -(-n_groups // a_block), lines

    def _phase(self, wanted: Sequence[Value | Root], begun: int, n_groups: int, a_block: int) -> list[str]:
        """Work out reductions, and store values, for which all that went before is enough."""
        reductions = [x for x in wanted if isinstance(x, Value)]
        roots = [x for x in wanted if isinstance(x, Root)]
        outer = _Scope()
        loops: dict[str, _Scope] = {}
        after = _Scope(outer)
        for x in reductions:
            loop = loops.setdefault(self._length(x), _Scope(outer, hoists=True))
            name = self._pull(*reduced(x, self._at(x)), loop)
            loop.lines.append(f"{self._shared[x]}_own = {combined(x, f'{self._shared[x]}_own', name)};")
        for across in (True, False):
            some = [root for root in roots if uses(self._at(root.value), "r") is across]
            if some and across:
                self._store(some, loops.setdefault(self._width(some[0]), _Scope(outer, hoists=True)))
            elif some:
                self._store(some, after)
        body = list(outer.lines)
        for length, loop in loops.items():
            body += [f"for (int r = t; r < {length}; r += {self._threads}) {{", *_indented(loop.lines), "}"]
        if after.lines:
            body += ["if (t == 0) {", *_indented(after.lines), "}"]
        return [
            "EACH_THREAD {",
            f"  {self._own_place(begun, a_block)}",
            *(f"  {c_type(x.dtype)} {self._shared[x]}_own = {first(x)};" for x in reductions),
            f"  if (o < {n_groups}) {{",
            *_indented(_indented(body)),
            "  }",
            *(f"  {self._shared[x]}[thread] = {self._shared[x]}_own;" for x in reductions),
            "}",
            *(self._put_together(reductions, begun, a_block) if reductions else []),
        ]

    def _put_together(self, reductions: Sequence[Value], begun: int, a_block: int) -> list[str]:
        """Put the partial results of each group together, half of them with the other half, always in one order."""
        stride = 1 if self._frame.kind == "rows" else a_block
        steps = []
        for x in reductions:
            mine, other = f"{self._shared[x]}[thread]", f"{self._shared[x]}[thread + half * {stride}]"
            steps.append(f"    if (t < half) {mine} = {combined(x, mine, other)};")
        return [
            "BARRIER",
            f"for (int half = {self._threads // 2}; half > 0; half /= 2) {{",
            "  EACH_THREAD {",
            f"    {self._own_place(begun, a_block)}",
            *steps,
            "  }",
            "  BARRIER",
            "}",
        ]

    def _own_place(self, begun: int, a_block: int) -> str:
        """Which group a thread belongs to, its place in the group, and where the group's results lie."""
        if self._frame.kind == "rows":
            t, o, own = f"thread % {self._threads}", f"thread / {self._threads}", "thread - t"
        else:
            t, o, own = f"thread / {a_block}", f"thread % {a_block}", f"thread % {a_block}"
        return f"const int t = {t}, o = (block - {begun}) * {a_block} + {o}, own = {own};"

    def _length(self, x: Value) -> str:
        pieces = frame_of(x).pieces
        if pieces is None:
            return str(x.inputs[0].shape[x.detail.axis])
        n, piece, n_results = pieces
        left = f"({n} - o / {n_results} * {piece})"
        return f"({left} < {piece} ? {left} : {piece})"

    def _width(self, root: Root) -> str:
        return str(root.value.shape[self._at(root.value).index("r")])

    def _depths(self) -> dict[Value | Root, int]:
        """Return the phase of each reduction and each value stored."""
        depths: dict[Value | Root, int] = {}
        for x in self._task.reductions:
            depths[x] = self._depth(*reduced(x, self._at(x)), depths)
        for root in self._task.roots:
            depths[root] = self._depth(root.value, self._at(root.value), depths)
        return depths

    def _depth(self, x: Value, at: Index, depths: dict[Value | Root, int]) -> int:
        found, waiting, seen = 0, [(x, at)], set[tuple[Value, Index]]()
        while waiting:
            one = y, place = waiting.pop()
            if one in seen or y.op in ("constant", "input") or y in self._stored:
                continue
            seen.add(one)
            if y.op in REDUCTIONS:
                found = max(found, depths[y] + 1)
            else:
                waiting += operands(y, place)
        return found

    # Values

    def _at(self, x: Value) -> Index:
        at = self._frame.at(x.shape)
        assert at is not None
        return at

    def _store(self, roots: Sequence[Root], scope: _Scope) -> None:
        """Work out all the values, then write them: what is written over has been read."""
        names = [self._pull(root.value, self._at(root.value), scope) for root in roots]
        for root, name in zip(roots, names, strict=True):
            if root.place.role == "losses":
                step, after = self._arguments.read(Place("step")), self._arguments.written(Place("next_step"))
                scope.lines.append(f"{self._arguments.written(root.place)}[{step}[0]] = {name};")
                scope.lines.append(f"{after}[0] = {step}[0] + 1;")
            else:
                place = self._place(root.value.shape, self._at(root.value))
                scope.lines.append(f"{self._arguments.written(root.place)}[{place}] = {name};")

    def _place(self, shape: Shape, at: Index) -> str:
        if self._frame.kind == "map" and shape == self._frame.shape and at == self._frame.at(shape):
            return "e" if shape and any(place != "0" for place in at) else "0"
        return flat(shape, at)

    def _home(self, at: Index, scope: _Scope) -> _Scope:
        """Return the scope to work out an element in: what does not change in a loop is worked out before it."""
        if scope.hoists and scope.outer and not uses(at, "eij" if self._frame.kind == "map" else "r"):
            return scope.outer
        return scope

    def _pull(self, x: Value, at: Index, scope: _Scope) -> str:
        """Return the variable that holds an element."""
        if x.op == "constant":
            return literal(x.detail, x.dtype)
        scope = self._home(at, scope)
        found = scope.find((x, at))
        if found is None:
            found = scope.known[x, at] = self._new(x, at, scope)
        return found

    def _new(self, x: Value, at: Index, scope: _Scope) -> str:
        kind = c_type(x.dtype)
        if x.op == "concat" and x not in self._stored:
            return self._concat(x, at, scope)
        expression = self._expression(x, at, scope)
        name = self._variable()
        scope.lines.append(f"const {kind} {name} = {expression};")
        return name

    def _expression(self, x: Value, at: Index, scope: _Scope) -> str:
        if x in self._stored:
            name = self._arguments.read(self._arguments.fusion.place_of(x))
            return f"{name}[{self._place(x.shape, at)}]"
        if x.op == "input":
            name = self._arguments.read(Place("data", x))
            return f"{name}[{self._row(at[0], scope)} * {x.size // x.shape[0]} + {flat(x.shape[1:], at[1:])}]"
        if x.op in REDUCTIONS:
            return f"{self._shared[x]}[own]"
        if x.op == "arange":
            return f"({c_type(x.dtype)})({at[0]})"
        names = [self._pull(y, place, scope) for y, place in operands(x, at)]
        return names[0] if x.op in VIEWS else elementwise(x, names)

    def _row(self, place: str, scope: _Scope) -> str:
        """Return the variable that holds the row of the data for a row of the batch."""
        scope = self._home((place,), scope)
        found = scope.find(("row", place))
        if found is None:
            found = scope.known["row", place] = self._variable()
            row = f"{self._arguments.read(Place('step'))}[0] * {self._arguments.rows.batch_size} + {place}"
            if self._arguments.rows.order is not None:
                row = f"{self._arguments.read(Place('order'))}[{row}]"
            scope.lines.append(f"const long long {found} = {row};")
        return found

    def _concat(self, x: Value, at: Index, scope: _Scope) -> str:
        name = self._variable()
        scope.lines.append(f"{c_type(x.dtype)} {name};")
        end, opening = 0, "if"
        for y, place in operands(x, at):
            end += y.shape[x.detail]
            branch = _Scope(scope)
            value = self._pull(y, place, branch)
            scope.lines.append(f"{opening} ({at[x.detail]} < {end}) {{")
            scope.lines += [*_indented(branch.lines), f"  {name} = {value};", "}"]
            opening = "else if"
        return name

    def _variable(self) -> str:
        self._n_names += 1
        return f"v{self._n_names}"
