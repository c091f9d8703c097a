"""Distillation by hand, and as a recipe's option; the stem's own weight decay."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torchvision.models.googlenet import GoogLeNetOutputs

from pushpull import InputError, parameter_groups
from pushpull.augment import jsd_loss
from pushpull.data import Preprocessing
from pushpull.errors import MissingFileError
from pushpull.models import resnet8
from pushpull.training import AugmentConfig, LossConfig, OptimConfig, Recipe, train
from pushpull.training.loaders import mixing, views
from pushpull.training.module import Classifier, check_network, distillation, load_teacher


def test_distillation_by_hand():
    logits, teacher = torch.tensor([[2.0, 0.0]], requires_grad=True), torch.tensor([[0.0, 4.0]])
    labels = torch.tensor([1])
    # Softened by T = 2: the student's odds are e^1 : 1, the teacher's 1 : e^2.
    p = [1 / (1 + math.e**2), math.e**2 / (1 + math.e**2)]
    q = [math.e / (1 + math.e), 1 / (1 + math.e)]
    divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    cross_entropy = math.log(1 + math.e**2)
    loss = distillation(logits, teacher.requires_grad_(), labels)
    assert loss.item() == pytest.approx(0.7 * 4 * divergence + 0.3 * cross_entropy, rel=1e-6)
    loss.backward()
    assert teacher.grad is None
    # d/dz of T^2 KL is T (q - p), of the cross-entropy softmax(z) - label.
    soft = 2 * (q[0] - p[0])
    hard = math.e**2 / (1 + math.e**2)
    assert logits.grad[0, 0].item() == pytest.approx(0.7 * soft + 0.3 * hard, rel=1e-6)


def test_distillation_is_the_mean_over_the_batch_and_can_be_all_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, 5, 4, generator=generator).unbind()
    labels = torch.tensor([0, 1, 2, 3, 0])
    alone = [distillation(logits[i : i + 1], teacher[i : i + 1], labels[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(distillation(logits, teacher, labels), torch.stack(alone).mean())
    same = distillation(logits, logits, labels, teacher_weight=1.0)
    assert same.item() == pytest.approx(0.0, abs=1e-6)


def test_a_run_teaches_another(few, recipe, tmp_path):
    teacher = train(replace(recipe, epochs=1), tmp_path / "teacher", progress=False, splits=few)
    pupil = replace(recipe, epochs=1, seed=1)
    alone = train(pupil, tmp_path / "alone", progress=False, splits=few)
    taught = replace(pupil, loss=LossConfig(teacher=str(teacher)))
    folder = train(taught, tmp_path / "taught", progress=False, splits=few)
    own, other = (load_file(path / "model.safetensors") for path in (alone, folder))
    assert own.keys() == other.keys()  # the teacher is not stored
    assert not torch.equal(own["fc.weight"], other["fc.weight"])
    assert "teacher" not in str(torch.load(folder / "last.ckpt", weights_only=True)["state_dict"].keys())

    images = few.test.resident(few.framing).images
    logits = load_teacher(teacher, few.classes)(images)
    assert not logits.requires_grad
    with pytest.raises(InputError, match="give a run on the same classes"):
        load_teacher(teacher, few.classes[:3])
    with pytest.raises(MissingFileError, match="does not exist"):
        train(replace(taught, loss=LossConfig(teacher="no-such-run")), tmp_path / "x", splits=few)


def test_consistency_is_trained_with(few, recipe, tmp_path):
    """One step by hand: the clean images' cross-entropy and the three views' disagreement."""
    prime = replace(recipe.augment, policy="prime")
    recipe = replace(recipe, epochs=1, batch_size=50, augment=prime, loss=LossConfig(jsd=12.0))
    seen = []
    step = Classifier.training_step

    def watched(self, batch, number):
        loss = step(self, batch, number)
        if not seen:
            images, labels = batch
            state = copy.deepcopy(self.model)
            p = state(self.preprocessing(images)).detach().softmax(1).chunk(3)
            middle = (sum(p) / 3).clamp(1e-7, 1)
            apart = sum((q * (q / middle).log()).sum(1).mean() for q in p) / 3
            expected = F.nll_loss(p[0].log(), labels) + 12 * apart
            seen.append((len(images), len(labels), loss.item(), expected.item()))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "training_step", watched)
        train(recipe, tmp_path / "run", progress=False, splits=few)
    [(images, labels, loss, expected)] = seen
    assert (images, labels) == (150, 50)
    assert loss == pytest.approx(expected, rel=1e-4)
    streamed = replace(few, train=replace(few.train, memory_limit_gib=0.0))
    other = train(replace(recipe, workers=0), tmp_path / "streamed", progress=False, splits=streamed)
    assert (other / "results.json").is_file()


def test_a_first_layer_decayed_otherwise():
    model = resnet8(stem="pp3_alpha")
    others, stem, alpha = parameter_groups(model, 0.1, stem_weight_decay=0.02)
    assert [group["weight_decay"] for group in (others, stem, alpha)] == [0.1, 0.02, 0.0]
    assert [id(p) for p in stem["params"]] == [id(model.conv1.weight)]
    assert [id(p) for p in alpha["params"]] == [id(model.conv1.alpha)]
    assert sum(len(group["params"]) for group in (others, stem, alpha)) == len(list(model.parameters()))
    with pytest.raises(InputError, match="weight_decay=-1"):
        parameter_groups(model, 0.1, stem_weight_decay=-1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jsd": -1.0}, "jsd=-1.0 must be 0 or more"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ({"teacher_weight": 1.5}, "teacher_weight=1.5 above 0 and at most 1"),
    ],
)
def test_losses_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        LossConfig(**options)


def test_consistency_needs_views_to_compare():
    with pytest.raises(InputError, match=r"augment\.policy is none"):
        Recipe(loss=LossConfig(jsd=12.0))


def test_the_views_of_a_batch(recipe):
    generator = torch.Generator().manual_seed(0)
    batch = torch.randint(256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator)
    index = torch.arange(6)
    recipe = replace(
        recipe, augment=replace(recipe.augment, policy="trivialaugment"), loss=LossConfig(jsd=12.0)
    )
    clean, first, second = views(batch, index, recipe, 0).chunk(3)
    assert torch.equal(clean, batch)
    assert not torch.equal(first, second)
    plain = replace(recipe, loss=LossConfig())
    assert torch.equal(views(batch, index, plain, 0), first)
    later = [views(batch, index, plain, epoch) for epoch in range(1, 4)]
    assert not any(torch.equal(part, second) for part in later)


def test_a_network_that_does_not_suit_the_images_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 7), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    check_network(model, "mine", Preprocessing(), {(8, 8), (9, 7)}, 4)
    assert model.training
    assert model[1].num_batches_tracked == 0
    with pytest.raises(
        InputError, match=r"mine cannot take images of 5x5 .* set preprocessing\.size"
    ) as caught:
        check_network(model, "mine", Preprocessing(), {(5, 5)}, 4)
    assert "\n" not in str(caught.value)
    check_network(model, "mine", Preprocessing(size=(8, 8)), {(5, 5)}, 4)
    with pytest.raises(InputError, match=r"mine gives \(1, 4\) for an image, not 10 logits"):
        check_network(model, "mine", Preprocessing(), {(8, 8)}, 10)


def test_side_heads_are_trained_too():
    class Headed(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.aside = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            x = x.mean((2, 3))
            return GoogLeNetOutputs(self.main(x), self.aside(x), None)

    module = Classifier(Headed(), Preprocessing(), OptimConfig(), 4, channels_last=False)
    images, labels = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 1])
    outputs = module(images)
    losses = [nn.functional.cross_entropy(logits, labels) for logits in outputs[:2]]
    torch.testing.assert_close(module.training_step((images, labels), 0), losses[0] + 0.3 * losses[1])


def test_consistency_and_a_teacher_go_together():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    images, labels = torch.randint(256, (6, 3, 2, 2), dtype=torch.uint8), torch.tensor([0, 2])
    logits_of_teacher = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0]])
    asked = []

    def teacher(clean):
        asked.append(clean)
        return logits_of_teacher

    loss = LossConfig(jsd=12.0, temperature=3.0, teacher_weight=0.4)
    module = Classifier(model, Preprocessing(), OptimConfig(), 10, False, loss=loss, teacher=teacher)
    logits = module(images)
    clean, one, other = logits.chunk(3)
    expected = distillation(clean, logits_of_teacher, labels, temperature=3.0, teacher_weight=0.4)
    expected = expected + jsd_loss(clean, (one, other), labels, weight=12.0) - F.cross_entropy(clean, labels)
    torch.testing.assert_close(module.training_step((images, labels), 0), expected)
    assert torch.equal(asked[0], images[:2])


def test_adamw_has_its_own_decay_and_the_one_cycle():
    model = torch.nn.Linear(2, 2)
    optim = OptimConfig(algorithm="adamw", momentum=0.85, weight_decay=0.05)
    made = Classifier(model, Preprocessing(), optim, 100, False).configure_optimizers()
    optimizer = made["optimizer"]
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["betas"] == (0.85, 0.999)
    assert optimizer.param_groups[0]["weight_decay"] == 0.05
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < 100:
            made["lr_scheduler"]["scheduler"].step()
    assert (rates[0], max(rates)) == (pytest.approx(optim.initial_lr), pytest.approx(optim.max_lr, rel=1e-3))
    for wrong, message in (({"algorithm": "adam"}, "optim.algorithm"), ({"ema": 1.0}, r"optim\.ema=1\.0")):
        with pytest.raises(InputError, match=message):
            OptimConfig(**wrong)


def test_the_stems_rate_is_a_factor_of_the_others_all_along():
    model = resnet8(stem="pp3")
    optim = OptimConfig(initial_lr=0.01, max_lr=0.1, stem_lr=0.25)
    made = Classifier(model, Preprocessing(), optim, 10, False).configure_optimizers()
    others, stem = made["optimizer"].param_groups
    assert [id(p) for p in stem["params"]] == [id(model.conv1.weight)]
    for step in range(10):
        assert stem["lr"] == pytest.approx(0.25 * others["lr"])
        made["optimizer"].step()
        if step < 9:
            made["lr_scheduler"]["scheduler"].step()
    with pytest.raises(InputError, match=r"optim\.stem_lr=0"):
        OptimConfig(stem_lr=0)


def test_mixed_images_have_mixed_labels(few, recipe, tmp_path):
    mixed = replace(recipe, augment=replace(recipe.augment, mixup=0.2, cutmix=1.0), epochs=1)
    first, again = (train(mixed, tmp_path / name, progress=False, splits=few) for name in "ab")
    plain = train(replace(recipe, epochs=1), tmp_path / "plain", progress=False, splits=few)
    weights = [load_file(folder / "model.safetensors")["fc.weight"] for folder in (first, again, plain)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    mix = mixing(AugmentConfig(mixup=0.4), 3)
    _, labels = mix(torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0]))
    assert labels.shape == (4, 3)
    torch.testing.assert_close(labels.sum(1), torch.ones(4))
    with pytest.raises(InputError, match="mix the labels"):
        replace(mixed, loss=LossConfig(jsd=1.0), augment=replace(mixed.augment, policy="prime"))


def test_frozen_norms_keep_their_statistics_and_normalise_by_them(few, recipe, tmp_path):
    frozen = replace(recipe, epochs=1, optim=replace(recipe.optim, freeze_norms=True))
    states = {}
    for name, one in (("frozen", frozen), ("moved", replace(recipe, epochs=1))):
        folder = train(one, tmp_path / name, progress=False, splits=few)
        states[name] = load_file(folder / "model.safetensors")
    mean = "bn1.running_mean"
    assert torch.equal(states["frozen"][mean], torch.zeros_like(states["frozen"][mean]))
    assert not torch.equal(states["moved"][mean], states["frozen"][mean])
    assert not torch.equal(states["moved"]["bn1.weight"], states["frozen"]["bn1.weight"])  # these train
