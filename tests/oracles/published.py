"""All 19 corruptions as the published programs compute them: one uint8 image at a time, 8 bits out.

Written from the description, with the libraries that the programs use (numpy, OpenCV, scipy, scikit-image,
PIL, ImageMagick by Wand) and at their costs: loops over pixels, files decoded for every image, double
precision. So they are what fidelity is measured against where there are no golden files, and the column
"original" of the speed benchmark. Their random numbers are numpy's, from the generator given.

    oracle("glass_blur")(image, SEVERITIES["imagenet"]["glass_blur"][2], np.random.default_rng(0))
"""

import importlib.util
import io

import cv2
import numpy as np
from PIL import Image

from oracles import corruptions, elastic, spatter, weather
from pushpull.corruptions import textures
from pushpull.corruptions.frost_procedural import draw_frost

try:
    from wand.image import Image as MagickImage
except ImportError:  # Wand, or ImageMagick's own library
    MagickImage = None


def oracle(name):
    """Return the function (image uint8 (H, W, 3), params, rng) -> uint8 (H, W, 3) of that corruption."""
    return _ORACLES[name]


def missing(name):
    """Return what has to be installed for this oracle, or None; motion blur has a numpy form without Wand."""
    needs_skimage = name in ("impulse_noise", "brightness", "saturate")
    return "scikit-image" if needs_skimage and not importlib.util.find_spec("skimage") else None


def motion_blur_library():
    """Say what blurs motion here."""
    return "ImageMagick" if MagickImage else "numpy"


def _levels(x):
    """Clip to [0, 1] and truncate to 8 bits, as images are stored."""
    return np.uint8(np.clip(x, 0, 1) * 255)


def _gaussian_noise(image, sigma, rng):
    x = image / 255.0
    return _levels(x + rng.normal(size=x.shape, scale=sigma))


def _shot_noise(image, photons, rng):
    return _levels(rng.poisson(image / 255.0 * photons) / photons)


def _impulse_noise(image, amount, rng):
    from skimage.util import random_noise

    return _levels(random_noise(image / 255.0, mode="s&p", amount=amount, rng=rng))


def _speckle_noise(image, sigma, rng):
    x = image / 255.0
    return _levels(x + x * rng.normal(size=x.shape, scale=sigma))


def _gaussian_blur(image, sigma, rng):
    return _levels(corruptions.gaussian_blur(image / 255.0, sigma))


def _defocus_blur(image, params, rng):
    return _levels(corruptions.defocus_blur(image / 255.0, *params))


class _Draws:
    """Offsets (dy, dx) drawn when they are asked for, in -delta..delta-1."""

    def __init__(self, rng, delta):
        self._rng, self._delta = rng, delta

    def __getitem__(self, place):
        return self._rng.integers(-self._delta, self._delta, size=2)


def _glass_blur(image, params, rng):
    sigma_px, delta, iterations = params
    draws = [_Draws(rng, delta)] * iterations
    return _levels(corruptions.glass_blur(image / 255.0, sigma_px, delta, draws))


def _magick_motion_blur(levels, radius, sigma, angle_deg):
    """Blur uint8 (H, W) or (H, W, 3); as PNG, which truncates 16 bits to 8 where BMP would round."""
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="PNG")
    with MagickImage(blob=file.getvalue()) as picture:
        picture.motion_blur(radius=radius, sigma=sigma, angle=angle_deg)
        blurred = cv2.imdecode(np.frombuffer(picture.make_blob(), np.uint8), cv2.IMREAD_UNCHANGED)
    if levels.ndim == 2:
        return blurred if blurred.ndim == 2 else blurred[..., 0]
    # A picture that became grey is stored as such.
    return blurred[..., ::-1] if blurred.ndim == 3 else np.repeat(blurred[..., None], 3, -1)


def _motion(x, radius, sigma, angle_deg):
    """Blur (H, W, C) of multiples of 1 / 255."""
    if MagickImage is None:
        return corruptions.motion_blur(x, radius, sigma, angle_deg)
    levels = np.uint8(np.round(x * 255))
    blurred = _magick_motion_blur(levels[..., 0] if x.shape[-1] == 1 else levels, radius, sigma, angle_deg)
    return blurred.reshape(x.shape) / 255.0


