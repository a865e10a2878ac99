"""Does a person's own resting face help?  `python benchmarks/baseline.py --root FACES --weights DIR [--keep FILE]`.

FACES is the folder that the bundled model is trained from.  Crops of one person are found by a face recogniser, which
is used here only: `pip install dlib-bin`, and DIR holds dlib_face_recognition_resnet_model_v1.dat and
shape_predictor_5_face_landmarks.dat (in the package face_recognition_models).  --keep: what it said, to go on from.

Read are crops of train that no step of training saw; resting faces are crops of the same person that most people call
neutral, another's as a control.  Needs the extra `train`; a quarter of an hour of one core, most of it the recogniser.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import dlib
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from emoclip.config import FaceConfig
from emoclip.engine import EmoCLIP
from emoclip.prompts import resolve
from emoclip.timeline import Baseline, Rest
from emoclip.training.mini.steps import MiniRecipe, MiniRun
from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT
from emoclip.training.mini.votes import read_leaks

NEUTRAL = CLASSES_WITH_CONTEMPT.index("neutral")
# Distances in parts of that to the 30th nearest crop: children and faces seen from the side look alike to the
# recogniser, which the plain distance does not know.  Below the first it is one picture, cropped or turned again.
SAME_PICTURE, SAME_PERSON, NEIGHBOURS = 0.5, 0.7, 30
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
CONTROLS = 20  # other people's resting faces a crop


def recognised(images: np.ndarray, rows: np.ndarray, weights: Path, keep: Path | None) -> np.ndarray:
    """Return the recogniser's vectors (N, 128) of the rows of images (M, 48, 48)."""
    known: dict[int, np.ndarray] = {}
    if keep and keep.is_file():
        kept = np.load(keep)
        known = dict(zip(kept["rows"].tolist(), kept["e"], strict=True))
    network = dlib.face_recognition_model_v1(str(weights / "dlib_face_recognition_resnet_model_v1.dat"))
    points = dlib.shape_predictor(str(weights / "shape_predictor_5_face_landmarks.dat"))
    for count, row in enumerate(rows.tolist()):
        if row not in known:
            large = cv2.resize(images[row], (240, 240), interpolation=cv2.INTER_CUBIC)
            large = cv2.copyMakeBorder(large, 80, 80, 80, 80, cv2.BORDER_REPLICATE)
            face = cv2.cvtColor(large, cv2.COLOR_GRAY2RGB)
            chip = dlib.get_face_chip(face, points(face, dlib.rectangle(95, 105, 305, 315)), 150, 0.25)
            known[row] = np.array(network.compute_face_descriptor(chip), np.float32)
        if keep and (count % 500 == 499 or count == len(rows) - 1):
            np.savez(keep, rows=np.array(list(known)), e=np.stack(list(known.values())))
    return np.stack([known[row] for row in rows.tolist()])


def nearness(vectors: np.ndarray) -> np.ndarray:
    """Return distances (N, N) in parts of the smaller of both crops' own to their 30th nearest."""
    squares = (vectors**2).sum(1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * vectors @ vectors.T, 0))
    scale = np.partition(apart, NEIGHBOURS, axis=1)[:, NEIGHBOURS]
    return np.asarray(apart / np.minimum(scale[:, None], scale))


