"""Copies of a state: kept for as long as anything refers to them, and their memory used again then."""

import runpy
import sys

import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp.checkpoints import Checkpoints
from backprop_xp.engines import copies as copies_module
from backprop_xp.engines.copies import Copies

KEPT_AS = {
    "itself": lambda array: array,
    "a part": lambda array: array[1:, :1],
    "a view of a view": lambda array: array.T.reshape(2, 3)[:1],
    "a buffer": memoryview,
    "another library's": lambda array: pytest.importorskip("torch").from_numpy(array),
}


def state(value):
    return [np.full((3, 2), value), np.full(3, value, np.float32), np.asarray(value)]


@pytest.mark.parametrize(
    ("place", "keep"), [*((0, keep) for keep in KEPT_AS.values()), (1, KEPT_AS["itself"]), (2, KEPT_AS["itself"])],
    ids=[*KEPT_AS, "the second", "one number"],
)  # fmt: skip
def test_what_is_kept_in_any_way_stays(place, keep):
    copies = Copies()
    made = copies.of(state(1.0))
    kept = keep(made[place])
    del made
    for value in (2.0, 3.0, 4.0, 5.0):
        for array, given in zip(copies.of(state(value)), state(value), strict=True):
            np.testing.assert_array_equal(array, given, strict=True)
    assert (np.asarray(kept) == 1.0).all()


def test_memory_that_nobody_refers_to_is_used_again():
    copies, addresses, last = Copies(), [], []
    for value in range(6):  # as epochs do: what came of one is given up when that of the next is there
        last = copies.of(state(float(value)))
        addresses.append([array.ctypes.data for array in last])
    assert addresses[2:] == addresses[:4] == 2 * addresses[:2]
    assert addresses[0] != addresses[1]
    assert [float(array.reshape(-1)[0]) for array in last] == [5.0] * 3


def test_arrays_of_another_form_are_copied_all_the_same():
    copies = Copies()
    copies.of(state(1.0))
    for other in ([np.ones((2, 3)), *state(1.0)[1:]], [x.astype("float32") for x in state(1.0)], state(1.0)[:2], []):
        for array, given in zip(copies.of(other), other, strict=True):
            np.testing.assert_array_equal(array, given, strict=True)


def test_no_more_is_held_than_three_copies():
    copies = Copies()
    kept = [copies.of(state(float(value))) for value in range(5)]
    held = [array for made in copies._made for array in made]
    assert len(held) == 9
    assert held[-1] is kept[-1][-1]


def test_what_was_made_read_only_is_let_go_of():
    copies = Copies()
    for value in range(5):
        made = copies.of(state(float(value)))
        assert made[0][0, 0] == value
        made[0].flags.writeable = False


@pytest.mark.parametrize("traced", ["the import", "the copying"])
def test_nothing_is_overwritten_where_a_debugger_refers_to_all_in_sight(traced):
    referring, before = [], sys.getprofile()

    def on(what):
        sys.setprofile((lambda frame, *_: referring.append(frame.f_locals)) if traced == what else before)

    try:
        on("the import")
        copies = runpy.run_path(copies_module.__file__)["Copies"]()
        on("the copying")
        kept = [copies.of(state(float(value)))[0] for value in range(5)]
    finally:
        sys.setprofile(before)
    assert [array[0, 0] for array in kept] == [0.0, 1.0, 2.0, 3.0, 4.0]


def fresh_memory(engine, monkeypatch, **settings):
    """Return, of each state that a fit's engine copied out, whether it took memory anew."""
    if engine == "loops":
        pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(64, 300)), rng.normal(size=(64, 3))
    network = bx.Network((300, 250, 3), activation="tanh")  # so large that eager takes it in place
    trainer = bx.Trainer(network, optimizer=bx.adam(1e-4), engine=engine, batch_size=16, epochs=8, **settings)
    fresh, of = [], Copies.of

    def noting(copies, arrays):
        before = {array.ctypes.data for made in copies._made for array in made}
        made = of(copies, arrays)
        fresh.append(made[0].ctypes.data not in before)
        return made

    # What numba leaves of a compilation refers to the frames that were there, until it is collected as garbage.
    bx.Trainer(network, optimizer=bx.adam(1e-4), engine=engine, batch_size=16, epochs=1).fit(X, Y)
    monkeypatch.setattr(Copies, "of", noting)
    trainer.fit(X, Y)
    return fresh


@pytest.mark.parametrize("engine", ["eager", "loops"])
def test_a_fit_takes_memory_in_its_first_epochs_alone(engine, monkeypatch, tmp_path):
    one_by_one = [lambda record: None]  # who hears of every epoch before the next
    assert fresh_memory(engine, monkeypatch, callbacks=one_by_one) == [True] * 2 + [False] * 6
    monkeypatch.undo()
    assert not any(fresh_memory(engine, monkeypatch, patience=9)[3:])
    monkeypatch.undo()
    parts = fresh_memory(engine, monkeypatch, checkpoint=Checkpoints(tmp_path, every_steps=2))
    assert len(parts) == 16
    assert not any(parts[4:])
