"""Who is who through camera moves, crossings, cuts and hands before faces: HOTA, IDF1 and switches by TrackEval.

    pip install --no-deps trackeval        # of what it asks for, numpy and scipy are enough
    python benchmarks/tracks.py FOLDER [--seed 0]

FOLDER as for benchmarks/scenes.py.  Videos whose truth is known are made from its pictures: a camera pans, zooms and
shakes over a picture of several people, with motion blur and H.264, while something hides a face for 0.4 to 1 s
(`hidden`), over two such pictures with a cut between (`cut`), past the picture's edge and back (`leaving`), and two
people who cross before a picture without any (`crossing`).

Truth: the follower is asked for faces from 30 pixels on, and those have to be found.  Less than half in view (past the
frame's edge, or under what hides it), smaller in frame or photograph, or doubtful to those who marked it, a face is an
ignored region, neither missed nor false: as the MOT and KITTI benchmarks do, finds that match one, or lie by more than
half in one and match no face, are left out.  Boxes are paired one to one there and in all that follows.  A person is
the same as long as anything of them can be seen, however little is asked for, and when they are back within
`FaceConfig.bridge_s`; later they are somebody new, as MOT has it of those who left the view, and as the product says.

`passed` counts track ids that were on one person and at another time on another, each where no other face overlaps
theirs: while two do, one box may lie on both.  `bridged` is the share of hidden stretches after
which the person is found under the same id within half a second.
"""

import argparse
import itertools
import sys
import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
from scipy.optimize import linear_sum_assignment

from emoclip.config import FaceConfig
from emoclip.faces import FaceFollower
from emoclip.faces.boxes import overlap
from emoclip.video import open_video, read_picture

try:
    from trackeval.metrics import CLEAR, HOTA, Identity
except ImportError:
    sys.exit("benchmarks/tracks.py: TrackEval is not installed; pip install --no-deps trackeval")

WIDTH, HEIGHT, FPS = 640, 360, 25
FRAME = (0, 0, WIDTH, HEIGHT)
MIN_FACE = 30  # pixels: what the follower is asked for, and what has to be found
SAME = 0.4  # overlap from which a find is a face
IN_VIEW = 0.5  # share of a face


@dataclass
class Scene:
    """Frames with the boxes of the people in view by their number, and the ignored regions."""

    frames: list = field(default_factory=list)
    people: list = field(default_factory=list)
    ignored: list = field(default_factory=list)
    hidden: list = field(default_factory=list)  # person, first and last frame
    present: list = field(default_factory=list)  # numbers of those of whom anything can be seen

    def add(self, other: "Scene") -> "Scene":
        """Append another scene, its people numbered on."""
        first = 1 + max((number for numbers in self.present for number in numbers), default=-1)
        start = len(self.frames)
        self.frames += other.frames
        self.people += [{first + number: box for number, box in boxes.items()} for boxes in other.people]
        self.ignored += other.ignored
        self.present += [{first + number for number in numbers} for numbers in other.present]
        self.hidden += [(first + number, start + a, start + b) for number, a, b in other.hidden]
        return self


def camera(
    rng: np.random.Generator, width: int, height: int, seconds: float, *, leave: bool = False
) -> np.ndarray:
    """A path of views over a picture: (frames, 3) of centre x, y and scale (frame pixels a picture pixel)."""
    time = np.arange(round(seconds * FPS)) / FPS
    fill = max(WIDTH / width, HEIGHT / height)
    zoom = fill * (1.15 + 0.15 * np.sin(2 * np.pi * time / rng.uniform(3, 6) + rng.uniform(0, 6)))
    room = np.array([width, height]) - np.array([WIDTH, HEIGHT]) / zoom[:, None]
    swing = np.stack(
        [np.sin(2 * np.pi * time / rng.uniform(4, 8) + phase) for phase in rng.uniform(0, 6, 2)], axis=1
    )
    centre = np.array([width, height]) / 2 + room / 2 * swing * (2.6 if leave else 0.9)
    shake = cv2.GaussianBlur(rng.normal(0, 1, (len(time), 2)), (1, 0), sigmaX=1e-6, sigmaY=1.5)
    return np.column_stack([centre + shake * 6 / zoom[:, None], zoom])


