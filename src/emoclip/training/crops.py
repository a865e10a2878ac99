"""Clips as face crops, and the views of them that training sees: windows, rotation, mirror, drift."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.config import FaceConfig
from emoclip.datasets import Clip
from emoclip.errors import InputError
from emoclip.model import PixelSpec, largest
from emoclip.training.recipe import ClipRecipe
from emoclip.video import Video, open_video

Crops = list[NDArray[np.uint8]]


@dataclass(frozen=True)
class View:
    """One way to see a clip: degrees of rotation, whether mirrored, and the seed of a still picture's drift."""

    angle_deg: float = 0.0
    mirrored: bool = False
    drift_seed: int | None = None


PLAIN = View()


def draw_view(recipe: ClipRecipe, angle: float, mirror: float, drifting: float) -> View:
    """Return the view that three numbers in [0, 1) stand for."""
    return View(
        (2 * angle - 1) * recipe.rotation_deg,
        recipe.flip and mirror < 0.5,
        int(drifting * 2**31) if recipe.jitter else None,
    )


def read_crops(clip: Clip, stride: int, faces: str = "full", pixels: PixelSpec | None = None) -> Crops:
    """Read every stride-th frame of a clip as a face crop, (h, w, 3) uint8 RGB.

    faces: `full` if frames are crops already, `largest` to find and follow the most prominent face and cut it
    out as `pixels` says.
    Raises InputError naming the clip, where nothing can be read or no face is found.
    """
    if clip.image is not None:
        picture = cv2.imdecode(np.frombuffer(clip.image, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"{clip.id}: its picture cannot be decoded; drop the row")
        return [np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)]
    with open_video(clip.path) as video:
        if faces == "full":
            return [frame.image for frame in video if frame.index % stride == 0]
        assert pixels is not None
        found = _largest_face(video, stride, pixels)
    if not found:
        raise InputError(
            f"{clip.id}: no face found; drop the clip, or pass --set data.faces=full if it is a crop"
        )
    return found


def _largest_face(video: Video, stride: int, pixels: PixelSpec) -> Crops:
    from emoclip.faces import FaceFollower, crop_face

    follower = FaceFollower(FaceConfig(mode="largest"))
    tracks: dict[int, Crops] = {}
    areas: dict[int, float] = {}
    for frame, faces in follower.follow(video, keep=lambda frame: frame.index % stride == 0):
        for face in faces:
            x0, y0, x1, y1 = face.box
            areas[face.track_id] = areas.get(face.track_id, 0.0) + (x1 - x0) * (y1 - y0)
            if frame.index % stride == 0:
                tracks.setdefault(face.track_id, []).append(crop_face(frame.image, face, pixels))
    return tracks[largest({track: areas[track] for track in tracks})] if tracks else []


def as_clip(crops: Crops, view: View, recipe: ClipRecipe) -> Crops:
    """Return a still picture as `recipe.frames` drifting frames if the recipe has jitter; else the clip itself."""
    if len(crops) == 1 and view.drift_seed is not None:
        return drift(crops[0], recipe.frames, recipe.jitter, np.random.default_rng(view.drift_seed))
    return crops


def turned(crops: Crops, view: View) -> Crops:
    """Return crops mirrored and rotated as the view says, all alike."""
    if view.mirrored:
        crops = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
    if view.angle_deg:
        crops = [_warp(crop, _turn(crop, view.angle_deg, 1.0)) for crop in crops]
    return crops


def drift(picture: NDArray[np.uint8], frames: int, share: float, rng: np.random.Generator) -> Crops:
    """Return a still picture as `frames` frames of a hand-held camera: smooth shifts, zoom and light.

    share: how far it moves at most, as a share of the picture's side.
    """
    time = np.linspace(0, 1, frames)
    # x, y, zoom, light: a random rest position plus one slow swing.
    rest, swing = rng.uniform(-1, 1, 4), rng.uniform(-0.5, 0.5, 4)
    rate, phase = rng.uniform(0.3, 1.5, 4), rng.uniform(0, 1, 4)
    path = rest + swing * np.sin(2 * np.pi * (rate * time[:, None] + phase))
    moved = []
    for x, y, zoom, light in path:
        matrix = _turn(picture, 0.0, 1 + share * zoom)
        matrix[:, 2] += share * np.array([x, y]) * picture.shape[0]
        crop = _warp(picture, matrix, cv2.BORDER_REPLICATE)
        moved.append(np.asarray(cv2.convertScaleAbs(crop, alpha=1 + share * light), np.uint8))
    return moved


def _turn(crop: NDArray[np.uint8], angle_deg: float, zoom: float) -> NDArray[np.float64]:
    centre = (crop.shape[1] - 1) / 2, (crop.shape[0] - 1) / 2
    return np.asarray(cv2.getRotationMatrix2D(centre, angle_deg, zoom), np.float64)


def _warp(
    crop: NDArray[np.uint8], matrix: NDArray[np.float64], border: int = cv2.BORDER_CONSTANT
) -> NDArray[np.uint8]:
    size = crop.shape[1], crop.shape[0]
    return np.asarray(cv2.warpAffine(crop, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border), np.uint8)
