"""The consistency loss against a literal version, and where its value is known."""

import math

import pytest
import torch

from pushpull.augment import jsd_loss
from support import assert_near


def _logits(seed, count=7, classes=5, scale=2.0):
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


_LABELS = torch.tensor([0, 1, 2, 3, 4, 0, 1])


def _literal(clean, first, second, labels, weight):
    def softmax(row):
        exponentials = [math.exp(v) for v in row]
        return [v / sum(exponentials) for v in exponentials]

    entropy = disagreement = 0.0
    for rows, label in zip(
        zip(*(t.tolist() for t in (clean, first, second)), strict=True), labels, strict=True
    ):
        p = [softmax(row) for row in rows]
        entropy -= math.log(p[0][label])
        middle = [min(max(sum(q) / 3, 1e-7), 1.0) for q in zip(*p, strict=True)]
        for q in p:
            disagreement += sum(a * math.log(a / b) for a, b in zip(q, middle, strict=True)) / 3
    return (entropy + weight * disagreement) / len(labels)


@pytest.mark.parametrize("weight", [12.0, 1.5])
def test_it_is_the_literal_sum(weight):
    clean, first, second = (_logits(seed) for seed in range(3))
    ours = jsd_loss(clean, (first, second), _LABELS, weight=weight)
    assert ours.item() == pytest.approx(_literal(clean, first, second, _LABELS.tolist(), weight), rel=1e-5)


def test_where_all_agree_it_is_the_cross_entropy():
    clean = _logits(0)
    shifted = clean + 3.0  # the same softmax
    assert_near(jsd_loss(clean, (clean, shifted), _LABELS), torch.nn.functional.cross_entropy(clean, _LABELS))


def test_three_certain_and_different_predictions_disagree_by_log_three():
    certain = 200.0 * torch.eye(3)
    clean, first, second = certain[:1], certain[1:2], certain[2:]
    ours = jsd_loss(clean, (first, second), torch.tensor([0]))
    assert ours.item() == pytest.approx(12 * math.log(3), rel=1e-5)


def test_views_may_change_places_and_gradients_are_finite():
    clean, first, second = (_logits(seed, scale=300.0).requires_grad_() for seed in range(3))
    loss = jsd_loss(clean, (first, second), _LABELS)
    assert_near(loss, jsd_loss(clean, (second, first), _LABELS))
    loss.backward()
    assert all(part.grad.isfinite().all() for part in (clean, first, second))


def test_its_gradient_is_the_numerical_one():
    parts = [_logits(seed, 3, 4).double().requires_grad_() for seed in range(3)]
    labels = torch.tensor([0, 3, 1])
    loss = jsd_loss(parts[0], (parts[1], parts[2]), labels, label_smoothing=0.1)
    loss.backward()
    step = 1e-2
    for number, part in enumerate(parts):
        for at in [(0, 0), (2, 3)]:
            values = []
            for sign in (step, -step):
                moved = [p.detach().clone() for p in parts]
                moved[number][at] += sign
                values.append(jsd_loss(moved[0], (moved[1], moved[2]), labels, label_smoothing=0.1).item())
            assert part.grad[at].item() == pytest.approx((values[0] - values[1]) / (2 * step), abs=2e-3)


def test_half_precision_logits_are_summed_in_float32():
    clean, first, second = (_logits(seed) for seed in range(3))
    half = [part.bfloat16() for part in (clean, first, second)]
    ours = jsd_loss(half[0], (half[1], half[2]), _LABELS)
    assert ours.dtype == torch.float32
    assert_near(ours, jsd_loss(half[0].float(), (half[1].float(), half[2].float()), _LABELS))
