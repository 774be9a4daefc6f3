"""From a trace to launches: which values are stored, and which are worked out where they are used.

Stored are products and their operands, the new state, the loss, and a reduction whose result is needed by threads that
do not compute it. Every other value lives in a register of each thread that needs it, worked out anew if need be. What
can run at the same time goes into one launch, and nothing is launched before a product asks for it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from backprop_xp.engines.kernels.frames import Frame, fits, frame_of, reduced
from backprop_xp.engines.kernels.indexing import Index, Part, operands, part, uses
from backprop_xp.engines.kernels.normal import Normal, threads_a_result
from backprop_xp.engines.tracing import REDUCTIONS, Trace, TracingError, Value


class Place(NamedTuple):
    """An array that kernels read or write.

    Parameters
    ----------
    role : str
        "value", one made on the way; "old" and "new", a leaf of the state before and after; "data", all rows of what a
        leaf of the batch is taken from; "order"; "step" and "next_step", the number of the step; "losses".
    of : Value or None
        The value or leaf.
    """

    role: str
    of: Value | None = None


class Root(NamedTuple):
    """A value that is stored.

    Parameters
    ----------
    value : Value
    place : Place
    """

    value: Value
    place: Place


class Need(NamedTuple):
    """What working a value out in a frame takes.

    Parameters
    ----------
    frame : Frame
    loads : set of (Value, Index)
        Elements of stored arrays and of the batch.
    reductions : list of Value
        Worked out in the frame, each after those it is made of.
    blocked : list of Value
        Reductions that would have to be, and can't.
    """

    frame: Frame
    loads: set[tuple[Value, Index]]
    reductions: list[Value]
    blocked: list[Value]

    @property
    def shared(self) -> set[Value]:
        """What makes it worth while to work out two values by the same threads."""
        return {x for x, _ in self.loads if x.size > 1} | set(self.reductions)


class Task(NamedTuple):
    """Values worked out in one frame by the same threads."""

    frame: Frame
    roots: list[Root]
    needs: list[Need]

    @property
    def reductions(self) -> list[Value]:
        """All that are worked out in the frame, each after those it is made of."""
        return list(dict.fromkeys(x for need in self.needs for x in need.reductions))

    @property
    def loads(self) -> set[tuple[Value, Index]]:
        """Elements of stored arrays and of the batch."""
        return set().union(*(need.loads for need in self.needs))


class Launch(NamedTuple):
    """Tasks that run at the same time, each on blocks of its own.

    Parameters
    ----------
    tasks : list of Task
    stored : set of Value
        What lies in memory when it begins.
    """

    tasks: list[Task]
    stored: frozenset[Value]


class Product(NamedTuple):
    """A matrix product: where the operands lie, and the value it makes."""

    a: Part
    b: Part
    value: Value


class Fusion:
    """A trace cut into launches.

    Parameters
    ----------
    trace : Trace
    direct : bool
        Whether the batch is the data as they stand, so that nothing has to be gathered.

    Attributes
    ----------
    launches : list of Launch or Product
    state, batch, new_state : list of Value
    loss : Value
    apart : set of Value
        Leaves of the state whose new value may not be written over the old one: others still read it.

    Raises
    ------
    TracingError
        If the step does something that no kernel is made for.
    """

    def __init__(self, trace: Trace, *, direct: bool) -> None:
        normal = Normal(trace)
        self.state, self.batch, self.new_state, self.loss = normal.state, normal.batch, normal.new_state, normal.loss
        self._in_memory = {*self.state, *(self.batch if direct else [])}
        self._products = [_product(x) for x in normal.products]
        made = {p.base for x in self._products for p in (x.a, x.b)} - self._in_memory
        self._stored = {*made, *normal.products}
        self._roots = [Root(x, Place("value", x)) for x in sorted(made - {*normal.products}, key=lambda x: x.number)]
        self._last = [
            Root(new, Place("new", old)) for old, new in zip(self.state, self.new_state, strict=True) if new is not old
        ]
        self._last.append(Root(self.loss, Place("losses")))
        self._needs = self._settled()
        self.launches = list(self._scheduled())
        self.apart = self._set_apart()

    def place_of(self, x: Value) -> Place:
        """Return where a stored array is read from."""
        if x in self.state:
            return Place("old", x)
        return Place("value" if x in self._stored else "data", x)

    # What is stored

    def _settled(self) -> dict[Root, Need]:
        """Store the reductions that threads other than their own need, until there are no more of them."""
        while True:
            needs = {root: self._need(root) for root in (*self._roots, *self._last)}
            blocked = {x for need in needs.values() for x in need.blocked}
            if not blocked:
                return needs
            self._stored |= blocked
            self._roots += [Root(x, Place("value", x)) for x in sorted(blocked, key=lambda x: x.number)]

    def _need(self, root: Root) -> Need:
        """Return what the value takes in the frame where the fewest reductions have to be stored."""
        value = root.value
        if value.op in REDUCTIONS and root.place.role == "value":
            return self._need_in(root, frame_of(value))
        first = self._need_in(root, Frame("map", value.shape))
        waiting, seen = list(first.blocked), dict[Frame, Need]()
        while waiting:
            x = waiting.pop()
            frame = frame_of(x)
            if frame not in seen and self._may_hold(frame, root):
                seen[frame] = self._need_in(root, frame)
                waiting += seen[frame].blocked
        return min([first, *seen.values()], key=lambda need: len(self._to_store(need.blocked, set())))

    def _to_store(self, blocked: Sequence[Value], found: set[Value]) -> set[Value]:
        """Return these reductions and those that have to be stored for them in turn."""
        for x in blocked:
            if x not in found:
                found.add(x)
                self._to_store(self._need_in(Root(x, Place("value", x)), frame_of(x)).blocked, found)
        return found

    def _may_hold(self, frame: Frame, root: Root) -> bool:
        if frame.pieces or frame.at(root.value.shape) is None:
            return False
        # One group alone is for one number; rows of a batch of one are the exception.
        return frame.shape != (1,) or root.value.size == 1 or root.place.role == "value"

    def _need_in(self, root: Root, frame: Frame) -> Need:
        need = Need(frame, set(), [], [])
        seen: set[tuple[Value, Index]] = set()

        def visit(x: Value, at: Index) -> None:
            if (x, at) in seen:
                return
            seen.add((x, at))
            if x.op == "input" or (x in self._stored and Place("value", x) != root.place):
                need.loads.add((x, at))
            elif x.op == "matmul":
                raise TracingError("a product in a kernel")
            elif x.op in REDUCTIONS:
                own = Place("value", x) == root.place
                if own or (fits(x, at, frame) and not (root in self._last and self._reads_state(x))):
                    visit(*reduced(x, at))
                    need.reductions.append(x)
                elif x not in need.blocked:
                    need.blocked.append(x)
            elif x.op != "constant":
                for operand in operands(x, at):
                    visit(*operand)

        at = frame.at(root.value.shape)
        assert at is not None
        visit(root.value, at)
        return need

    def _reads_state(self, reduction: Value) -> bool:
        """Tell whether the threads of a reduction read leaves that others write in the last launch."""
        waiting, seen = list(reduction.inputs), set[Value]()
        while waiting:
            x = waiting.pop()
            if x in self.state and x.size > 1:
                return True
            # Another frame's reduction will be stored before.
            worked_out = x not in self._stored and not (x.op in REDUCTIONS and frame_of(x) != frame_of(reduction))
            if worked_out and x not in seen:
                waiting += x.inputs
            seen.add(x)
        return False

    # What is launched when

    def _scheduled(self) -> Iterator[Launch | Product]:
        stored = set(self._in_memory)
        waiting = list(self._roots)

        def launch() -> Launch:
            ready = [root for root in waiting if self._waits_for(root) <= stored]
            if not ready:
                raise TracingError("values that wait for each other")
            found = Launch(self._tasks(ready), frozenset(stored))
            stored.update(root.value for root in ready)
            waiting[:] = [root for root in waiting if root not in ready]
            return found

        for product in self._products:
            while not {product.a.base, product.b.base} <= stored:
                yield launch()
            yield product
            stored.add(product.value)
        while waiting:
            yield launch()
        yield Launch(self._tasks(self._last), frozenset(stored))

    def _waits_for(self, root: Root) -> set[Value]:
        return {x for x, _ in self._needs[root].loads if x in self._stored and Place("value", x) != root.place}

    def _tasks(self, roots: Sequence[Root]) -> list[Task]:
        """Put values into one task that share their frame and some of what they are made of."""
        tasks: list[Task] = []
        for root in roots:
            need = self._needs[root]
            task = Task(need.frame, [root], [need])
            for other in [t for t in tasks if t.frame == need.frame and _shared(t) & need.shared]:
                tasks.remove(other)
                task = Task(task.frame, other.roots + task.roots, other.needs + task.needs)
            tasks.append(task)
        return tasks

    def _set_apart(self) -> set[Value]:
        """Return the leaves that some thread still reads after another may have written them."""
        last = self.launches[-1]
        assert isinstance(last, Launch)
        writers = {root.place.of: task for task in last.tasks for root in task.roots}
        apart = {leaf for leaf in self.state if leaf in writers and leaf.size == 1}
        for task in last.tasks:
            for root, need in zip(task.roots, task.needs, strict=True):
                along = uses(task.frame.at(root.value.shape) or (), "r")
                for x, at in need.loads:
                    own = at == task.frame.at(x.shape) and uses(at, "r") == along  # else a whole group reads it
                    if x in writers and not (own and writers[x] is task):
                        apart.add(x)
        return apart


def _product(x: Value) -> Product:
    a, b = x.inputs
    if a.dtype != b.dtype or a.dtype.kind != "f":
        raise TracingError(f"a product of {a.dtype.name} and {b.dtype.name}")
    return Product(part(a), part(b), x)


def _shared(task: Task) -> set[Value]:
    return set().union(*(need.shared for need in task.needs))


def threads_of(task: Task) -> int:
    """Return how many threads of a block share a row or column of the task."""
    lengths = [1]
    for x in task.reductions:
        pieces = frame_of(x).pieces
        lengths.append(pieces[1] if pieces else x.inputs[0].shape[x.detail.axis])
    for root in task.roots:
        at = task.frame.at(root.value.shape)
        lengths += [n for n, place in zip(root.value.shape, at or (), strict=True) if place == "r"]
    return threads_a_result(max(lengths), task.frame.shape[0], along_rows=task.frame.kind == "rows")
