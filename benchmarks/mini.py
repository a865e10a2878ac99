"""The figures of the bundled model's card: `python benchmarks/mini.py --root FACES_DIR [--model mini] [--out FILE]`.

FACES_DIR holds a FER-2013 copy with the votes of ten people (see emoclip/training/votes.py); its val split is looked at
here and nowhere else.  Crops go the way of every picture: a grey crop as RGB through `EmoCLIP.embed_frames`.
Needs the extra `train`; about 5 minutes on one core.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from emoclip.engine import EmoCLIP
from emoclip.model import unit
from emoclip.prompts import resolve
from emoclip.training import augmentation as worse
from emoclip.training.mini.clips import FrameBank, pseudo_clips
from emoclip.training.mini.faces import CLASSES, Faces, read_faces
from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT, lexicon
from emoclip.training.mini.votes import Votes, agreement, auc, read_votes


def by_labels(cosines: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """By FER-2013's own labels, which people agree with in six cases of ten."""
    right = cosines[:, : len(CLASSES)].argmax(1) == labels
    recall = [float(right[labels == c].mean()) for c in range(len(CLASSES))]
    return {"WAR": round(float(right.mean()), 4), "UAR": round(float(np.mean(recall)), 4)}


def rounded(found: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in found.items()}


def jpeg(pixels: torch.Tensor, quality: int) -> torch.Tensor:
    """Return crops (N, 1, 48, 48) as they come out of JPEG."""
    pictures = (pixels[:, 0] * 255).round().to(torch.uint8).numpy()
    packed = [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for picture in pictures]
    back = np.stack([cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) for data in packed])
    return torch.from_numpy(back)[:, None].float() / 255


def h264(pixels: torch.Tensor, crf: int, frames: int = 8, side: int = 64) -> torch.Tensor:
    """Return crops (N, 1, 48, 48) as they come out of a film (libx264, constant rate factor).

    Every crop is on grey for `frames` frames, moved a little from one to the next, and taken from the last.
    """
    random, file = np.random.default_rng(0), io.BytesIO()
    with av.open(file, "w", format="mp4") as film:
        stream = film.add_stream("libx264", 25, options={"crf": str(crf), "sc_threshold": "0"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for crop in (pixels[:, 0] * 255).round().to(torch.uint8).numpy():
            for number in range(frames):
                y, x = (8, 8) if number == frames - 1 else random.integers(5, 12, 2)
                picture = np.full((side, side), 128, np.uint8)
                picture[y : y + 48, x : x + 48] = crop
                film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "gray")))
        film.mux(stream.encode())
    file.seek(0)
    with av.open(file) as film:
        shown = [frame.to_ndarray(format="gray") for frame in film.decode(video=0)]
    back = np.stack([picture[8:56, 8:56] for picture in shown[frames - 1 :: frames]])
    return torch.from_numpy(back)[:, None].float() / 255


