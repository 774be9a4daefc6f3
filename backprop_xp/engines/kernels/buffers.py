"""Where a step's values lie: a few blocks of memory that values take in turns."""

from collections.abc import Iterator, Sequence

from backprop_xp.engines.kernels.fusion import Fusion, Product
from backprop_xp.engines.tracing import Value

ALIGNED = 256  # bytes; what the device's own allocator promises


def aligned(n_bytes: int) -> int:
    """Return the size with what is left to the next aligned place."""
    return -(-n_bytes // ALIGNED) * ALIGNED


class Slots:
    """Blocks of memory, planned before they are there. Steps that never run at the same time share them.

    Attributes
    ----------
    sizes : list of int
        Bytes.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def assigned(self, fusion: Fusion) -> dict[Value, int]:
        """Return a block for each value that is made on the way: none that is still needed is written over."""
        found: dict[Value, int] = {}
        busy: dict[int, int] = {}  # until which launch
        for x, begin, end in _lives(fusion):
            free = [slot for slot in range(len(self.sizes)) if busy.get(slot, -1) < begin]
            found[x] = slot = self._best(aligned(x.size * x.dtype.itemsize), free)
            busy[slot] = end
        return found

    def _best(self, n_bytes: int, free: Sequence[int]) -> int:
        """Return the smallest free block that is large enough, else the largest, made larger, else a new one."""
        fitting = [slot for slot in free if self.sizes[slot] >= n_bytes]
        if fitting:
            return min(fitting, key=self.sizes.__getitem__)
        if free:
            slot = max(free, key=self.sizes.__getitem__)
            self.sizes[slot] = n_bytes
            return slot
        self.sizes.append(n_bytes)
        return len(self.sizes) - 1


def _lives(fusion: Fusion) -> Iterator[tuple[Value, int, int]]:
    """Yield each value that is stored on the way, the launch that makes it and the last one that reads it."""
    made: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for n, launch in enumerate(fusion.launches):
        if isinstance(launch, Product):
            made[launch.value] = n
            used = [launch.a.base, launch.b.base]
        else:
            made |= {root.value: n for task in launch.tasks for root in task.roots if root.place.role == "value"}
            used = [x for task in launch.tasks for x, _ in task.loads]
        last |= dict.fromkeys(used, n)
    for x, n in made.items():
        yield x, n, last[x]
