"""Does a person's own resting face help?  `python benchmarks/baseline.py --root FACES --weights DIR --resting 4500`.

FACES is the folder that the bundled model is trained from.  Crops of one person are found by a face recogniser, which
is used here only: `pip install dlib-bin`, and DIR holds dlib_face_recognition_resnet_model_v1.dat and
shape_predictor_5_face_landmarks.dat (in the package face_recognition_models).  --keep: what it said, to go on from.

Read are crops of train that no step of training saw, and neutral ones that it saw.  Resting faces are up to --resting
crops of train that most people call neutral: another photograph of the same person, or the same one cropped or
compressed otherwise, as two frames of a video are; another person's as a control.  Needs the extra `train`; ten minutes
of one core, most of it the recogniser.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from emoclip.config import FaceConfig
from emoclip.engine import EmoCLIP
from emoclip.prompts import resolve
from emoclip.timeline import Baseline, Rest
from emoclip.timeline.baseline import STRENGTH
from emoclip.training.mini.steps import MiniRecipe, MiniRun
from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT

try:
    import dlib
except ImportError:
    sys.exit("benchmarks/baseline.py: dlib is not installed; pip install dlib-bin")

NEUTRAL = CLASSES_WITH_CONTEMPT.index("neutral")
# Distances in parts of that to the 30th nearest crop: children and faces seen from the side look alike to the
# recogniser, which the plain distance does not know.  Below the first it is one picture, cropped or turned again.
SAME_PICTURE, SAME_PERSON, NEIGHBOURS = 0.5, 0.7, 30
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
LEAST = 8  # crops that a paragraph is printed of
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
        alike = (near < SAME_PICTURE) & ~np.eye(len(near), dtype=bool)
        self.kinds = {"another photograph": same & ~(near < SAME_PICTURE), "the same one": alike}
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

    def moved(self, clips: np.ndarray, rest: np.ndarray, strength: float = STRENGTH) -> np.ndarray:
        """Return probabilities (N, 8) of clips (N, D) with `strength` of what sets rest (N, D) apart taken out."""
        usual = self.rest.usual
        rest = usual + strength / STRENGTH * (rest - usual)
        return self.model.probabilities(self.rest.taken_out(clips, rest), self.text)

    def judged(self, at: int, shares: np.ndarray) -> np.ndarray:
        """Return (accuracy, agreement, KL) of readings (N, 8) of one crop, their mean."""
        wanted, raw, top = self.votes.shares[at].argmax(), self.votes.raw[at], shares.argmax(1)
        gap = np.where(raw > 0, raw * (np.log(np.maximum(raw, 1e-9)) - np.log(shares + 1e-9)), 0).sum(1)
        return np.array([(top == wanted).mean(), raw[top].mean(), gap.mean()])

    def own(self, kind: str) -> np.ndarray:
        """Return (N, N), which crops are a crop's own resting faces."""
        return np.asarray(self.kinds[kind] & self.resting)

    def table(self, kind: str, chosen: np.ndarray, strength: float) -> np.ndarray:
        """Return (crops, 3 ways, 3 measures): nothing taken out, the person's own rest, another's."""
        rng, found, own = np.random.default_rng(0), [], self.own(kind)
        for at in chosen:
            others = np.flatnonzero(own.any(0) & (self.person != self.person[at]))
            ways = [self.plain[at][None]]
            for rest in (np.flatnonzero(own[at]), rng.choice(others, CONTROLS)):
                clips = np.repeat(self.clips[at][None], len(rest), 0)
                ways.append(self.moved(clips, self.clips[rest], strength))
            found.append([self.judged(at, shares) for shares in ways])
        return np.array(found)


def show(name: str, pairs: Pairs, kind: str, chosen: np.ndarray, strength: float = STRENGTH) -> None:
    """Print what is right of nothing taken out, and how the person's own rest and another's change it."""
    if len(chosen) < LEAST:
        return
    found, person = pairs.table(kind, chosen, strength), pairs.person[chosen]
    print(
        f"{name}; rest: {kind}; {len(chosen)} crops of {len(np.unique(person))} people; strength {strength}"
    )
    print("  nothing: accuracy {:.3f}, agree {:.3f}, KL {:.3f}".format(*found[:, 0].mean(axis=0)))
    for way, title in ((1, "own"), (2, "another's")):
        changes = []
        for measure, said in enumerate(("accuracy", "agree", "KL")):
            change = found[:, way, measure] - found[:, 0, measure]
            low, high = interval(change, person)
            changes.append(f"{said} {change.mean():+.3f} ({low:+.3f} to {high:+.3f})")
        print(f"  {title}: {', '.join(changes)}")


def check_public_path(pairs: Pairs, images: np.ndarray) -> None:
    """Stop unless `classify` with a picture as baseline says what is measured here."""
    at, rest = np.argwhere(pairs.own("another photograph"))[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rest.png"
        cv2.imwrite(str(path), images[rest])
        crop = np.repeat(images[at][..., None], 3, 2)
        baseline = Baseline(source=str(path))
        said = pairs.model.classify(crop, "eight", faces="full", baseline=baseline).faces[0].probs
    here = pairs.moved(pairs.clips[[at]], pairs.clips[[rest]])[0]
    np.testing.assert_allclose([said[name] for name in CLASSES_WITH_CONTEMPT], here, atol=2e-3)


def main() -> None:
    """Print a paragraph per group of crops and strength."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--resting", type=int, default=10**6)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = MiniRun(MiniRecipe(), given.root, Path(folder))
    clear = run.votes.majority
    neutral = np.flatnonzero(clear & (run.votes.shares.argmax(1) == NEUTRAL) & run.most)
    drawn = np.random.default_rng(0).permutation(neutral)[: given.resting]
    rows = np.sort(np.concatenate([np.flatnonzero(run.unseen & clear), drawn]))
    near = nearness(recognised(run.faces.images, rows, given.weights, given.keep))
    pairs = Pairs(EmoCLIP.load(given.model, threads=1), run, rows, near)
    check_public_path(pairs, run.faces.images[rows])
    half = np.random.default_rng(0).random(pairs.person.max() + 1)[pairs.person] < 0.5
    for kind in pairs.kinds:
        has = pairs.own(kind).any(1)
        for strength in STRENGTHS:
            show(
                "one half of people, neutral",
                pairs,
                kind,
                np.flatnonzero(has & half & pairs.resting),
                strength,
            )
        for strength in (STRENGTH, 1.0):
            show("other half, neutral", pairs, kind, np.flatnonzero(has & ~half & pairs.resting), strength)
            show("unseen, neutral", pairs, kind, np.flatnonzero(has & pairs.unseen & pairs.resting), strength)
            if kind != "the same one":  # of which people said otherwise by chance
                show(
                    "unseen, others",
                    pairs,
                    kind,
                    np.flatnonzero(has & pairs.unseen & ~pairs.resting),
                    strength,
                )


if __name__ == "__main__":
    main()
