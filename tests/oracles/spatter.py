"""Slow, obvious spatter by OpenCV and scipy: one (H, W, 3) image in [0, 1], its N(loc, scale) field given."""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter


def liquid(field, sigma, threshold):
    smooth = gaussian_filter(field, sigma, mode="nearest", truncate=4)
    return np.where(smooth < threshold, 0, smooth)


def edges(layer):
    """`layer` is uint8; True at Canny's edges."""
    return cv2.Canny(layer, 50, 150) > 0


def distance(edge_map):
    chamfer = cv2.distanceTransform(np.where(edge_map, 0, 255).astype(np.uint8), cv2.DIST_L2, 5)
    return np.minimum(chamfer, 20)


def water(image, layer, strength):
    layer = (layer * 255).astype(np.uint8)
    relief = cv2.equalizeHist(cv2.blur(distance(edges(layer)), (3, 3)).astype(np.uint8))
    relief = cv2.filter2D(relief, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    drops = layer * cv2.blur(relief, (3, 3)).astype(np.float32)
    return image + np.array([175, 238, 238]) / 255 * (drops / drops.max() * strength)[..., None]


def mud(image, layer, threshold, sigma):
    mask = gaussian_filter((layer > threshold).astype(np.float32), sigma, mode="nearest", truncate=4)
    mask = np.where(mask < 0.8, 0, mask)[..., None]
    return image * (1 - mask) + np.array([63, 42, 20]) / 255 * mask
