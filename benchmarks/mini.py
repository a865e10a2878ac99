"""The figures of the bundled model's card: `python benchmarks/mini.py --root FACES_DIR [--model mini] [--out FILE]`.

FACES_DIR holds a FER-2013 copy (see emoclip/training/faces.py); its val split is looked at here and nowhere else.
Needs the extra `train`; about 5 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emoclip.engine import EmoCLIP
from emoclip.metrics import ece
from emoclip.model import unit
from emoclip.prompts import resolve
from emoclip.training import augmentation as worse
from emoclip.training.mini.clips import FrameBank, pseudo_clips
from emoclip.training.mini.faces import CLASSES, Faces, read_faces
from emoclip.training.mini.vocabulary import lexicon


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    right = logits.argmax(1) == labels
    recall = [float(right[labels == c].mean()) for c in range(len(CLASSES))]
    return {"WAR": round(float(right.mean()), 4), "UAR": round(float(np.mean(recall)), 4),
            "recall": dict(zip(CLASSES, np.round(recall, 3).tolist(), strict=True))}  # fmt: skip


def softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


class Figures:
    """Everything the card reports, one method per table."""

    def __init__(self, model: EmoCLIP, faces: Faces) -> None:
        self.model, self.faces = model, faces
        self.text = model.embed_text(resolve("seven"))
        self.eight = model.embed_text(resolve("eight"))
        self.scale = model.package.logit_scale
        self.pixels = torch.from_numpy(faces.images)[:, None].float() / 255

    def frames(self, pixels: torch.Tensor) -> np.ndarray:
        """(N, 1, 48, 48) -> (N, D)."""
        return self.model.runtime.image(pixels.numpy())

    def main(self) -> dict[str, Any]:
        """Val with the class sentences: scores, calibration, confusion (rows are the truth)."""
        self.clean = self.model.embed_clips(self.frames(self.pixels)[:, None])
        cosines = self.clean @ self.text.T
        found = scores(cosines, self.faces.labels)
        found["ECE"] = round(float(ece(self.faces.labels, softmax(self.scale * cosines))), 4)
        confusion = np.zeros((7, 7), int)
        np.add.at(confusion, (self.faces.labels, cosines.argmax(1)), 1)
        found["confusion"] = confusion.tolist()
        eight = (self.clean @ self.eight.T).argmax(1)
        found["called_contempt_of_eight"] = round(float((eight == 1).mean()), 4)
        return found

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
            clips = self.model.embed_clips(self.frames(change(self.pixels.clone()))[:, None])
            found[name] = {
                k: v for k, v in scores(clips @ self.text.T, self.faces.labels).items() if k != "recall"
            }
        return found

    def _reduced(self, pixels: torch.Tensor, side: int) -> torch.Tensor:
        small = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
        return torch.nn.functional.interpolate(small, size=(48, 48), mode="bilinear")

    def words(self) -> dict[str, Any]:
        """Held-out words as plain labels: is the nearest class sentence the right one of eight?"""
        held = lexicon().held_out
        given = self.model.embed_text(resolve(list(held)))
        sentences = self.model.embed_text(resolve("eight"))
        order = resolve("eight").labels
        nearest = [order[i] for i in (given @ sentences.T).argmax(1)]
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
        bank = FrameBank(stack[0], stack[1], torch.from_numpy(junk), torch.from_numpy(self.faces.labels))
        neutral = (bank.labels == CLASSES.index("neutral")).nonzero()[:, 0]
        found = {}
        for name, partial in (("all frames show it", 0.0), ("some frames show it", 1.0)):
            clips = pseudo_clips(bank, torch.arange(len(bank.labels)), 32, neutral, partial).numpy()
            mean = unit(unit(clips).mean(axis=1))
            for kind, embedding in (
                ("mean", mean),
                ("transformer", self.model.embed_clips(clips.astype(np.float32))),
            ):
                result = scores(embedding @ self.text.T, self.faces.labels)
                found[f"{name}, {kind}"] = {"WAR": result["WAR"], "UAR": result["UAR"]}
        return found

    def rejection(self) -> dict[str, Any]:
        """What falls below the package's threshold."""
        limit = self.model.package.config["rejection"]["threshold"]
        torch.manual_seed(0)
        inside = (self.clean @ self.text.T).max(1)
        noise = torch.nn.functional.interpolate(
            torch.rand(500, 1, 9, 9), size=(48, 48), mode="bicubic"
        ).clamp(0, 1)
        corners = torch.nn.functional.interpolate(
            self.pixels[:500, :, :14, :14], size=(48, 48), mode="bilinear"
        )
        found = {"threshold": limit, "faces kept": round(float((inside >= limit).mean()), 4)}
        for name, pixels in (("smooth noise", noise), ("blown-up crop corners", corners)):
            best = (self.model.embed_clips(self.frames(pixels)[:, None]) @ self.text.T).max(1)
            found[f"{name} rejected"] = round(float((best < limit).mean()), 4)
        without = []
        for c in range(7):  # the right label is not on offer
            rows = self.faces.labels == c
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
    figures = Figures(EmoCLIP.load(given.model, threads=1), read_faces(given.root, "val"))
    found: dict[str, Any] = {}
    for step in ("main", "words", "temporal", "rejection", "corruptions", "speed"):
        found[step] = getattr(figures, step)()
        print(step, json.dumps(found[step], indent=1), flush=True)
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
