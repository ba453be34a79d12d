"""Prototypes by hand, limits and guards."""

import math

import pytest
import torch

from cdgkd_utils.methods.prototypes import (
    Prototypes,
    class_means,
    distances,
    log_probabilities,
    own_class_probability,
    prototype_cross_entropy,
)

Z = torch.tensor([[0.0, 0.0], [2.0, 0.0], [10.0, 4.0]])
Y = torch.tensor([0, 0, 1])
BOTH = torch.tensor([True, True])


def test_class_means_by_hand_and_by_loop():
    means, present = class_means(Z, Y)
    assert means.tolist() == [[1.0, 0.0], [10.0, 4.0]]
    assert present.all()
    z, y = torch.randn(40, 7, dtype=torch.float64), torch.randint(0, 2, (40,))
    for k in (0, 1):
        torch.testing.assert_close(
            class_means(z, y)[0][k], torch.stack([a for a, b in zip(z, y, strict=True) if b == k]).mean(0)
        )


def test_distance_is_euclidean_not_squared():
    d = distances(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    torch.testing.assert_close(d, torch.tensor([[5.0, 0.0]]), atol=2e-6, rtol=0)


def test_probability_and_cross_entropy_by_hand():
    prototypes = torch.tensor([[0.0], [3.0]])
    z, y = torch.tensor([[1.0], [2.5]]), torch.tensor([0, 1])
    # distances 1, 2 and 2.5, 0.5
    p = [math.exp(-1) / (math.exp(-1) + math.exp(-2)), math.exp(-0.5) / (math.exp(-2.5) + math.exp(-0.5))]
    torch.testing.assert_close(own_class_probability(z, y, prototypes, BOTH), torch.tensor(p))
    expected = -(math.log(p[0]) + math.log(p[1])) / 2
    assert prototype_cross_entropy(z, y, prototypes, BOTH).item() == pytest.approx(expected, rel=1e-5)


def test_equal_distance_is_a_coin_and_far_prototypes_are_certain():
    assert (
        own_class_probability(torch.zeros(1, 3), Y[:1], torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]), BOTH).item() == 0.5
    )
    far = own_class_probability(torch.zeros(1, 1), Y[:1], torch.tensor([[0.0], [100.0]]), BOTH)
    assert far.item() == pytest.approx(1)


def test_normalised_distance_ignores_the_scale_of_the_features():
    z, c = torch.randn(5, 8), torch.randn(2, 8)
    torch.testing.assert_close(distances(z, c, "normalised"), distances(37 * z, 0.01 * c, "normalised"))
    opposite = distances(torch.tensor([[1.0, 0.0]]), torch.tensor([[-5.0, 0.0]]), "normalised")
    assert opposite.item() == pytest.approx(20)  # scale 10 times a chord of 2
    with pytest.raises(ValueError, match="kind must be"):
        distances(z, c, "cosine")


def test_gradient_is_finite_at_the_prototype_and_none_reaches_it():
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    z = torch.tensor([[1.0, 0.0]], requires_grad=True)
    prototype_cross_entropy(z, torch.tensor([0]), prototypes, BOTH).backward()
    assert torch.isfinite(z.grad).all()
    assert prototypes.grad is None


def test_gradient_descent_pulls_to_the_own_prototype():
    z = torch.tensor([[0.4, 0.1]], requires_grad=True)
    prototypes = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    prototype_cross_entropy(z, torch.tensor([0]), prototypes, BOTH).backward()
    before = (z.detach() - prototypes[0]).norm()
    assert (z.detach() - 0.1 * z.grad - prototypes[0]).norm() < before


def test_a_class_that_was_never_seen_gives_no_nan():
    means, present = class_means(Z, torch.zeros(3, dtype=torch.long))
    assert present.tolist() == [True, False]
    assert torch.isfinite(means).all()
    z = Z.clone().requires_grad_()
    loss = prototype_cross_entropy(z, Y, means, present)
    loss.backward()
    assert loss.item() == 0  # only one class to choose from
    assert torch.isfinite(z.grad).all()
    assert own_class_probability(Z, Y, means, present).tolist() == [1.0, 1.0, 0.0]
    nothing = prototype_cross_entropy(z, Y, means, torch.tensor([False, False]))
    assert nothing.item() == 0


def test_running_prototypes_move_by_the_momentum_and_keep_an_absent_class():
    running = Prototypes(momentum=0.75)
    running.update(torch.tensor([[4.0], [8.0]]), torch.tensor([0, 0]))
    assert running.value[0].item() == 6
    assert running.present.tolist() == [True, False]
    running.update(torch.tensor([[2.0], [1.0]]), torch.tensor([0, 1]))
    assert running.value[0].item() == pytest.approx(0.25 * 2 + 0.75 * 6)
    assert running.value[1].item() == 1  # first seen now: no momentum from an empty value
    running.update(torch.tensor([[100.0]]), torch.tensor([1]))
    assert running.value[0].item() == pytest.approx(5)
    assert running.present.all()
    assert not running.value.requires_grad


def test_log_probabilities_sum_to_one():
    p = log_probabilities(torch.randn(9, 4), torch.randn(2, 4), BOTH).exp()
    torch.testing.assert_close(p.sum(1), torch.ones(9))