def _motion_blur(image, params, rng):
    angle = rng.uniform(-45, 45)
    if MagickImage is None:
        return np.uint8(np.round(_motion(image / 255.0, *params, angle) * 255))
    return np.ascontiguousarray(_magick_motion_blur(image, *params, angle))


def _zoom_blur(image, params, rng):
    return _levels(corruptions.zoom_blur((image / 255.0).astype(np.float32), *params))


def _snow(image, params, rng):
    field = rng.normal(size=image.shape[:2], loc=params.loc, scale=params.scale)
    x = image.astype(np.float32) / 255
    return _levels(weather.snow(x, field, rng.uniform(-135, -45), *params[2:], blur=_motion))


def frost_photograph(number):
    """Return a picture of frost, uint8 (h, w, 3) RGB, read from its file every time, as published."""
    paths = textures.frost_photographs()
    return (
        cv2.imread(str(paths[number]))[..., ::-1] if paths else draw_frost()[number].permute(1, 2, 0).numpy()
    )


def _frost(image, params, rng):
    picture = frost_photograph(rng.integers(5))
    height, width = image.shape[:2]
    image_weight, frost_weight, scale = params
    if scale != 1:
        picture = cv2.resize(picture, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    row = rng.integers(0, picture.shape[0] - height)
    column = rng.integers(0, picture.shape[1] - width)
    return _levels(weather.frost(image / 255.0, picture, row, column, 1, image_weight, frost_weight))


def _fog(image, params, rng):
    octaves = int(np.ceil(np.log2(max(image.shape[:2]))))
    noises = [rng.uniform(-1, 1, size=(3, 2**n, 2**n)) for n in range(octaves)]
    return _levels(weather.fog(image / 255.0, noises, *params))


def _spatter(image, params, rng):
    loc, scale, sigma_px, threshold, strength, mud = params
    x = image.astype(np.float32) / 255
    layer = spatter.liquid(
        rng.normal(size=image.shape[:2], loc=loc, scale=scale),
        sigma_px,
        threshold,
    )
    if mud:
        return _levels(spatter.mud(x, layer, threshold, strength))
    return _levels(spatter.water(x, layer, strength))


def _hsv(image, channel, change):
    from skimage.color import hsv2rgb, rgb2hsv

    hsv = rgb2hsv(image / 255.0)
    hsv[..., channel] = np.clip(change(hsv[..., channel]), 0, 1)
    return _levels(hsv2rgb(hsv))


def _brightness(image, added, rng):
    return _hsv(image, 2, lambda value: value + added)


def _saturate(image, params, rng):
    return _hsv(image, 1, lambda saturation: saturation * params[0] + params[1])


def _contrast(image, factor, rng):
    x = image / 255.0
    mean = x.mean(axis=(0, 1), keepdims=True)
    return _levels((x - mean) * factor + mean)


def _elastic_transform(image, params, rng):
    alpha_px, sigma_px, affine_px = params
    moves = rng.uniform(-affine_px, affine_px, size=(3, 2))
    x = elastic.affine(image.astype(np.float32) / 255, moves)
    noise = rng.uniform(-1, 1, size=(2, *image.shape[:2]))
    return _levels(elastic.displace(x, noise, alpha_px, sigma_px))


def _pixelate(image, factor, rng):
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * factor), int(height * factor)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


def _jpeg_compression(image, quality, rng):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


_ORACLES = {
    function.__name__.removeprefix("_"): function
    for function in (
        *(_gaussian_noise, _shot_noise, _impulse_noise, _speckle_noise),
        *(_gaussian_blur, _defocus_blur, _glass_blur, _motion_blur, _zoom_blur),
        *(_snow, _frost, _fog, _spatter, _brightness, _contrast, _saturate),
        *(_elastic_transform, _pixelate, _jpeg_compression),
    )
}
