"""How far yaw, pitch and roll of five points are from those of a face mesh, on real faces.

    python benchmarks/pose.py FOLDER [--faces 1000]

FOLDER holds `fer2013_trainval.parquet` (path, image: JPEG bytes, split) and `fer2013_geometry.parquet` (path, found and
keypoints_xy: places of mesh points in the crop, named by the schema's `keypoints`).  Crops of the train part are
enlarged and found by YuNet at several sizes; the mesh's pose is that in which MediaPipe's canonical face, seen from far
away, fits its points that stay put when a face moves.  Error is the mean distance after the median is taken out, since
the two need not agree on what straight ahead is; `flat` is the error of always saying the median.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from emoclip.faces.detectors import open_detector
from emoclip.faces.quality import angles

# Of MediaPipe's canonical face (Apache-2.0), in centimetres, y up: bridge, tip and wings of the nose, corners of the
# eyes, forehead, cheeks, sides.
MIDDLE = {1: (-1.127, 7.476), 4: (-0.463, 7.587), 5: (0.366, 7.243), 6: (2.473, 5.789), 10: (8.262, 4.482)}
MIDDLE |= {168: (3.271, 5.236)}
PAIRS = {
    (33, 263): (-4.446, 2.664, 3.173),
    (133, 362): (-1.856, 2.585, 3.758),
    (98, 327): (-1.406, -1.714, 5.241),
    (49, 279): (-1.651, -0.611, 5.581),
    (234, 454): (-7.664, 0.673, -2.436),
    (50, 280): (-4.766, -0.702, 3.535),
}


def mesh() -> dict[int, tuple[float, float, float]]:
    """The points by number: to the picture's right, down, towards the camera."""
    points = {number: (0.0, -y, z) for number, (y, z) in MIDDLE.items()}
    for (right, left), (x, y, z) in PAIRS.items():
        points |= {right: (x, -y, z), left: (-x, -y, z)}
    return points


def pose(head: np.ndarray, seen: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a head (N, 3) seen at (N, 2) from far away, by least squares."""
    head, seen = head - head.mean(axis=0), seen - seen.mean(axis=0)

    def off(guess: np.ndarray) -> np.ndarray:
        return (guess[3] * (head @ Rotation.from_rotvec(guess[:3]).as_matrix().T)[:, :2] - seen).ravel()

    start = [0, 0, 0, np.linalg.norm(seen) / np.linalg.norm(head[:, :2])]
    rows = Rotation.from_rotvec(least_squares(off, start).x[:3]).as_matrix()
    return (
        np.degrees(np.arcsin(-rows[2, 0])),
        np.degrees(np.arctan2(rows[2, 1], rows[2, 2])),
        np.degrees(np.arctan2(rows[1, 0], rows[0, 0])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faces", type=int, default=1000)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    table = pq.read_table(options.folder / "fer2013_geometry.parquet")
    numbers = [int(number) for number in table.schema.metadata[b"keypoints"].split(b",")]
    pictures = pq.read_table(options.folder / "fer2013_trainval.parquet").to_pandas().set_index("path")
    train = pictures[pictures["split"] == "train"]
    rows = table.select(["path", "found", "keypoints_xy"]).to_pandas()
    rows = rows[rows["found"] & rows["path"].isin(train.index)].sample(options.faces, random_state=0)
    where = mesh()
    chosen = [numbers.index(number) for number in where]
    head = np.array(list(where.values()))
    truth = np.array([pose(head, np.reshape(keys, (-1, 2))[chosen]) for keys in rows["keypoints_xy"]])
    detector = open_detector("yunet")
    for size in (64, 128, 256):
        told = []
        for path in rows["path"]:
            picture = cv2.imdecode(np.frombuffer(train.loc[path, "image"], np.uint8), cv2.IMREAD_COLOR)
            large = cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC)
            framed = cv2.copyMakeBorder(large, *[max(32, size // 8)] * 4, cv2.BORDER_REPLICATE)
            found = detector.find(framed, 0.5)
            told.append(angles(found[0].points) if found else (np.nan,) * 3)
        here = np.isfinite(np.array(told)[:, 0])
        mine, real = np.array(told)[here], truth[here]
        errors = mine - real
        errors = np.abs(errors - np.median(errors, axis=0)).mean(axis=0)
        flat = np.abs(real - np.median(real, axis=0)).mean(axis=0)
        for at, name in enumerate(("yaw", "pitch", "roll")):
            slope = np.polyfit(real[:, at], mine[:, at], 1)[0]
            like = np.corrcoef(real[:, at], mine[:, at])[0, 1]
            print(
                f"{size:4} px, {len(mine)} found: {name:5} error {errors[at]:4.1f} (flat {flat[at]:4.1f}) degrees, "
                f"correlation {like:.2f}, slope {slope:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