def interval(values: np.ndarray, person: np.ndarray, draws: int = 4000) -> tuple[float, float]:
    """Return the 95 % interval of a mean, people drawn anew with all their crops."""
    rng = np.random.default_rng(0)
    people, member = np.unique(person, return_inverse=True)
    sums, counts = np.bincount(member, values), np.bincount(member)
    drawn = rng.integers(len(people), size=(draws, len(people)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


class Pairs:
    """Crops that are read, each with resting faces of the same person and of others.

    Everything is by public means: `embed_frames`, `embed_clips`, `Rest.taken_out`, `probabilities`.
    """

    def __init__(self, model: EmoCLIP, run: MiniRun, rows: np.ndarray, near: np.ndarray) -> None:
        self.model, self.votes = model, run.votes.take(rows)
        clear = self.votes.majority
        self.resting = clear & (self.votes.shares.argmax(1) == NEUTRAL)
        self.unseen = run.unseen[rows] & clear
        same = near < SAME_PERSON
        self.own = same & (near >= SAME_PICTURE) & self.resting
        self.person = connected_components(coo_matrix(same))[1]
        crops = [np.repeat(image[..., None], 3, 2) for image in run.faces.images[rows]]
        self.frames = np.concatenate(
            [model.embed_frames(crops[at : at + 256]) for at in range(0, len(crops), 256)]
        )
        self.clips = model.embed_clips(self.frames[:, None])
        named = resolve("eight")
        self.text = model.embed_text(named)[[named.labels.index(name) for name in CLASSES_WITH_CONTEMPT]]
        self.rest = Rest(model, None, Baseline(auto=True), FaceConfig())
        self.plain = model.probabilities(self.clips, self.text)

    def moved(self, clips: np.ndarray, rest: np.ndarray, strength: float = 1.0) -> np.ndarray:
        """Return probabilities (N, 8) of clips (N, D) with `strength` of what sets rest (N, D) apart taken out."""
        usual = self.rest.usual
        return self.model.probabilities(
            self.rest.taken_out(clips, usual + strength * (rest - usual)), self.text
        )

    def judged(self, at: int, shares: np.ndarray) -> np.ndarray:
        """Return (accuracy, agreement, KL) of readings (N, 8) of one crop, their mean."""
        wanted, raw, top = self.votes.shares[at].argmax(), self.votes.raw[at], shares.argmax(1)
        gap = np.where(raw > 0, raw * (np.log(np.maximum(raw, 1e-9)) - np.log(shares + 1e-9)), 0).sum(1)
        return np.array([(top == wanted).mean(), raw[top].mean(), gap.mean()])

    def table(self, chosen: np.ndarray, strength: float = 1.0) -> np.ndarray:
        """Return (crops, 3 ways, 3 measures): nothing taken out, the person's own rest, another's."""
        rng, found = np.random.default_rng(0), []
        for at in chosen:
            own = np.flatnonzero(self.own[at])
            others = np.flatnonzero(self.own.any(0) & (self.person != self.person[at]))
            ways = [self.plain[at][None]]
            for rest in (own, rng.choice(others, CONTROLS)):
                clips = np.repeat(self.clips[at][None], len(rest), 0)
                ways.append(self.moved(clips, self.clips[rest], strength))
            found.append([self.judged(at, shares) for shares in ways])
        return np.array(found)


def show(name: str, pairs: Pairs, chosen: np.ndarray, strength: float = 1.0) -> None:
    """Print a row per way, and the differences to nothing taken out."""
    if len(chosen) < 5:
        print(f"{name}: {len(chosen)} crops, too few")
        return
    found, person = pairs.table(chosen, strength), pairs.person[chosen]
    print(f"{name}: {len(chosen)} crops of {len(np.unique(person))} people, strength {strength}")
    for way, title in enumerate(("nothing taken out", "own resting face", "another's")):
        line = f"  {title:18s}"
        for measure, title in enumerate(("accuracy", "agree", "KL")):
            line += f"  {title} {found[:, way, measure].mean():.3f}"
            if way:
                change = found[:, way, measure] - found[:, 0, measure]
                low, high = interval(change, person)
                line += f" ({change.mean():+.3f}: {low:+.3f} to {high:+.3f})"
        print(line)


def check_public_path(pairs: Pairs, images: np.ndarray, at: int) -> None:
    """Stop unless `classify` with a picture as baseline says what is measured here."""
    rest = int(np.flatnonzero(pairs.own[at])[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rest.png"
        cv2.imwrite(str(path), images[rest])
        crop = np.repeat(images[at][..., None], 3, 2)
        baseline = Baseline(source=str(path))
        said = pairs.model.classify(crop, "eight", faces="full", baseline=baseline).faces[0].probs
    here = pairs.moved(pairs.clips[[at]], pairs.clips[[rest]])[0]
    np.testing.assert_allclose([said[name] for name in CLASSES_WITH_CONTEMPT], here, atol=2e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = MiniRun(MiniRecipe(), given.root, Path(folder))
    leaks = read_leaks(given.root)
    clear = run.votes.majority & np.array([path not in leaks for path in run.faces.paths])
    neutral = clear & (run.votes.shares.argmax(1) == NEUTRAL)
    rows = np.flatnonzero((run.unseen & clear) | neutral)
    near = nearness(recognised(run.faces.images, rows, given.weights, given.keep))
    pairs = Pairs(EmoCLIP.load(given.model, threads=1), run, rows, near)
    report(pairs, run.faces.images[rows])


def report(pairs: Pairs, images: np.ndarray) -> None:
    has = pairs.own.any(1)
    unseen = np.flatnonzero(pairs.unseen & has)
    check_public_path(pairs, images, int(unseen[0]))
    misread = pairs.plain.argmax(1) != NEUTRAL

    def of_misread(at: int) -> bool:
        return bool(misread[pairs.own[at]].any())

    show("unseen crops", pairs, unseen)
    show("  neutral to people", pairs, unseen[pairs.resting[unseen]])
    show("  not neutral to people", pairs, unseen[~pairs.resting[unseen]])
    show("  whose rest is misread", pairs, np.array([at for at in unseen if of_misread(at)]))
    seen = np.flatnonzero(pairs.resting & has)
    show("neutral crops, most of them trained on", pairs, seen)
    worst = np.array([at for at in seen if of_misread(at)])
    show("  whose rest is misread", pairs, worst)
    half = np.random.default_rng(0).random(pairs.person.max() + 1) < 0.5
    chosen, reported = unseen[half[pairs.person[unseen]]], unseen[~half[pairs.person[unseen]]]
    for strength in STRENGTHS:
        show("strength, one half of people", pairs, chosen, strength)
    for strength in STRENGTHS:
        show("strength, the other half", pairs, reported, strength)


if __name__ == "__main__":
    main()
