"""FER-2013 face crops and their face-mesh measures: reading, held-out part, mirroring.

Two layouts are read: the community's parquet copy (`path`, `image`, `label`, `split`) and the challenge's own
`fer2013.csv` (`emotion`, `pixels`, `Usage`).  Goodfellow et al., ICML 2013 workshop challenge.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.errors import InputError

CLASSES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
_PARQUET_LABELS = {"angry": 0, "disgust": 1, "fear": 2, "happy": 3, "neutral": 4, "sad": 5, "surprise": 6}
_CSV_LABELS = (0, 1, 2, 3, 5, 6, 4)  # the challenge counts angry disgust fear happy sad surprise neutral
_CSV_SPLITS = {"Training": "train", "PublicTest": "val"}
MEASURES = (
    "mouth_open", "mouth_width", "lip_corner_raise_right", "lip_corner_raise_left", "upper_lip_raise",
    "lip_thickness", "eye_open_right", "eye_open_left", "brow_outer_raise_right", "brow_outer_raise_left",
    "brow_inner_raise_right", "brow_inner_raise_left", "brow_gap", "nose_wing_height", "nose_width", "jaw_drop",
    "cheek_raise", "head_roll_deg", "head_yaw_proxy", "head_pitch_proxy", "gaze_right", "gaze_left",
)  # fmt: skip
POINTS = 82  # key points of a face
# In a mirror left and right change places, the head turns and rolls the other way, and gaze is counted from the
# other side of the eye.
_SIDED = [i for i, name in enumerate(MEASURES) if name.endswith("_right") and name != "gaze_right"]
_TURNS = [MEASURES.index("head_roll_deg"), MEASURES.index("head_yaw_proxy")]
_GAZE = MEASURES.index("gaze_right")


@dataclass(frozen=True)
class Faces:
    """Crops with labels and, where a face mesh was found, measures.

    images (N, 48, 48) uint8; labels (N,) int64 into CLASSES; measures (N, 22) float32 and points (N, P, 2) float32
    (pixels of the crop), NaN where no mesh was found; groups (N,) int64, alike for near-duplicates.
    """

    paths: list[str]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    measures: NDArray[np.float32]
    points: NDArray[np.float32]

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Faces:
        """Return the chosen rows."""
        where = np.arange(len(self.labels))[index]
        rows = (self.images[where], self.labels[where], self.measures[where], self.points[where])
        return Faces([self.paths[i] for i in where], *rows)


def read_faces(root: Path, split: str) -> Faces:
    """Read `split` (train or val) from a folder with the parquet copy or with fer2013.csv.  Raises InputError."""
    parquet, table = root / "fer2013_trainval.parquet", root / "fer2013.csv"
    if parquet.is_file():
        paths, images, labels = _read_parquet(parquet, split)
    elif table.is_file():
        paths, images, labels = _read_csv(table, split)
    else:
        raise InputError(
            f"{root}: holds neither fer2013_trainval.parquet nor fer2013.csv; name the folder that does"
        )
    if not paths:
        raise InputError(f"{root}: no crop of split {split!r}; splits are train and val")
    measures, points = read_geometry(root / "fer2013_geometry.parquet", paths)
    return Faces(paths, images, labels, measures, points)


def _read_parquet(path: Path, split: str) -> tuple[list[str], NDArray[np.uint8], NDArray[np.int64]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, filters=[("split", "=", split)])
    images = [
        cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_GRAYSCALE)
        for image in table["image"].to_pylist()
    ]
    labels = [_PARQUET_LABELS[label] for label in table["label"].to_pylist()]
    return table["path"].to_pylist(), np.asarray(images, np.uint8), np.asarray(labels, np.int64)


def _read_csv(path: Path, split: str) -> tuple[list[str], NDArray[np.uint8], NDArray[np.int64]]:
    import csv

    paths, images, labels = [], [], []
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if _CSV_SPLITS.get(row["Usage"]) == split:
                paths.append(f"fer2013.csv:{number}")
                images.append(np.array(row["pixels"].split(), np.uint8).reshape(48, 48))
                labels.append(_CSV_LABELS[int(row["emotion"])])
    return paths, np.asarray(images, np.uint8), np.asarray(labels, np.int64)


def read_geometry(path: Path, paths: list[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Measures and key points in the order of `paths`; all NaN where the file or a row is missing."""
    measures = np.full((len(paths), len(MEASURES)), np.nan, np.float32)
    points = np.full((len(paths), POINTS, 2), np.nan, np.float32)
    if path.is_file():
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        row_of = {name: row for row, name in enumerate(paths)}
        columns = np.stack([table[name].to_numpy(zero_copy_only=False) for name in MEASURES], axis=1)
        for name, values, found, xy in zip(
            table["path"].to_pylist(), columns, table["found"].to_pylist(), table["keypoints_xy"].to_pylist(),
            strict=True,
        ):  # fmt: skip
            if found and name in row_of:
                measures[row_of[name]] = values
                points[row_of[name]] = np.asarray(xy, np.float32).reshape(-1, 2)
    return measures, points


