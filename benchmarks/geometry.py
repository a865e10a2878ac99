"""Does it help to cut faces by five points?  Known crops, laid into photographs at any place, size and turn.

    python benchmarks/geometry.py FACES SCENES [--split train] [--count 400] [--video]

FACES holds `fer2013_trainval.parquet` (path, image: JPEG bytes, split) and `ferplus_votes.parquet` (path, ten votes);
SCENES `boxes.parquet` and its pictures, of which those without a face are taken.  Each crop is enlarged to 60 to 300
pixels, turned by up to 25 degrees and laid into a picture, mirrored on around itself, so that a looser cut sees no
edge; found, cut in each geometry and margin and read by the model.  It is read right if as more than half of the voters
said, outliers dropped.  `crop` reads the crop itself, which is as good as it gets.  `--video` shows the picture for a
second, where faces are followed at a smaller scale.
Choose on the train part; the val part is for one report.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from emoclip import EmoCLIP
from emoclip.config import FaceConfig
from emoclip.faces import Face, FaceFollower, crop_face
from emoclip.faces.boxes import overlap
from emoclip.model.pixels import GEOMETRIES
from emoclip.prompts import resolve
from emoclip.video import Frame, read_picture

MARGINS = (-0.04, 0.0)
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


def majorities(folder: Path, split: str) -> dict[str, int]:
    """Path to the place in VOTES of what most people said, for crops where more than half of them agree."""
    table = pq.read_table(folder / "ferplus_votes.parquet").to_pandas()
    table = table[table["split"] == split]
    counts = table[[*VOTES, "unknown", "no_face"]].to_numpy(float)
    counts = np.where(counts < 2, 0, counts)  # single votes are outliers
    best = counts.argmax(axis=1)
    clear = (counts.max(axis=1) > counts.sum(axis=1) / 2) & (best < len(VOTES))
    return dict(zip(table["path"][clear], best[clear].tolist(), strict=True))


def laid(rng: np.random.Generator, crop: np.ndarray, ground: np.ndarray) -> tuple[np.ndarray, tuple]:
    """Lay a crop into a copy of a picture; return that and the box about the place."""
    height, width = ground.shape[:2]
    size, angle = rng.uniform(60, min(300, 0.45 * min(height, width))), rng.uniform(-25, 25)
    scale, more = size / crop.shape[0], crop.shape[0] // 4
    crop = cv2.copyMakeBorder(crop, more, more, more, more, cv2.BORDER_REFLECT_101)
    reach = size * 1.05
    x, y = rng.uniform(reach, width - reach), rng.uniform(reach, height - reach)
    turn = cv2.getRotationMatrix2D((crop.shape[1] / 2 - 0.5, crop.shape[0] / 2 - 0.5), angle, scale)
    turn[:, 2] += (x - crop.shape[1] / 2, y - crop.shape[0] / 2)
    put = cv2.warpAffine(crop, turn, (width, height), flags=cv2.INTER_CUBIC)
    mask = cv2.warpAffine(np.ones(crop.shape[:2], np.float32), turn, (width, height))[..., None]
    picture = (ground * (1 - mask) + put * mask).astype(np.uint8)
    return picture, (x - size / 2, y - size / 2, x + size / 2, y + size / 2)


def found(picture: np.ndarray, box: tuple, frames: int) -> Face | None:
    """The face that is found at a place, in the last of so many equal frames."""
    follower = FaceFollower(FaceConfig(mode="all"))
    *_, (_, faces) = follower.follow(Frame(at, at / 25, picture) for at in range(frames))
    best = max(faces, key=lambda face: overlap(face.box, box), default=None)
    return best if best is not None and overlap(best.box, box) > 0.3 else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faces", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--split", default="train", choices=("train", "val"))
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--video", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    wanted = majorities(options.faces, options.split)
    table = pq.read_table(options.faces / "fer2013_trainval.parquet", columns=["path", "image"]).to_pandas()
    table = table[table["path"].isin(wanted.keys())].sample(options.count, random_state=0)
    grounds = [
        row["path"] for row in pq.read_table(options.scenes / "boxes.parquet").to_pylist() if not row["boxes"]
    ]
    model = EmoCLIP.load(options.model, threads=1)
    text = model.embed_text(resolve("eight"))
    order = [resolve("eight").labels.index(name) for name in VOTES]
    specs = {
        f"{name}, {margin:+}": replace(model.package.pixels, geometry=name, margin=margin)
        for name in GEOMETRIES
        for margin in MARGINS
    }
    right: dict[str, list[bool]] = {"crop": [], **{name: [] for name in specs}}
    for path, data in zip(table["path"], table["image"], strict=True):
        crop = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        ground = read_picture(options.scenes / grounds[rng.integers(len(grounds))])
        picture, box = laid(rng, crop, ground)
        face = found(picture, box, 25 if options.video else 1)
        if face is None:
            continue
        crops = {"crop": crop, **{name: crop_face(picture, face, spec) for name, spec in specs.items()}}
        frames = model.embed_frames(list(crops.values()))
        shares = model.probabilities(model.embed_clips([frame[None] for frame in frames]), text)[:, order]
        for name, said in zip(crops, shares.argmax(axis=1).tolist(), strict=True):
            right[name].append(said == wanted[path])
    print(f"{len(right['crop'])} of {len(table)} found; read as most people did:")
    for name, hits in right.items():
        print(f"{name:18} {np.mean(hits):.3f} +- {np.std(hits) / len(hits) ** 0.5:.3f}")


if __name__ == "__main__":
    main()
