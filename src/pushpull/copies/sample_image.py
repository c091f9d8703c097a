"""A picture of our own, drawn by arithmetic, which anyone may ship: what the gallery shows by default."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_SIDE = 1024  # px that it is drawn at, four times the usual size: the reduction smooths the edges
_SUN = (240, 215)
_HOUSE = (560, 560, 860, 800)  # left, top, right, bottom of the wall


def sample_image(side: int = 256) -> Image.Image:
    """Return a landscape, RGB, `side` x `side` px, always the same.

    It has what corruptions act on: smooth gradients, saturated colours, straight and round edges, texture.
    """
    # RandomState's stream is frozen for good, which that of numpy's newer generators is not.
    random = np.random.RandomState(5)
    picture = _sky()
    _clouds(picture, random)
    _mountains(picture, random)
    _meadow(picture, random)
    draw = ImageDraw.Draw(picture)
    _house(draw, random)
    _tree(draw, random)
    _fence(draw)
    _balloon(draw)
    _flowers(draw, random)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def _sky() -> Image.Image:
    """Return a blue that pales towards the horizon, with the sun and its halo."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE]
    height = np.clip(y / 620, 0, 1)[..., None]
    colour = (1 - height) * np.array([52, 120, 205]) + height * np.array([250, 222, 186])
    distance = np.hypot(x - _SUN[0], y - _SUN[1])[..., None]
    colour = colour + np.exp(-distance / 120) * np.array([150, 110, 20])
    colour = np.where(distance < 62, np.array([255, 244, 190]), colour)
    return Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8))


def _clouds(picture: Image.Image, random: np.random.RandomState) -> None:
    mask = Image.new("L", picture.size)
    draw = ImageDraw.Draw(mask)
    for left, top, width in ((330, 95, 250), (700, 300, 260), (20, 380, 200)):
        for _ in range(26):
            u, v = random.uniform(0, 1), random.uniform(-1, 1)
            radius = 10 + 38 * math.sin(math.pi * u) * random.uniform(0.6, 1)
            _disk(draw, left + u * width, top + v * 16, radius, 225)
    picture.paste((255, 255, 255), mask=mask.filter(ImageFilter.GaussianBlur(5)))


def _ridge(random: np.random.RandomState, base: float, heights: tuple[float, ...]) -> np.ndarray:
    """Return a line of heights, px from the top, a sum of waves of ever shorter length."""
    x = np.arange(_SIDE)
    line = np.full(_SIDE, float(base))
    for octave, height in enumerate(heights):
        line += height * np.sin(x * 2**octave * 2 * math.pi / 900 + random.uniform(0, 2 * math.pi))
    return line