class Figures:
    """Everything the card reports, one method per table."""

    def __init__(self, model: EmoCLIP, faces: Faces, votes: Votes) -> None:
        self.model, self.faces, self.votes = model, faces, votes
        named = resolve("eight")
        order = [named.labels.index(name) for name in CLASSES_WITH_CONTEMPT]
        self.text = model.embed_text(named)[order]
        self.pixels = torch.from_numpy(faces.images)[:, None].float() / 255

    def frames(self, pixels: torch.Tensor) -> np.ndarray:
        """(N, 1, 48, 48) in [0, 1] -> (N, D), by the public path."""
        crops = (pixels[:, 0] * 255).round().to(torch.uint8).numpy()
        parts = [np.repeat(crops[at : at + 256, ..., None], 3, 3) for at in range(0, len(crops), 256)]
        return np.concatenate([self.model.embed_frames(list(part)) for part in parts])

    def clips(self, pixels: torch.Tensor) -> np.ndarray:
        """(N, 1, 48, 48) in [0, 1] -> (N, D) unit rows, each crop a clip of its own."""
        return self.model.embed_clips(self.frames(pixels)[:, None])

    def main(self) -> dict[str, Any]:
        """Val with the class sentences: people's majority, their votes, each class (rows are the truth)."""
        self.clean = self.clips(self.pixels)
        shares = self.model.probabilities(self.clean, self.text).astype(np.float32)
        found: dict[str, Any] = {"crops": int(self.votes.majority.sum())}
        found |= rounded(agreement(shares, self.votes))
        found["labels of FER-2013"] = by_labels(shares, self.faces.labels)
        clear = self.votes.majority
        wanted, said = self.votes.shares[clear].argmax(1), shares[clear].argmax(1)
        confusion = np.zeros((8, 8), int)
        np.add.at(confusion, (wanted, said), 1)
        found["confusion"] = dict(zip(CLASSES_WITH_CONTEMPT, confusion.tolist(), strict=True))
        found["people"] = self.people()
        found["reliability"] = self.reliability(shares)
        found["scores"] = self.intensities()
        return found

    def people(self) -> dict[str, float]:
        """How well a person does who is asked: against another one, and at best."""
        counts = self.votes.counts[self.votes.majority][:, :8]
        asked = counts.sum(1)
        pairs = (counts * (counts - 1)).sum(1) / (asked * (asked - 1))
        best = counts.max(1) / asked
        return {"two agree": round(float(pairs.mean()), 4), "ceiling": round(float(best.mean()), 4)}

    def reliability(self, shares: np.ndarray) -> dict[str, Any]:
        """Per label: of crops with like probabilities, the share of people who say so, and the mean gap (ECE)."""
        told, found = self.votes.told, {}
        for at, name in enumerate(CLASSES_WITH_CONTEMPT):
            given, people = shares[told, at], self.votes.raw[told, at]
            bins = np.digitize(given, np.linspace(0.1, 0.9, 9))
            rows = [
                (given[bins == b].mean(), people[bins == b].mean(), int((bins == b).sum()))
                for b in np.unique(bins)
            ]
            gap = sum(count * abs(a - b) for a, b, count in rows) / len(given)
            table = [[round(float(a), 3), round(float(b), 3), count] for a, b, count in rows]
            found[name] = {"gap": round(float(gap), 4), "bins": table}
        return found

    def intensities(self) -> dict[str, Any]:
        """Scores that do not depend on the other labels: mean gap to the share of people, and how they rank crops."""
        told = self.votes.told
        scores, people = self.model.intensities(self.clean, self.text)[told], self.votes.raw[told]
        return {
            name: {
                "gap": round(float(abs(scores[:, at].mean() - people[:, at].mean())), 4),
                "auc": round(auc(scores[:, at].astype(np.float32), people[:, at] > 0.5), 4),
            }
            for at, name in enumerate(CLASSES_WITH_CONTEMPT)
        }

    def corruptions(self) -> dict[str, Any]:
        """Val again under what video does to faces."""

        def turned(pixels: torch.Tensor, degrees: float) -> torch.Tensor:
            # A flat picture seen from the side: narrower by the cosine, sheared by perspective.
            y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 48), indexing="ij")
            c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            depth = 1 - 0.35 * s * x / c
            grid = torch.stack([x / c / depth, y / depth], -1)[None].expand(len(pixels), -1, -1, -1)
            return torch.nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)

        def framed(rotation: float = 0, scale: float = 0, shift: float = 0) -> Any:
            config = worse.AugmentConfig(rotation_deg=rotation, scale=scale, shift=shift, aspect=0, p_flip=0)
            return lambda p: worse.frame(p, config)[0]

        changes = {
            "blur, sigma 1 px of 48": lambda p: worse._gaussian(p, 1.0),
            "blur, sigma 1.5 px": lambda p: worse._gaussian(p, 1.5),
            "face of 24 pixels": lambda p: self._reduced(p, 24),
            "face of 16 pixels": lambda p: self._reduced(p, 16),
            "strong compression": lambda p: worse.blocks(p, 1.0, strength=0.12),
            "JPEG, quality 10": lambda p: jpeg(p, 10),
            "H.264, rate factor 32, face of 48 pixels": lambda p: h264(p, 32),
            "H.264, rate factor 38": lambda p: h264(p, 38),
            "dim: a quarter of the light, noise": lambda p: worse.noise(p * 0.25, 1.0),
            "hand-like cover": lambda p: worse.occlude(p, 1.0),
            "turned 30 degrees (flat)": lambda p: turned(p, 30),
            "rotation up to 20 degrees": framed(rotation=20),
            "crop off by up to 10 %": framed(shift=0.1),
            "crop too tight or wide by up to 25 %": framed(scale=0.25),
        }
        found = {}
        for name, change in changes.items():
            torch.manual_seed(0)
            shares = self.model.probabilities(self.clips(change(self.pixels.clone())), self.text)
            found[name] = rounded(agreement(shares.astype(np.float32), self.votes))
        return found

    def _reduced(self, pixels: torch.Tensor, side: int) -> torch.Tensor:
        small = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
        return torch.nn.functional.interpolate(small, size=(48, 48), mode="bilinear")

    def words(self) -> dict[str, Any]:
        """Held-out words as plain labels: is the nearest class sentence the right one of eight?"""
        held = lexicon().held_out
        given = self.model.embed_text(resolve(list(held)))
        nearest = [CLASSES_WITH_CONTEMPT[i] for i in (given @ self.text.T).argmax(1)]
        wrong = {w: got for (w, want), got in zip(held.items(), nearest, strict=True) if got != want}
        return {"right": round(1 - len(wrong) / len(held), 4), "of": len(held), "wrong": wrong}

    def temporal(self) -> dict[str, Any]:
        """Pseudo-clips of 32 frames from val crops: mean of unit frames against the temporal part."""
        torch.manual_seed(0)
        from emoclip.training.mini.clips import CLEAN, POOR

        views = [self.frames(worse.augment(self.pixels, CLEAN)[0]) for _ in range(3)]
        poor = [self.frames(worse.augment(self.pixels, POOR)[0]) for _ in range(2)]
        junk = self.frames(torch.rand(200, 1, 6, 6).repeat_interleave(8, 2).repeat_interleave(8, 3))
        stack = [torch.from_numpy(np.stack(part, 1)) for part in (views, poor)]
        bank = FrameBank(stack[0], stack[1], torch.from_numpy(junk), torch.from_numpy(self.votes.shares))
        neutral = (bank.shares[:, CLASSES.index("neutral")] > 0.8).nonzero()[:, 0]
        found = {}
        for name, partial in (("all frames show it", 0.0), ("some frames show it", 1.0)):
            around = neutral[torch.randint(0, len(neutral), (len(bank.shares),))]
            clips = pseudo_clips(bank, torch.arange(len(bank.shares)), around, 32, partial)[0].numpy()
            mean = unit(unit(clips).mean(axis=1))
            for kind, embedding in (
                ("mean", mean),
                ("transformer", self.model.embed_clips(clips.astype(np.float32))),
            ):
                shares = self.model.probabilities(embedding, self.text).astype(np.float32)
                found[f"{name}, {kind}"] = rounded(agreement(shares, self.votes))
        return found | self.changes(bank)

    def changes(self, bank: FrameBank, films: int = 600, rate: int = 16) -> dict[str, Any]:
        """One face follows another: how far from the change do windows of 2 s, every quarter, change sides?

        Of films in which the first and last window are read rightly with the two classes' sentences.
        """
        rng, late = np.random.default_rng(0), []
        most, seen_as = bank.shares.max(1).values.numpy(), bank.shares.argmax(1).numpy()
        rows = [np.nonzero((most > 0.6) & (seen_as == c))[0] for c in range(8)]
        kinds = [c for c in range(8) if len(rows[c]) >= 5]
        for _ in range(films):
            pair = rng.choice(kinds, 2, replace=False)
            first, then = (rng.choice(rows[c]) for c in pair)
            frames, change = 7 * rate, int(rng.uniform(2.5, 4.5) * rate)
            shown = np.where(np.arange(frames) < change, first, then)
            film = bank.views[shown, rng.integers(bank.views.shape[1], size=frames)].numpy()
            starts = np.arange(0, frames - 2 * rate + 1, rate // 4)
            windows = np.stack([film[at : at + 2 * rate] for at in starts]).astype(np.float32)
            said = (self.model.embed_clips(windows) @ self.text[pair].T).argmax(1)
            if said[0] == 0 and said[-1] == 1:
                # halfway between the centres of the two windows
                late.append((starts[said.argmax()] + rate - rate / 8 - change) / rate)
        off = np.abs(late)
        return {
            "changes": {
                "films": len(off),
                "late_s": round(float(np.mean(late)), 3),
                "off_s_median": round(float(np.median(off)), 3),
                "within_0.9_s": round(float((off <= 0.9).mean()), 3),
            }
        }

    def rejection(self) -> dict[str, Any]:
        """What falls below the package's threshold."""
        limit = self.model.package.config["rejection"]["threshold"]
        torch.manual_seed(0)
        inside = (self.clean[self.votes.told] @ self.text.T).max(1)
        noise = torch.nn.functional.interpolate(
            torch.rand(500, 1, 9, 9), size=(48, 48), mode="bicubic"
        ).clamp(0, 1)
        corners = torch.nn.functional.interpolate(
            self.pixels[:500, :, :14, :14], size=(48, 48), mode="bilinear"
        )
        found = {"threshold": limit, "faces kept": round(float((inside >= limit).mean()), 4)}
        for name, pixels in (("smooth noise", noise), ("blown-up crop corners", corners)):
            best = (self.clips(pixels) @ self.text.T).max(1)
            found[f"{name} rejected"] = round(float((best < limit).mean()), 4)
        without = []
        wanted = np.where(self.votes.majority, self.votes.shares.argmax(1), -1)
        for c in range(7):  # the right label is not on offer
            rows = wanted == c
            without.append(float(((self.clean[rows] @ np.delete(self.text, c, 0).T).max(1) < limit).mean()))
        found["own class not on offer, rejected (mean over classes)"] = round(float(np.mean(without)), 4)
        return found

    def speed(self) -> dict[str, Any]:
        """One frame, one thread."""
        one, times = self.pixels[:1].numpy(), []
        for _ in range(500):
            started = time.perf_counter()
            self.model.runtime.image(one)
            times.append((time.perf_counter() - started) * 1e3)
        low, median = np.percentile(times, [10, 50])
        return {"image_ms_median": round(float(median), 3), "image_ms_p10": round(float(low), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    faces = read_faces(given.root, "val")
    figures = Figures(EmoCLIP.load(given.model, threads=1), faces, read_votes(given.root, faces.paths))
    found: dict[str, Any] = {}
    for step in ("main", "words", "temporal", "rejection", "corruptions", "speed"):
        found[step] = getattr(figures, step)()
        print(step, json.dumps(found[step], indent=1), flush=True)
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