def mirrored_measures(measures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the measures (N, 22) would be in a mirror."""
    mirrored = measures.copy()
    for right in _SIDED:
        mirrored[:, right], mirrored[:, right + 1] = measures[:, right + 1], measures[:, right]
    mirrored[:, _TURNS] *= -1
    mirrored[:, _GAZE], mirrored[:, _GAZE + 1] = 1 - measures[:, _GAZE + 1], 1 - measures[:, _GAZE]
    return mirrored


def mirrored_order(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return, for every key point, the index of its partner in a mirror, read off the mean face (P, 2).

    Without any mesh every point is its own partner.
    """
    from scipy.optimize import linear_sum_assignment

    if not np.isfinite(points).any():
        return np.arange(points.shape[1])
    mean = np.nanmean(points, axis=0)
    centre = np.nanmean(mean[:, 0])
    reflected = np.stack([2 * centre - mean[:, 0], mean[:, 1]], axis=1)
    distances = ((reflected[:, None] - mean[None]) ** 2).sum(axis=2)
    return np.asarray(linear_sum_assignment(distances + distances.T)[1], np.int64)  # one partner each


def near_duplicates(images: NDArray[np.uint8], threshold: float = 0.985) -> NDArray[np.int64]:
    """Return a group number per image; images whose 12x12 thumbnails correlate above `threshold` share one."""
    small = np.stack([cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA) for image in images])
    vectors = small.reshape(len(images), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6
    group = np.arange(len(images))

    def root(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = int(group[i])
        return i

    for start in range(0, len(vectors), 2048):
        rows, columns = np.nonzero(vectors[start : start + 2048] @ vectors.T > threshold)
        for a, b in zip(rows + start, columns, strict=True):
            if a < b:
                group[root(int(b))] = root(int(a))
    return np.array([root(i) for i in range(len(group))], np.int64)


def held_out(
    labels: NDArray[np.int64], groups: NDArray[np.int64], share: float, seed: int = 0
) -> NDArray[np.bool_]:
    """Return a mask of the held-out part: `share` of every class, as near as whole groups come to that.

    A group is taken where a class of its clips is still wanted and taking it does not lead away from what is wanted of
    all classes, in squares; where that takes none, the one group that comes nearest to it.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    classes, class_of = np.unique(labels, return_inverse=True)
    names, group_of = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), len(classes)), np.int64)
    np.add.at(counts, (group_of, class_of), 1)
    wanted = np.array([round(share * int(count)) for count in counts.sum(axis=0)], np.int64)
    chosen = np.zeros(len(names), bool)
    for i in order:
        group = group_of[i]
        if not chosen[group] and wanted[class_of[i]] > 0:
            left = wanted - counts[group]
            if (left**2).sum() <= (wanted**2).sum():
                chosen[group], wanted = True, left
    if wanted.any() and not chosen.any():
        missed = ((wanted - counts) ** 2).sum(axis=1)[group_of[order]]
        chosen[group_of[order[missed.argmin()]]] = True
    return chosen[group_of]