def _mountains(picture: Image.Image, random: np.random.RandomState) -> None:
    """Paint two ranges, the farther with snow on it."""
    y, pixels = np.mgrid[0:_SIDE, 0:_SIDE][0], np.array(picture)
    far = _ridge(random, 470, (50, 46, 26, 13, 8, 5, 3))
    snow = far + 45 + 14 * np.sin(np.arange(_SIDE) / 11) + random.uniform(-5, 5, _SIDE)
    shade = random.uniform(0.9, 1.05, (_SIDE, _SIDE, 1))
    pixels = np.where((y > far)[..., None], shade * np.array([104, 112, 150]), pixels)
    pixels = np.where(((y > far) & (y < snow))[..., None], shade * np.array([240, 244, 250]), pixels)
    near = _ridge(random, 600, (18, 16, 10, 5, 6, 5, 5))
    shade = random.uniform(0.75, 1.2, (_SIDE, _SIDE, 1))
    pixels = np.where((y > near)[..., None], shade * np.array([36, 92, 70]), pixels)
    picture.paste(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def _meadow(picture: Image.Image, random: np.random.RandomState) -> None:
    """Paint grass, with the furrows of a field on the left that widen towards the viewer."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE]
    edge = _ridge(random, 690, (26, 8, 3))
    depth = np.clip((y - 640) / (_SIDE - 640), 0.02, 1)[..., None]
    blades = random.uniform(0.8, 1.2, (_SIDE, _SIDE, 1))
    grass = blades * ((1 - depth) * np.array([150, 190, 70]) + depth * np.array([62, 132, 40]))
    bearing = (x - 700) / np.maximum(y - 600, 1)
    field = (bearing < -0.95) & (y > edge + 12)
    furrow = np.where(np.sin(bearing * 26) > 0, 1.0, 0.72)[..., None]
    soil = furrow * random.uniform(0.93, 1.07, (_SIDE, _SIDE, 1)) * np.array([206, 164, 74])
    painted = np.where(field[..., None], soil, grass)
    pixels = np.where((y > edge)[..., None], painted, np.array(picture))
    picture.paste(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def _house(draw: ImageDraw.ImageDraw, random: np.random.RandomState) -> None:
    left, top, right, bottom = _HOUSE
    draw.rectangle((770, 400, 815, 520), fill=(150, 84, 66))
    draw.rectangle(_HOUSE, fill=(222, 204, 180))
    for course, y in enumerate(range(top, bottom, 16)):
        for x in range(left - 16 * (course % 2), right, 32):
            tone = random.randint(-16, 17)
            box = (max(x + 1, left), y + 1, min(x + 30, right), y + 14)
            draw.rectangle(box, fill=(190 + tone, 104 + tone, 78 + tone))
    corners = [(left - 40, 560), (right + 40, 560), (right - 95, 410), (left + 95, 410)]
    draw.polygon(corners, fill=(112, 36, 40))
    for row in range(10):
        y, inset = 560 - 15 * row, 15 * row
        for x in range(left - 40 + inset, right + 40 - inset, 20):
            tone = random.randint(-18, 19)
            draw.rectangle((x, y - 15, x + 18, y), fill=(150 + tone, 44 + tone // 2, 48 + tone // 2))
    for x in (598, 752):
        draw.rectangle((x, 610, x + 70, 690), fill=(250, 246, 236))
        draw.rectangle((x + 7, 617, x + 63, 683), fill=(84, 150, 190))
        draw.line((x + 35, 612, x + 35, 688), fill=(250, 246, 236), width=6)
        draw.line((x + 3, 650, x + 67, 650), fill=(250, 246, 236), width=6)
    draw.rectangle((682, 690, 742, bottom), fill=(32, 84, 120))
    _disk(draw, 730, 750, 5, (245, 200, 70))


def _tree(draw: ImageDraw.ImageDraw, random: np.random.RandomState) -> None:
    draw.polygon([(378, 850), (398, 560), (424, 560), (448, 850)], fill=(94, 66, 44))
    for _ in range(900):
        angle, reach = random.uniform(0, 2 * math.pi), math.sqrt(random.uniform(0, 1))
        x, y = 411 + 128 * reach * math.cos(angle), 500 + 140 * reach * math.sin(angle)
        light = 1.0 - 0.35 * (y - 360) / 280 - 0.25 * (x - 283) / 256 + random.uniform(-0.18, 0.18)
        _disk(draw, x, y, random.uniform(5, 13), (int(96 * light), int(178 * light), int(58 * light)))
    for _ in range(22):
        angle, reach = random.uniform(0, 2 * math.pi), math.sqrt(random.uniform(0, 0.8))
        x, y = 411 + 120 * reach * math.cos(angle), 505 + 130 * reach * math.sin(angle)
        _disk(draw, x, y, 10, (214, 40, 38))


def _fence(draw: ImageDraw.ImageDraw) -> None:
    for y in (846, 886):
        draw.rectangle((0, y, _SIDE, y + 11), fill=(236, 232, 222))
    for x in range(14, _SIDE, 56):
        draw.polygon([(x, 930), (x, 822), (x + 12, 806), (x + 24, 822), (x + 24, 930)], fill=(252, 250, 244))
        draw.line((x + 24, 822, x + 24, 930), fill=(176, 170, 158), width=4)


def _balloon(draw: ImageDraw.ImageDraw) -> None:
    """Draw a balloon in stripes, each the part between two meridians."""
    x, y, radius = 810, 165, 118
    colours = ((226, 38, 54), (250, 190, 30), (32, 150, 90), (40, 90, 200), (150, 50, 160), (245, 120, 30))
    for stripe, colour in enumerate(colours):
        half = radius * math.cos(math.pi * stripe / len(colours) / 2)
        left = radius * math.cos(math.pi * (stripe + 1) / len(colours) / 2)
        for width in (half, -half):
            draw.ellipse((x - abs(width), y - radius, x + abs(width), y + radius), fill=colour)
        if stripe == len(colours) - 1:
            draw.ellipse((x - left, y - radius, x + left, y + radius), fill=colour)
    skirt = [(x - 60, y + 98), (x + 60, y + 98), (x + 20, y + 158), (x - 20, y + 158)]
    draw.polygon(skirt, fill=(226, 38, 54))
    for side in (-1, 1):
        draw.line((x + 20 * side, y + 156, x + 16 * side, y + 196), fill=(70, 50, 40), width=4)
    draw.rectangle((x - 20, y + 194, x + 20, y + 226), fill=(150, 104, 56))


def _flowers(draw: ImageDraw.ImageDraw, random: np.random.RandomState) -> None:
    colours = ((240, 60, 80), (255, 214, 60), (250, 250, 250), (150, 90, 210), (255, 140, 40))
    for number in range(110):
        x, y = random.uniform(0, _SIDE), random.uniform(944, 1016)
        size = 5 + (y - 940) / 12
        for petal in range(5):
            turn = 2 * math.pi * petal / 5
            _disk(draw, x + size * math.cos(turn), y + size * math.sin(turn), size * 0.7, colours[number % 5])
        _disk(draw, x, y, size * 0.55, (110, 70, 20) if number % 5 == 1 else (250, 200, 40))


def _disk(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: object) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)  # type: ignore[arg-type]
