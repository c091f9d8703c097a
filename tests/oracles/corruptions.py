"""Slow, obvious versions of the corruptions, from their description: one (H, W, 3) image in [0, 1]."""

import math

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, zoom


def gaussian_blur(image, sigma):
    return gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=4)


def defocus_blur(image, radius, alias_sigma):
    reach, size = (8, 3) if radius <= 8 else (radius, 5)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (rows**2 + columns**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (size, size), alias_sigma)
    return np.stack([cv2.filter2D(image[..., c], -1, kernel) for c in range(3)], -1)


def glass_scan(image, offsets, delta):
    """One scan as published; offsets[h, w] is (dy, dx), read at the inner pixels alone, in the scan's order.

    The rows of `image` are views: both positions end up with the pixel from (h + dy, w + dx).
    """
    image = image.copy()
    height, width = image.shape[:2]
    for h in range(height - delta, delta, -1):
        for w in range(width - delta, delta, -1):
            dy, dx = offsets[h, w]
            image[h, w], image[h + dy, w + dx] = image[h + dy, w + dx], image[h, w]
    return image


def glass_blur(image, sigma, delta, all_offsets):
    image = np.uint8(gaussian_blur(image, sigma) * 255)
    for offsets in all_offsets:
        image = glass_scan(image, offsets, delta)
    return gaussian_blur(image / 255.0, sigma)


def motion_blur(image, radius, sigma, angle_deg):
    height, width = image.shape[:2]
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    rows, columns = np.mgrid[:height, :width]
    result = np.zeros_like(image, dtype=np.float64)
    for i, weight in enumerate(weights / weights.sum()):
        dx = math.ceil(i * math.cos(math.radians(angle_deg)) - 0.5)
        dy = math.ceil(i * math.sin(math.radians(angle_deg)) - 0.5)
        result += weight * image[np.clip(rows + dy, 0, height - 1), np.clip(columns + dx, 0, width - 1)]
    return np.floor(result * 255 + 1e-3) / 255


def zoom_blur(image, stop, step):
    factors = np.arange(1, stop, step)
    return (image + sum(_centre_zoom(image, factor) for factor in factors)) / (len(factors) + 1)


def _centre_zoom(image, factor):
    height, width = image.shape[:2]
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    large = zoom(image[top : top + rows, left : left + columns], (factor, factor, 1), order=1)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]


def change_hsv(image, saturation=lambda s: s, value=lambda v: v):
    """Through HSV and back, the textbook way."""
    result = np.empty_like(image)
    for place in np.ndindex(image.shape[:2]):
        red, green, blue = image[place]
        v, spread = max(image[place]), max(image[place]) - min(image[place])
        s = spread / v if v > 0 else 0.0
        if spread == 0:
            hue = 0.0
        elif v == red:
            hue = (green - blue) / spread % 6
        elif v == green:
            hue = (blue - red) / spread + 2
        else:
            hue = (red - green) / spread + 4
        s, v = min(max(saturation(s), 0), 1), min(max(value(v), 0), 1)
        sector, part = int(hue) % 6, hue - int(hue)
        p, q, t = v * (1 - s), v * (1 - part * s), v * (1 - (1 - part) * s)
        result[place] = [(v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q)][sector]
    return result
