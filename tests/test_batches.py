"""The orders of a run's epochs, which a thread draws ahead."""

import threading
import time

import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp import batches
from backprop_xp.batches import EpochOrders, epoch_order

MANY = 2**12


@pytest.fixture
def drawn(monkeypatch):
    """What has been drawn: the epochs and the threads."""
    draws = []

    def drawing(seed, epoch, n_samples):
        draws.append((epoch, threading.current_thread()))
        return epoch_order(seed, epoch, n_samples)

    monkeypatch.setattr(batches, "epoch_order", drawing)
    return draws


def wait_until(holds):
    end = time.monotonic() + 60
    while not holds() and time.monotonic() < end:
        time.sleep(0.001)
    assert holds()


@pytest.mark.parametrize("n_samples", [5, MANY - 1, MANY, 10_000])
def test_they_are_those_drawn_one_by_one(n_samples):
    orders = EpochOrders(3, n_samples, 4)
    for epoch in (1, 2, 2, 3, 4, 2, 9, 1):  # again, backwards, and past the end
        np.testing.assert_array_equal(orders.of(epoch), epoch_order(3, epoch, n_samples))
    orders.close()


def test_the_next_is_drawn_before_it_is_asked_for_and_none_twice_or_after_the_last(drawn):
    orders = EpochOrders(0, MANY, 3)
    for epoch in (1, 2, 3):
        orders.of(epoch)
        orders.of(epoch)
        n_drawn = min(epoch + 1, 3)
        wait_until(lambda n=n_drawn: len(drawn) == n)
    orders._thread.shutdown()  # waits for what was asked of it
    assert [epoch for epoch, _ in drawn] == [1, 2, 3]
    assert threading.main_thread() not in {thread for _, thread in drawn}


def test_several_are_those_drawn_one_by_one_and_as_many_more_are_drawn_ahead_up_to_the_last(drawn):
    orders = EpochOrders(3, 700, 20)
    for first, n_epochs, n_drawn in ((1, 2, 2), (3, 6, 14), (9, 6, 20), (15, 6, 20)):
        given = orders.of(first, n_epochs)
        expected = np.concatenate([epoch_order(3, epoch, 700) for epoch in range(first, first + n_epochs)])
        np.testing.assert_array_equal(given, expected)
        wait_until(lambda n=n_drawn: len(drawn) == n)
    orders._thread.shutdown()
    assert [epoch for epoch, _ in drawn] == [*range(1, 21)]
    assert [thread is threading.main_thread() for _, thread in drawn] == [True] * 2 + [False] * 18


def test_no_thread_for_few_rows(drawn):
    orders = EpochOrders(0, MANY - 1, 3)
    orders.of(1)
    orders.close()
    assert drawn == [(1, threading.main_thread())]


def test_an_order_that_fails_to_be_drawn_fails_when_its_epoch_comes(monkeypatch):
    def drawing(seed, epoch, n_samples):
        if epoch == 2:
            raise MemoryError
        return epoch_order(seed, epoch, n_samples)

    monkeypatch.setattr(batches, "epoch_order", drawing)
    orders = EpochOrders(0, MANY, 3)
    orders.of(1)
    with pytest.raises(MemoryError):
        orders.of(2)
    orders.close()


@pytest.mark.parametrize("ended", [False, True])
def test_a_fit_leaves_no_thread_however_it_ends(drawn, ended):
    def halt(record):
        if ended:
            raise ZeroDivisionError

    trainer = bx.Trainer(bx.Network((2, 1)), epochs=3, batch_size=64, engine="eager", callbacks=[halt])
    X = np.random.default_rng(0).normal(size=(MANY, 2))
    if ended:
        with pytest.raises(ZeroDivisionError) as error:  # whose traceback holds the run
            trainer.fit(X, X[:, :1])
        assert error.traceback
    else:
        trainer.fit(X, X[:, :1])
    threads = {thread for _, thread in drawn}
    assert threading.main_thread() not in threads
    wait_until(lambda: not any(thread.is_alive() for thread in threads))
    assert [epoch for epoch, _ in drawn] in ([[1], [1, 2]] if ended else [[1, 2, 3]])
