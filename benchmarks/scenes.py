"""How many faces that people marked in photographs are found, and how often something else is taken for one.

    python benchmarks/scenes.py FOLDER [--detector haar] [--every 4]

FOLDER holds `boxes.parquet`: path, width, height, boxes, ignore (lists of x0, y0, x1, y1), landmarks (ten numbers a
box, or NaN) and source, one row per picture.  Every picture goes through the command line's own path, as a still with
`--faces all`.  A face counts from `--least` pixels on its shorter side, and is found where a find overlaps it by 0.4.
A find is false where it overlaps nothing that is marked, a face of any size or a doubtful one, by 0.2; `loose` counts
those that overlap by less than 0.4.  `turned` (nose off the eyes' middle by a third of their distance), `tilted` (eyes
20 degrees or more off level) and `hidden` (no landmarks to be told) are the faces of all pictures.
"""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from emoclip.config import FaceConfig
from emoclip.faces import FaceFollower
from emoclip.faces.boxes import overlap
from emoclip.timeline.overlay import searched
from emoclip.video import open_video

FOUND, FALSE = 0.4, 0.2


def kinds(landmarks: np.ndarray) -> list[str]:
    """What a face is beside a face, by its landmarks (ten numbers: right eye, left eye, nose, mouth corners)."""
    if not np.isfinite(landmarks).all():
        return ["hidden"]
    right, left, nose = landmarks.reshape(5, 2)[:3]
    eyes = left - right
    distance = float(np.hypot(*eyes)) + 1e-6
    off = abs(float((nose - (right + left) / 2) @ eyes)) / distance**2
    tilt = abs(float(np.degrees(np.arctan2(eyes[1], eyes[0]))))
    return ["turned"] * (off > 1 / 3) + ["tilted"] * (tilt >= 20) + ["frontal"] * (off <= 1 / 3 and tilt < 20)


def shorter(box: Iterable[float]) -> float:
    x0, y0, x1, y1 = box
    return min(x1 - x0, y1 - y0)


class Count:
    """Faces found of those there are, and false finds by picture."""

    def __init__(self) -> None:
        self.found: list[tuple[bool, list[str]]] = []
        self.false: list[int] = []
        self.loose: list[int] = []

    def add(self, finds: list, row: dict, least: float) -> None:
        """Count one picture."""
        marked = [tuple(box) for box in row["boxes"]]
        every = [*marked, *(tuple(box) for box in row["ignore"])]
        pairs = sorted(
            ((overlap(find.box, box), i, j) for i, find in enumerate(finds) for j, box in enumerate(marked)),
            key=lambda pair: (-finds[pair[1]].score, -pair[0]),
        )
        used, met = set(), set()
        for share, i, j in pairs:
            if share >= FOUND and i not in used and j not in met:
                used.add(i)
                met.add(j)
        points = np.asarray(list(row["landmarks"]), np.float64).reshape(-1, 10)
        for j, box in enumerate(marked):
            if shorter(box) >= least:
                self.found.append((j in met, kinds(points[j])))
        most = [
            max((overlap(find.box, box) for box in every), default=0.0)
            for i, find in enumerate(finds)
            if shorter(find.box) >= least and i not in used
        ]
        self.false.append(sum(share < FALSE for share in most))
        self.loose.append(sum(share < FOUND for share in most))

    def line(self) -> str:
        """The table's row."""
        hits = [hit for hit, _ in self.found]
        recall = f"{np.mean(hits):.3f}" if hits else "    -"
        wrong = np.mean(np.array(self.false) > 0)
        return (
            f"recall {recall} of {len(hits):4}  false {np.mean(self.false):.3f} (loose {np.mean(self.loose):.3f}) "
            f"a picture, on {wrong:.3f} of {len(self.false)} pictures"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--least", type=int, default=20)
    parser.add_argument("--every", type=int, default=1, help="read every so many pictures of each source")
    parser.add_argument("--blur", action="store_true", help="search as `--blur` does")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    config = FaceConfig(mode="all", detector=options.detector, min_face_px=options.least)
    if options.blur:
        config = searched(config)
    rows = pq.read_table(options.folder / "boxes.parquet").to_pylist()
    counts: dict[str, Count] = {}
    spent_s, seen = 0.0, dict.fromkeys((row["source"] for row in rows), 0)
    for row in rows:
        seen[row["source"]] += 1
        if (seen[row["source"]] - 1) % options.every:
            continue
        with open_video(options.folder / row["path"]) as video:
            began = time.process_time()
            [(_, finds)] = FaceFollower(config, every_way=options.blur).follow(video)
            spent_s += time.process_time() - began
        name = row["source"] if row["boxes"] else "no faces"
        counts.setdefault(name, Count()).add(finds, row, options.least)
    for name, count in sorted(counts.items(), reverse=True):
        print(f"{name:9} {count.line()}")
    every = [one for count in counts.values() for one in count.found]
    for kind in ("frontal", "turned", "tilted", "hidden"):
        hits = [hit for hit, its in every if kind in its]
        print(f"{kind:9} recall {np.mean(hits) if hits else float('nan'):.3f} of {len(hits):4}")
    pictures = sum(len(count.false) for count in counts.values())
    print(f"{1000 * spent_s / pictures:.0f} ms of one core a picture")


if __name__ == "__main__":
    main()
