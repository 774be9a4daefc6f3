"""Measurements of backprop_xp; each module says in its first lines what it measures and how to run it."""
