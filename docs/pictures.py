"""Draws docs/images/why.jpg: what push and pull answer to a photograph, clean and noisy.

PUSHPULL_OFFLINE=1 python docs/pictures.py
"""

from pathlib import Path

import torch
from matplotlib.figure import Figure

import pushpull
from pushpull.copies.gallery import sample_image
from pushpull.data.preprocessing import to_tensor
from pushpull.files import atomic_path
from pushpull.unit.functional import respond

IMAGES = Path(__file__).parent / "images"


def edge_layer() -> pushpull.PushPullConv2d:
    """One upright edge filter of 7 x 7 px, whose pull kernel is its mirror image."""
    layer = pushpull.PushPullConv2d(3, 1, 7, padding=3, bias=False, padding_mode="reflect", offset="mean")
    y, x = torch.meshgrid(torch.linspace(-1, 1, 7), torch.linspace(-1, 1, 7), indexing="ij")
    layer.weight.data[0] = torch.sin(3 * x) * torch.exp(-2 * (x.square() + y.square()))
    return layer.double()


def draw() -> Path:
    """Write the picture: a row each for the photograph, and for it under noise and fog."""
    layer, clean = edge_layer(), to_tensor(sample_image(224))
    rows = {"clean": clean}
    for name in ("gaussian_noise", "fog"):
        rows[name.replace("_", " ")] = pushpull.corrupt(
            clean[None], name, 3, seed=0, index=[0], scale="imagenet"
        )[0]
    figure = Figure(figsize=(8.2, 6.3), layout="constrained", facecolor="white")
    panels = figure.subplots(len(rows), 4)
    for line, (name, pixels) in zip(panels, rows.items(), strict=True):
        with torch.no_grad():
            x, weight, window = layer.prepared(pixels[None].double() / 255)
            push, difference = (respond(x, weight, None, alpha, window)[0, 0] for alpha in (0.0, 1.0))
        most, reach = float(push.quantile(0.998)), float(difference.abs().quantile(0.998))
        line[0].imshow(pixels.permute(1, 2, 0).numpy())
        for panel, response in ((line[1], push), (line[2], push - difference)):
            panel.imshow(response.numpy(), cmap="gray", vmin=0, vmax=most)
        line[3].imshow(difference.numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach)
        line[0].text(-0.06, 0.5, name, transform=line[0].transAxes, rotation=90, ha="center", va="center")
    for panel, head in zip(panels[0], ("image", "push", "pull", "push \u2212 pull"), strict=True):
        panel.set_title(head, fontsize=11)
    for panel in panels.flat:
        panel.set_axis_off()
    with atomic_path(IMAGES / "why.jpg") as temporary:
        figure.savefig(temporary, dpi=100, format="jpg", pil_kwargs={"quality": 85})
    return IMAGES / "why.jpg"


if __name__ == "__main__":
    print(draw())