def shot(picture: np.ndarray, view: np.ndarray) -> np.ndarray:
    x, y, scale = view
    turn = np.array([(scale, 0, WIDTH / 2 - x * scale), (0, scale, HEIGHT / 2 - y * scale)])
    return cv2.warpAffine(picture, turn, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)


def blurred(picture: np.ndarray, path: np.ndarray, at: int) -> np.ndarray:
    """One frame, the shutter open for half of its time."""
    after = path[min(at + 1, len(path) - 1)]
    shots = [
        shot(picture, path[at] + (after - path[at]) * share).astype(np.float32) for share in (0, 0.25, 0.5)
    ]
    return np.mean(shots, axis=0).astype(np.uint8)


def placed(box: list, view: np.ndarray) -> tuple:
    """Where a box of the picture is in the frame."""
    x, y, scale = view
    return tuple((np.array(box) - (x, y, x, y)) * scale + (WIDTH / 2, HEIGHT / 2, WIDTH / 2, HEIGHT / 2))


def shorter(box: tuple) -> float:
    return min(box[2] - box[0], box[3] - box[1])


def covered(box: tuple, by: tuple) -> float:
    """The share of a box that another one covers."""
    width, height = min(box[2], by[2]) - max(box[0], by[0]), min(box[3], by[3]) - max(box[1], by[1])
    return max(0, width) * max(0, height) / ((box[2] - box[0]) * (box[3] - box[1]))


def group(rng: np.random.Generator, folder: Path, row: dict, *, hide: bool, leave: bool = False) -> Scene:
    """A camera over a picture of several people; hide: something covers each of two faces for up to a second."""
    picture = read_picture(folder / row["path"])
    scene, path = Scene(), camera(rng, row["width"], row["height"], 6, leave=leave)
    covers = []
    for number in rng.permutation(len(row["boxes"]))[: 2 if hide else 0]:
        start = int(rng.integers(30, 90))
        x0, y0, x1, y1 = (round(edge) for edge in row["boxes"][number])
        grow = (x1 - x0) // 3
        cover = (max(0, x0 - grow), max(0, y0 - grow), x1 + grow, y1 + grow)
        covers.append((int(number), start, start + int(rng.integers(10, 26)), cover))
    for at, view in enumerate(path):
        laid = picture.copy()
        over = [cover for _, start, end, cover in covers if start <= at < end]
        for x0, y0, x1, y1 in over:
            laid[y0:y1, x0:x1] = (90, 110, 80)
        people, ignored, present = {}, [placed(box, view) for box in row["ignore"]], set()
        for number, box in enumerate(row["boxes"]):
            there = placed(box, view)
            in_view = covered(there, FRAME) - sum(covered(box, cover) for cover in over)
            if in_view > 0:
                present.add(number)
            if in_view >= IN_VIEW and min(shorter(box), shorter(there)) >= MIN_FACE:
                people[number] = there
            else:
                ignored.append(there)
        scene.frames.append(blurred(laid, path, at))
        scene.people.append(people)
        scene.ignored.append(ignored)
        scene.present.append(present)
    scene.hidden = [
        (n, a, b)
        for n, a, b, _ in covers
        if all(n in scene.people[i] for i in (a - 5, a - 1, b, min(b + 12, len(path) - 1)))
    ]
    return scene


