"""Slow, obvious snow, frost and fog: one (H, W, 3) image in [0, 1], its random part given."""

import math

import cv2
import numpy as np
from scipy.ndimage import zoom as spline_zoom

from oracles.corruptions import motion_blur


def snow(image, field, angle_deg, zoom, threshold, radius, sigma, mix, blur=motion_blur):
    """`field` is N(loc, scale), of the whole image's size; `blur` does the motion blur of the layer."""
    height, width = image.shape[:2]
    layer = centre_zoom(field, zoom)
    layer = np.where(layer < threshold, 0, layer)
    layer = (np.clip(layer, 0, 1) * 255).astype(np.uint8) / 255
    layer = blur(layer[..., None], radius, sigma, angle_deg)
    gray = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY).reshape(height, width, 1)
    whitened = mix * image + (1 - mix) * np.maximum(image, gray * 1.5 + 0.5)
    return whitened + layer + np.rot90(layer, 2)


def centre_zoom(field, factor):
    height, width = field.shape
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    enlarged = spline_zoom(field[top : top + rows, left : left + columns], factor, order=1)
    top, left = (enlarged.shape[0] - height) // 2, (enlarged.shape[1] - width) // 2
    return enlarged[top : top + height, left : left + width]


def frost(image, photograph, row, column, scale, image_weight, frost_weight):
    """`photograph` is uint8 RGB."""
    if scale != 1:
        photograph = cv2.resize(photograph, (0, 0), fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    crop = photograph[row : row + image.shape[0], column : column + image.shape[1]]
    return (image_weight * image * 255 + frost_weight * crop) / 255


def plasma(noises, decay):
    """Diamond-square, one cell at a time; `noises` has (n, n) arrays an octave: centres, rows, columns."""
    side = 2 ** len(noises)
    heights = np.zeros((side, side))
    wibble, step = 100.0, side
    for octave in noises:
        half = step // 2
        corners = [(-half, -half), (-half, half), (half, -half), (half, half)]
        cross = [(-half, 0), (half, 0), (0, -half), (0, half)]
        # In this order: the edges' middles need the centres.
        kinds = (half, half, corners), (0, half, cross), (half, 0, cross)
        for noise, (down, right, near) in zip(octave, kinds, strict=True):
            for i, j in np.ndindex(*noise.shape):
                y, x = i * step + down, j * step + right
                mean = sum(heights[(y + dy) % side, (x + dx) % side] for dy, dx in near) / 4
                heights[y, x] = mean + wibble * wibble * noise[i, j]
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


def plasma_by_octaves(noises, decay):
    """The same map at the published program's cost: all cells of an octave at once, in place."""
    side = 2 ** len(noises)
    heights = np.zeros((side, side))
    wibble, step = 100.0, side
    for centre_noise, row_noise, column_noise in noises:
        half, amplitude = step // 2, wibble * wibble
        corners = heights[::step, ::step]
        squares = corners + np.roll(corners, -1, 0)
        squares = squares + np.roll(squares, -1, 1)
        centres = squares / 4 + amplitude * centre_noise
        heights[half::step, half::step] = centres
        across = centres + np.roll(centres, 1, 0) + corners + np.roll(corners, -1, 1)
        heights[::step, half::step] = across / 4 + amplitude * row_noise
        down = centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 0)
        heights[half::step, ::step] = down / 4 + amplitude * column_noise
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


def fog(image, noises, strength, decay):
    veil = plasma_by_octaves(noises, decay)[: image.shape[0], : image.shape[1], None]
    return (image + strength * veil) * image.max() / (image.max() + strength)
