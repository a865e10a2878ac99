"""How well a face is seen: numbers that say which answers to trust."""

import math

import cv2
import numpy as np

from emoclip.faces.boxes import Face, Points
from emoclip.results import Quality
from emoclip.video import Pixels

# Where the five points lie on a head, in distances between the eyes: to the picture's right, down, towards the camera.
# The canonical face of MediaPipe, but for the nose, a sixth less far out: so yaw comes out in degrees on real faces.
HEAD = np.array([(-0.5, 0, 0), (0.5, 0, 0), (0, 0.6, 0.52), (-0.39, 1.1, 0.11), (0.39, 1.1, 0.11)])
_UNPROJECT = np.linalg.pinv(HEAD - HEAD.mean(axis=0))  # (3, 5)


def quality_of(face: Face, crop: Pixels | None) -> Quality:
    """Say how well a face is seen; sharpness and exposure are NaN without a crop, angles without points."""
    x0, y0, x1, y1 = face.box
    yaw, pitch, roll = (math.nan,) * 3 if face.points is None else angles(face.points)
    return Quality(
        size=min(x1 - x0, y1 - y0),
        sharpness=math.nan if crop is None else sharpness(crop),
        exposure=math.nan if crop is None else round(exposure(crop), 3),
        yaw=round(yaw, 1),
        pitch=round(pitch, 1),
        roll=round(roll, 1),
    )


def angles(points: Points) -> tuple[float, float, float]:
    """Tell yaw, pitch and roll in degrees from the five points (5, 2), for a camera far away.

    Yaw and pitch are in [-90, 90] and [-180, 180]: the face looks to the picture's right, and up.  Roll, in
    [-180, 180]: the head is turned clockwise in the picture.  Points that lie on one spot give NaN.
    How accurate: benchmarks/pose.py.  Source: DeMenthon & Davis, Model-Based Object Pose in 25 Lines of Code (1995),
    one step; the two rows of the rotation are then made orthogonal evenly.
    """
    (a, b, c), (d, e, f) = ((_UNPROJECT @ points).T).tolist()
    # The rows i, j of a scaled rotation, spoilt by noise: (A A^T)^(-1/2) A, written out for two rows.
    ii, ij, jj = a * a + b * b + c * c, a * d + b * e + c * f, d * d + e * e + f * f
    root = math.sqrt(max(ii * jj - ij * ij, 0.0))
    if root < 1e-9 * (ii + jj) or not root:
        return math.nan, math.nan, math.nan
    norm = root * math.sqrt(ii + jj + 2 * root)
    own, other, cross = (jj + root) / norm, (ii + root) / norm, -ij / norm
    i0, i1, i2 = own * a + cross * d, own * b + cross * e, own * c + cross * f
    j0, j1, j2 = cross * a + other * d, cross * b + other * e, cross * c + other * f
    k0, k1, k2 = i1 * j2 - i2 * j1, i2 * j0 - i0 * j2, i0 * j1 - i1 * j0
    yaw, pitch, roll = math.asin(min(max(-k0, -1.0), 1.0)), math.atan2(k1, k2), math.atan2(j0, i0)
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def sharpness(crop: Pixels) -> float:
    """Energy of fine detail in a face crop: variance of the Laplacian over variance of the brightness, at 64 x 64.

    crop: (h, w, 3) uint8 RGB.  Measured on real faces: 0.25 to 0.8 sharp, 0.02 with a Gaussian blur of 2 % of the
    crop's side, 0.004 with 4 %; 0 for a flat picture.  Dividing by the variance takes light and contrast out.
    """
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    spread = float(grey.std()) ** 2
    return float(cv2.Laplacian(grey, cv2.CV_32F).std()) ** 2 / spread if spread > 1 else 0.0


def exposure(crop: Pixels) -> float:
    """Brightness of the brightest tenth of the middle of a face crop, in [0, 1]: low where light is lacking.

    crop: (h, w, 3) uint8 RGB.  Not the mean, which is as low for dark skin in good light: the white of eyes and teeth
    and the lit side of nose and cheeks are bright in any well lit face.
    """
    height, width = crop.shape[:2]
    middle = crop[height // 4 : height - height // 8, width // 4 : width - width // 4]
    small = cv2.resize(middle, (32, 32), interpolation=cv2.INTER_AREA)
    return float(np.percentile(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), 90)) / 255
