"""Losses at the ends of float32, their reductions, their settings."""

import numpy as np
import pytest
from conftest import assert_trees_close

from backprop_xp import Network, losses
from backprop_xp.step import loss_head

LOGITS = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4 - 1], [88.8, -88.8], [-0.3, 0.2], [0.0, 0.0]])
TARGETS = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])


def expected(output):
    """Loss of each sample and its gradient, in float64 from the logarithms themselves."""
    z, Y = LOGITS, TARGETS
    if output == "softmax":
        log_p = z - np.logaddexp(z[:, :1], z[:, 1:])
        return -(Y * log_p).sum(), np.exp(log_p) - Y
    log_p, log_q = -np.logaddexp(0, -z), -np.logaddexp(0, z)
    return -(Y * log_p + (1 - Y) * log_q).sum(), np.exp(log_p) - Y


@pytest.mark.parametrize(("loss", "output"), [("cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid")])
def test_logits_of_ten_thousand_in_float32(lib, loss, output):
    head = loss_head(Network((1, 2), output=output), loss)
    with lib.no_host_reads():
        result = head(lib.array(LOGITS, "float32"), lib.array(TARGETS, "float32"), None, lib.xp)
    value, delta = lib.host(result)
    true_value, true_delta = expected(output)
    assert value.dtype == delta.dtype == np.float32
    np.testing.assert_allclose(value, true_value / 6, rtol=1e-6)
    np.testing.assert_allclose(delta, true_delta / 6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("output", ["sigmoid", "tanh", "softmax"])
@pytest.mark.parametrize("loss", ["squared_error", "half_squared_error", "absolute_error", "huber", "pinball"])
def test_saturating_outputs_stay_finite_in_float32(lib, loss, output):
    head = loss_head(Network((1, 2), output=output), loss)
    value, delta = lib.host(head(lib.array(LOGITS, "float32"), lib.array(TARGETS, "float32"), None, lib.xp))
    assert np.isfinite(value)
    assert np.isfinite(delta).all()


def test_reductions():
    P, Y = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[1.0, 0.0], [1.0, 1.0]])

    def value(loss, output="identity"):
        z = np.log(P) if output == "exp" else P
        from backprop_xp.namespaces import NUMPY

        return float(loss_head(Network((1, 2), output=output), loss)(z, Y, None, NUMPY)[0])

    assert value("half_squared_error") == (4 + 4 + 16) / 2
    assert value("squared_error") == 24 / 4
    assert value("absolute_error") == (2 + 2 + 4) / 4
    assert value("huber") == (1.5 + 1.5 + 3.5) / 4
    assert value(losses.huber(3.0)) == (2 + 2 + (3 * 4 - 4.5)) / 4
    assert value("pinball") == 8 / 2 / 4
    assert value(losses.pinball(0.9)) == pytest.approx(8 * 0.1 / 4)
    assert value("poisson", "exp") == pytest.approx((P - Y * np.log(P)).mean())


def test_a_flat_target_is_a_column_not_a_matrix(lib):
    head = loss_head(Network((1, 1)), "squared_error")
    z, y = lib.array([[1.0], [2.0], [3.0]]), lib.array([1.0, 2.0, 5.0])
    value, delta = lib.host(head(z, y, None, lib.xp))
    assert_trees_close((value, delta), (np.float64(4 / 3), np.array([[0.0], [0.0], [-4 / 3]])), rtol=1e-15)


@pytest.mark.parametrize(("factory", "bad"), [(losses.huber, 0.0), (losses.pinball, 1.0), (losses.pinball, -0.1)])
def test_settings_out_of_range(factory, bad):
    with pytest.raises(ValueError, match="must"):
        factory(bad)


@pytest.mark.parametrize(("loss", "output", "Y"), [
    ("squared_error", "identity", np.ones(3)), ("squared_error", "identity", np.ones((3, 1))),
    ("squared_error", "identity", np.ones((4, 2))), ("cross_entropy", "softmax", np.zeros((3, 1), int)),
    ("cross_entropy", "softmax", np.zeros(4, int)), ("binary_cross_entropy", "sigmoid", np.ones(3)),
])  # fmt: skip
def test_targets_that_would_be_broadcast_are_refused(lib, loss, output, Y):
    head = loss_head(Network((1, 2), output=output), loss)
    z, Y = lib.array(np.zeros((3, 2))), lib.array(Y, str(Y.dtype))
    with pytest.raises(ValueError, match=r"Y must be \(3, 2\)"):
        head(z, Y, None, lib.xp)


def test_labels_of_stacked_networks_are_labels_though_the_sizes_agree(lib):
    z, labels = np.random.default_rng(0).normal(size=(3, 3, 3)), np.array([[0, 1, 2], [2, 1, 0], [1, 1, 1]])
    head = loss_head(Network((1, 3), output="softmax"), "cross_entropy")
    value, _ = head(lib.array(z), lib.array(labels, "int32"), None, lib.xp)
    each = [head(lib.array(z[k]), lib.array(labels[k], "int32"), None, lib.xp)[0] for k in range(3)]
    np.testing.assert_allclose(lib.host(value), [float(lib.host(v)) for v in each], rtol=1e-12)
