"""Dropout masks that are the same on every backend for the same seed, layer and step.

No generator of the array libraries gives the same numbers as another's, so the masks come from a hash of (seed, layer,
step, element), written on the array API's own integers. Products of int32 wrap around in every library.
"""

from typing import Any

from array_api_compat import device

Array = Any


def mask(
    key: int, step: Array, shape: tuple[int, int], *, rate: float, like: Array, xp: Any, first_row: Any = None
) -> Array:
    """Return a mask (n_samples, n_units): 1 / (1 - rate) where a unit is kept, 0 where it is dropped.

    Parameters
    ----------
    key : int
        Names the seed and the layer: see `layer_key`.
    step : array (), int32
        Updates made so far.
    shape : (n_samples, n_units)
        Models on leading axes share the mask.
    rate : float in [0, 1)
        The share of units that is dropped; the rest is scaled up, so that the expected sum is kept
        (Srivastava et al. 2014, section 10, as "inverted" dropout).
    like : array
        Gives data type and device.
    first_row : int or array (), int32, optional
        The place in the batch of the mask's first row: parts of a batch have the parts of its mask.
    """
    element = xp.reshape(xp.arange(shape[0] * shape[1], dtype=xp.int32, device=device(like)), shape)
    if first_row is not None:
        element = element + first_row * shape[1]
    step_key = _mix(xp.reshape(step, (1, 1)) ^ key)
    draw = _mix(_mix(element) ^ step_key) & 0x7FFFFFFF
    return xp.astype(draw >= int(rate * 2**31), like.dtype) * (1.0 / (1.0 - rate))


def layer_key(seed: int, layer: int) -> int:
    """Return the int32 that names the layer's masks under this seed."""
    key = 0
    for word in (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, layer):
        key = _mix_word(key ^ word)
    return key - 2**32 if key >= 2**31 else key


def _mix(h: Array) -> Array:
    """Scatter the bits of int32 `h`: the function "lowbias32" of C. Wellons's hash-prospector (2018)."""
    h = h ^ ((h >> 16) & 0xFFFF)
    h = h * 0x7FEB352D
    h = h ^ ((h >> 15) & 0x1FFFF)
    h = h * (0x846CA68B - 2**32)
    return h ^ ((h >> 16) & 0xFFFF)


def _mix_word(h: int) -> int:
    """The same function of one Python integer, 0 <= h < 2^32, after a step that moves 0."""
    h = (h + 0x9E3779B9) & 0xFFFFFFFF
    h = (h ^ (h >> 16)) * 0x7FEB352D & 0xFFFFFFFF
    h = (h ^ (h >> 15)) * 0x846CA68B & 0xFFFFFFFF
    return h ^ (h >> 16)
