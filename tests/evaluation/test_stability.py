"""Flip rates and top-5 distances: against the slow definitions; sequences made, read and refused."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import rankdata

from pushpull.corruptions.perturbations import PERTURBATIONS, perturbed
from pushpull.data import ImageSplit, Preprocessing
from pushpull.errors import InputError, MissingFileError
from pushpull.evaluation import metrics
from pushpull.evaluation.stability import Stability, measure_stability


def slow(logits, noise):
    """Flip rate and top-5 distance of (sequences, frames, classes), by ranks of one pair after the other."""
    flips, distances = [], []
    cumulative = np.minimum(np.arange(logits.shape[2]), 5)
    for sequence in logits:
        ranks = [rankdata(-frame, method="ordinal").astype(int) for frame in sequence]
        for at in range(1, len(ranks)):
            first = ranks[0 if noise else at - 1]
            moved = ranks[at][np.argsort(first)]
            flips.append(np.argmin(ranks[at]) != np.argmin(first))
            distances.append(np.abs(cumulative[:5] - cumulative[moved - 1][:5]).sum())
    return np.mean(flips), np.mean(distances)


def run(network, data=None, **options):
    return measure_stability(network, data, preprocessing=Preprocessing(), batch_size=5, **options)


@pytest.fixture
def few(split):
    return split.subset(range(0, 53, 6))


def test_flips_and_distances_are_the_slow_ones(network, few):
    names = ["gaussian_noise", "rotate"]
    found = run(network, few, perturbations=names)
    assert (found.sequences, found.complete) == (9, True)
    network.eval()
    data = few.resident()
    for name in names:
        frames = perturbed(data.images, name, scale="cifar", seed=0, index=data.index)
        with torch.no_grad():
            logits = torch.stack([network(frame / 255) for frame in frames], dim=1)
        flips, distance = slow(logits.numpy(), noise="noise" in name)
        assert found.flip_rates[name] == pytest.approx(flips)
        assert found.top5_distances[name] == pytest.approx(distance)
    assert found.mean_flip_probability == pytest.approx(np.mean(list(found.flip_rates.values())))


def test_top5_distances_by_hand():
    first = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3]])
    assert metrics.top5_distances(first, first).tolist() == [0]
    swapped = torch.tensor([[8.0, 9, 7, 6, 5, 4, 3]])
    assert metrics.top5_distances(first, swapped).tolist() == [2]
    assert metrics.top5_distances(first, -first).tolist() == [5 + 4 + 2 + 0 + 2]
    ratio = metrics.mean_top5_distance({"tilt": 1.0, "scale": 6.0}, {"tilt": 2.0, "scale": 2.0})
    assert ratio == pytest.approx(1.75)
    with pytest.raises(InputError, match="lack scale"):
        metrics.mean_top5_distance({"scale": 1.0}, {})


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_sequences_are_made_alike_whatever_the_batch(name):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=generator)
    options = {"scale": "cifar", "seed": 1}
    frames = list(perturbed(images, name, index=torch.tensor([5, 6, 7]), **options))
    assert len(frames) == {"motion_blur": 21, "translate": 16}.get(name, 31)
    assert {(frame.dtype, frame.shape) for frame in frames} == {(torch.uint8, images.shape)}
    alone = list(perturbed(images[1:2], name, index=torch.tensor([6]), **options))
    assert all(torch.equal(one[0], frame[1]) for one, frame in zip(alone, frames, strict=True))
    assert any(not torch.equal(frame, frames[0]) for frame in frames)
    still = {"gaussian_noise": 0, "shot_noise": 0, "zoom_blur": 0, "translate": 7}
    still |= {"brightness": 15, "rotate": 15, "scale": 15}
    if name in still:  # the frame where nothing is done
        assert (frames[still[name]].int() - images.int()).abs().max() <= 1


def test_amounts():
    image = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
    image[..., 16, 16] = 200
    options = {"scale": "cifar", "seed": 0, "index": torch.tensor([0])}
    shifts = [int(frame[0, 0].argmax()) % 32 - 16 for frame in perturbed(image, "translate", **options)]
    assert shifts == list(range(-7, 9))
    levels = [int(frame[0, 0, 0, 0]) for frame in perturbed(image, "brightness", **options)]
    assert levels[0] == pytest.approx(100 - 15 * 0.015 * 255, abs=1)
    assert levels[-1] == pytest.approx(100 + 15 * 0.015 * 255, abs=1)
    noise = torch.stack(list(perturbed(image, "gaussian_noise", **options)))[1:].double()
    assert noise[..., :16, :].std().item() / 255 == pytest.approx(0.02, rel=0.05)
    shot = torch.stack(list(perturbed(image, "shot_noise", **options)))[1:].double()
    assert shot[..., :16, :].std().item() / 255 == pytest.approx((100 / 255 / 700) ** 0.5, rel=0.05)


def test_tilt_is_the_published_matrix():
    cv2 = pytest.importorskip("cv2")
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 6, 6, generator=generator)
    image = (torch.nn.functional.interpolate(picture, (32, 32), mode="bilinear") * 255).to(torch.uint8)
    frames = list(perturbed(image, "tilt", scale="cifar", seed=0, index=torch.tensor([0])))
    for at in (0, 20, 30):
        a = np.deg2rad(0.75 * (at - 15))
        c, s, f = np.cos(a), np.sin(a), np.sqrt(2) * 32
        flat = np.array([[1, 0, -16], [0, 1, -16], [0, 0, 1], [0, 0, 1]])
        about_x = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
        about_y = np.array([[c, 0, -s, 0], [0, 1, 0, 0], [s, 0, c, 0], [0, 0, 0, 1]])
        away = np.eye(4)
        away[2, 3] = f
        seen = np.array([[f, 0, 16, 0], [0, f, 16, 0], [0, 0, 1, 0]])
        matrix = seen @ away @ about_x @ about_y @ flat
        expected = cv2.warpPerspective(image[0].permute(1, 2, 0).numpy(), matrix, (32, 32))
        inside = (expected > 0).all(2)[3:-3, 3:-3]
        difference = np.abs(frames[at][0].permute(1, 2, 0).numpy().astype(int) - expected)[3:-3, 3:-3][inside]
        assert difference.mean() < 1.5


def test_published_layouts_give_the_same(network, few, tmp_path):
    data = few.resident()
    for name in ("rotate", "shot_noise"):
        frames = list(perturbed(data.images, name, scale="cifar", seed=0, index=data.index))
        array = torch.stack(frames, 1).permute(0, 1, 3, 4, 2).numpy()
        (tmp_path / "arrays").mkdir(exist_ok=True)
        np.save(tmp_path / "arrays" / f"{name}.npy", array)
        for number, sequence in enumerate(array):
            folder = tmp_path / "frames" / name / f"class{number // 5}" / f"{number}"
            folder.mkdir(parents=True)
            for at, frame in enumerate(sequence):
                Image.fromarray(frame).save(folder / f"img{at}.png")  # img10 comes after img9
    np.save(tmp_path / "arrays" / "labels.npy", np.zeros(9))
    made = run(network, few, perturbations=["rotate", "shot_noise"])
    for layout in ("arrays", "frames"):
        read = run(network, perturbed=str(tmp_path / layout), output=tmp_path / layout)
        assert read.flip_rates == pytest.approx(made.flip_rates)
        assert read.top5_distances == pytest.approx(made.top5_distances)
        assert Stability.load(tmp_path / layout) == read
    with pytest.raises(InputError, match="is there already; --overwrite"):
        run(network, perturbed=str(tmp_path / "arrays"), output=tmp_path / "arrays")
    assert run(network, perturbed=str(tmp_path / "frames"), limit=4).sequences == 4
    rates = {"rotate": 0.1, "shot_noise": 0.2}
    a, b = (dataclasses.replace(read, flip_rates=of) for of in (rates, {**rates, "rotate": 0.2}))
    assert a.mean_flip_rate(b) == pytest.approx((0.5 + 1) / 2)
    with pytest.raises(InputError, match=r"source is .* of the baseline"):
        made.mean_flip_rate(read)


def test_videos_are_read(network, tmp_path):
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path / "tilt" / "n01"
    folder.mkdir(parents=True)
    writer = cv2.VideoWriter(str(folder / "a.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 1, (32, 32))
    for level in range(0, 250, 50):
        writer.write(np.full((32, 32, 3), level, np.uint8))
    writer.release()
    assert run(network, perturbed=str(tmp_path)).sequences == 1
    (folder / "a.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"a\.mp4 cannot be read as a video"):
        run(network, perturbed=str(tmp_path))


def test_what_is_refused(network, few, tmp_path):
    with pytest.raises(InputError, match=r"perturbation='tillt' is not one of .*did you mean 'tilt'"):
        run(network, few, perturbations=["tillt"])
    with pytest.raises(MissingFileError, match="is not a folder"):
        run(network, few, perturbed=str(tmp_path / "none"))
    with pytest.raises(InputError, match="holds no sequences"):
        run(network, few, perturbed=str(tmp_path))
    np.save(tmp_path / "tilt.npy", np.zeros((2, 3, 32, 32), np.uint8))
    with pytest.raises(InputError, match=r"tilt\.npy is \(2, 3, 32, 32\) uint8"):
        run(network, few, perturbed=str(tmp_path))
    with pytest.raises(InputError, match="data is missing"):
        run(network)
    with pytest.raises(InputError, match="scale of perturbations='tiny'"):
        run(network, few, scale="tiny")
    for rates, said in (
        ('{"a": "x"}', "not a table of numbers"),
        ('{"a": NaN}', r"in \[0, 1\]"),
        ("{}", "no pert"),
    ):
        text = f'{{"schema": "pushpull-stability/1", "flip_rates": {rates}, "top5_distances": {{}}}}'
        (tmp_path / "stability.json").write_text(text)
        with pytest.raises(InputError, match=said):
            Stability.load(tmp_path)
    broken = ImageSplit.from_tensors(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1).long())
    assert run(network, broken, perturbations=["scale"]).flip_rates["scale"] >= 0
