"""Faces cut out of frames, as the models were trained on them: square about the box, or aligned by five points."""

import math

import cv2
import numpy as np

from emoclip.faces.boxes import Box, Face, Points, side
from emoclip.model import PixelSpec
from emoclip.video import Pixels

AIR = 1.1  # a box that comes with points ends at brow and chin; squares that models were trained on leave some air
# Where the five points lie in a square crop of side 1 of faces as people cut them out: medians over 741 of FER-2013.
PLACES = np.array([(14.9, 18.0), (32.3, 17.8), (23.2, 28.4), (16.8, 35.7), (30.8, 35.6)], np.float32) / 48


def crop_face(image: Pixels, face: Face, pixels: PixelSpec) -> Pixels:
    """Cut a face out of a frame, (H, W, 3) uint8 RGB, as the model was trained on them: see `PixelSpec`.

    A face without points is cut square about its box, whatever the geometry.  Returns (S, S, 3) uint8.
    """
    if face.points is None:
        return square_crop(image, face.box, pixels.margin)
    if pixels.geometry == "square":
        grow = side(face.box) * (AIR - 1) / 2
        x0, y0, x1, y1 = face.box
        return square_crop(image, (x0 - grow, y0 - grow, x1 + grow, y1 + grow), pixels.margin)
    return aligned_crop(image, face.points, pixels.margin)


def aligned_crop(image: Pixels, points: Points, margin: float) -> Pixels:
    """Cut a square in which the eyes are level and the points, (5, 2), lie nearest to `PLACES` by least squares.

    margin: share of the square's side that is added on each side; below 0, left away.
    Returns (S, S, 3) uint8, about as many pixels as the face has in the frame.
    Source: Umeyama, Least-Squares Estimation of Transformation Parameters (1991).
    """
    places = 0.5 + (PLACES - 0.5) / (1 + 2 * margin)
    here, there = points - points.mean(axis=0), places - places.mean(axis=0)
    cosine, sine = (here * there).sum(), (here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0]).sum()
    turn = np.array([(cosine, -sine), (sine, cosine)]) / (here**2).sum()
    size = max(8, round(1 / math.hypot(turn[0, 0], turn[0, 1])))
    shift = places.mean(axis=0) - turn @ points.mean(axis=0)
    turn, shift = turn * size, shift * size
    shift += turn.sum(axis=1) / 2 - 0.5  # OpenCV counts from the middle of the first pixel
    turn = np.column_stack([turn, shift])
    cut = cv2.warpAffine(image, turn, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.uint8)


def square_crop(image: Pixels, box: Box, margin: float) -> Pixels:
    """Cut a square around `box`, with `margin` times its longer side added on each side.

    image: (H, W, 3) uint8.  Returns (S, S, 3) uint8; what lies beyond the border repeats the border.
    """
    side = max(box[2] - box[0], box[3] - box[1])
    size = max(1, round(side * (1 + 2 * margin)))
    x = round((box[0] + box[2]) / 2 - size / 2)
    y = round((box[1] + box[3]) / 2 - size / 2)
    height, width = image.shape[:2]
    columns = np.clip(np.arange(x, x + size), 0, width - 1)
    rows = np.clip(np.arange(y, y + size), 0, height - 1)
    if x >= 0 and y >= 0 and x + size <= width and y + size <= height:
        return np.ascontiguousarray(image[y : y + size, x : x + size])
    return image[rows[:, None], columns]