def crossing(rng: np.random.Generator, folder: Path, rows: list[dict], back: dict) -> Scene:
    """Two people walk past each other before a picture without any."""
    ground = cv2.resize(read_picture(folder / back["path"]), (WIDTH + 80, HEIGHT + 60))
    people = []
    for row in rows:
        picture, box = (
            read_picture(folder / row["path"]),
            max(row["boxes"], key=lambda b: (b[2] - b[0]) * (b[3] - b[1])),
        )
        x0, y0, x1, y1 = box
        grow = (x1 - x0) * 0.35
        cut = [max(0, round(x0 - grow)), max(0, round(y0 - grow)), round(x1 + grow), round(y1 + grow)]
        part = picture[cut[1] : cut[3], cut[0] : cut[2]]
        size = rng.uniform(80, 130) / (y1 - y0)
        part = cv2.resize(
            part, None, fx=size, fy=size, interpolation=cv2.INTER_AREA if size < 1 else cv2.INTER_LINEAR
        )
        marked = [box, *(other for other in [*row["boxes"], *row["ignore"]] if other is not box)]
        people.append((part, (np.array(marked) - cut[:2] * 2) * size))
    scene, seconds = Scene(), rng.uniform(3, 5)
    for at in range(round(seconds * FPS)):
        share = at / (seconds * FPS - 1)
        frame = ground[20 : 20 + HEIGHT, 30 + round(20 * np.sin(at / 9)) :][:, :WIDTH].copy()
        boxes, ignored = {}, []
        for number, (part, marked) in enumerate(people):  # the second stands in front
            along = share if number else 1 - share
            left, top = (
                40 + along * (WIDTH - 80 - part.shape[1]),
                90 + 40 * number + 6 * np.sin(at / 4 + number),
            )
            left, top = round(left), round(top)
            mask = np.zeros(part.shape[:2], np.float32)
            middle = (part.shape[1] // 2, part.shape[0] // 2)
            cv2.ellipse(mask, middle, (int(middle[0] * 0.94), int(middle[1] * 0.98)), 0, 0, 360, 1.0, -1)
            mask = cv2.GaussianBlur(mask, (0, 0), 2)[..., None]
            place = frame[top : top + part.shape[0], left : left + part.shape[1]]
            place[:] = place * (1 - mask[: len(place)]) + part[: len(place)] * mask[: len(place)]
            boxes[number], *others = (tuple(box + (left, top, left, top)) for box in marked)
            ignored += others
        if covered(boxes[0], boxes[1]) > 1 - IN_VIEW:
            ignored.append(boxes.pop(0))
        scene.frames.append(frame)
        scene.people.append(boxes)
        scene.ignored.append(ignored)
        scene.present.append({0, 1})
    return scene


def encode(frames: list, path: Path) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=Fraction(FPS), options={"crf": "26", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        output.mux(stream.encode(None))


def follow(scene: Scene, detector: str) -> list[dict]:
    """Follow the faces of a scene's video: per frame, track id -> box, those on ignored regions left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.mp4"
        encode(scene.frames, path)
        config = FaceConfig(mode="all", detector=detector, min_face_px=MIN_FACE)
        with open_video(path) as video:
            followed = [faces for _, faces in FaceFollower(config).follow(video)]
    return [
        counted({face.track_id: face.box for face in faces}, people, ignored)
        for faces, people, ignored in zip(followed, scene.people, scene.ignored, strict=True)
    ]


def counted(found: dict, people: dict, ignored: list) -> dict:
    """Leave out the finds of a frame that match an ignored region, or lie in one and match no face."""
    pairs = dict(matched(list(found.values()), [*people.values(), *ignored]))
    kept = {}
    for i, (track, box) in enumerate(found.items()):
        inside = any(covered(box, region) > 0.5 for region in ignored)
        if pairs[i] < len(people) if i in pairs else not inside:
            kept[track] = box
    return kept


def identities(scene: Scene) -> list[dict]:
    """Number people anew: who could not be seen at all for longer than is bridged is somebody new."""
    fresh = itertools.count()
    names: dict[int, int] = {}
    last: dict[int, int] = {}
    numbered = []
    for at, (boxes, present) in enumerate(zip(scene.people, scene.present, strict=True)):
        for number in present:
            if number not in last or at - last[number] - 1 > FaceConfig.bridge_s * FPS:
                names[number] = next(fresh)
            last[number] = at
        numbered.append({names[number]: box for number, box in boxes.items()})
    return numbered


def matched(boxes: list, others: list) -> list[tuple[int, int]]:
    """Pair boxes one to one where they overlap enough, the sum of overlaps as large as can be."""
    overlaps = np.array([[overlap(a, b) for b in others] for a in boxes]).reshape(len(boxes), len(others))
    overlaps *= overlaps >= SAME
    return [(i, j) for i, j in zip(*linear_sum_assignment(-overlaps), strict=True) if overlaps[i, j]]


def on_people(scene: Scene, found: list[dict]) -> list[dict[int, int]]:
    """Per frame, person -> the track id that lies on them, one on one."""
    told = []
    for people, tracks in zip(scene.people, found, strict=True):
        numbers, ids = list(people), list(tracks)
        pairs = matched(list(people.values()), list(tracks.values()))
        told.append({numbers[i]: ids[j] for i, j in pairs})
    return told


def passed(scene: Scene, told: list[dict[int, int]]) -> int:
    """Track ids that lie on two people, on each for five frames or more in which no other face overlaps theirs."""
    counts: dict[int, dict[int, int]] = {}
    for people, ignored, here in zip(scene.people, scene.ignored, told, strict=True):
        for number, track in here.items():
            others = [*(box for other, box in people.items() if other != number), *ignored]
            if not any(overlap(people[number], other) for other in others):
                counts.setdefault(track, {}).setdefault(number, 0)
                counts[track][number] += 1
    return sum(sum(frames >= 5 for frames in people.values()) > 1 for people in counts.values())


def bridged(scene: Scene, told: list[dict[int, int]]) -> list[bool]:
    results = []
    for number, first, last in scene.hidden:
        before = next((here[number] for here in reversed(told[:first]) if number in here), None)
        after = next((here[number] for here in told[last : last + round(FPS / 2)] if number in here), None)
        results.append(before is not None and before == after)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=6, help="videos of each kind")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--kinds", default="hidden,leaving,cut,crossing")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(options.seed)
    rows = pq.read_table(options.folder / "boxes.parquet").to_pylist()

    def clear(row: dict) -> int:
        return sum(shorter(box) >= MIN_FACE for box in row["boxes"])

    groups = [row for row in rows if 2 <= clear(row) == len(row["boxes"])]
    alone = [row for row in rows if any(shorter(box) >= 70 for box in row["boxes"])]
    empty = [row for row in rows if not row["boxes"]]
    videos: dict[str, dict] = {}
    for kind in options.kinds.split(","):
        ids = 0
        held: list[bool] = []
        for at in range(options.count):
            one, two = (groups[i] for i in rng.choice(len(groups), 2, replace=False))
            if kind == "crossing":
                pair = [alone[i] for i in rng.choice(len(alone), 2, replace=False)]
                scene = crossing(rng, options.folder, pair, empty[rng.integers(len(empty))])
            else:
                scene = group(rng, options.folder, one, hide=kind == "hidden", leave=kind == "leaving")
                if kind == "cut":
                    scene = scene.add(group(rng, options.folder, two, hide=False))
            found = follow(scene, options.detector)
            told = on_people(scene, found)
            ids += passed(scene, told)
            held += bridged(scene, told)
            videos[f"{kind} {at}"] = judged(identities(scene), found)
        gaps = f"  bridged {np.mean(held):.2f} of {len(held)}" if held else ""
        of_kind = {name: one for name, one in videos.items() if name.startswith(kind)}
        print(f"{kind:9} {score(of_kind)}  passed {ids}{gaps}", flush=True)
    print(f"{'all':9} {score(videos)}")


def judged(truth: list[dict], found: list[dict]) -> dict:
    """One video as the library takes it: numbers from 0 and overlaps, frame by frame."""
    people, tracks = (
        {number: at for at, number in enumerate(sorted({n for each in side for n in each}))}
        for side in (truth, found)
    )
    overlaps = [
        np.array([[overlap(a, b) for b in there.values()] for a in here.values()]).reshape(
            len(here), len(there)
        )
        for here, there in zip(truth, found, strict=True)
    ]
    return {
        "num_timesteps": len(truth),
        "gt_ids": [np.array([people[number] for number in here], int) for here in truth],
        "tracker_ids": [np.array([tracks[number] for number in there], int) for there in found],
        "similarity_scores": overlaps,
        "num_gt_ids": len(people),
        "num_tracker_ids": len(tracks),
        "num_gt_dets": sum(map(len, truth)),
        "num_tracker_dets": sum(map(len, found)),
    }


def score(videos: dict[str, dict]) -> str:
    """The library's figures over several videos."""
    options = {"THRESHOLD": SAME, "PRINT_CONFIG": False}
    figures = {}
    for metric in (HOTA(), Identity(options), CLEAR(options)):
        figures |= metric.combine_sequences({name: metric.eval_sequence(one) for name, one in videos.items()})
    return (
        f"HOTA {figures['HOTA'].mean():.3f}  IDF1 {figures['IDF1']:.3f}  switches {figures['IDSW']:.0f}  "
        f"recall {figures['CLR_Re']:.3f}  precision {figures['CLR_Pr']:.3f}"
    )


if __name__ == "__main__":
    main()
