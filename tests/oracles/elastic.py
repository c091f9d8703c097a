"""Slow, obvious elastic_transform by OpenCV and scipy: one (H, W, 3) image, its random part given."""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates


def affine(image, moves):
    """Move three points by `moves` (3, 2), (x, y) in pixels."""
    height, width = image.shape[:2]
    centre, q = np.array([width // 2, height // 2]), min(height, width) // 3
    before = np.float32([centre + q, centre + np.array([q, -q]), centre - q])
    matrix = cv2.getAffineTransform(before, (before + moves).astype(np.float32))
    image = image.astype(np.float32)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def displace(image, noise, alpha, sigma):
    """`noise` (2, H, W), x first, in (-1, 1)."""
    dx, dy = (gaussian_filter(field, sigma, mode="reflect", truncate=3) * alpha for field in noise)
    rows, columns, channels = np.mgrid[: image.shape[0], : image.shape[1], : image.shape[2]]
    places = [rows + dy[..., None], columns + dx[..., None], channels]
    return map_coordinates(image, places, order=1, mode="reflect")
