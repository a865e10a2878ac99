"""A tiny data set for tests of training: moving patterns whose kind is their class, as frame folders and a manifest."""

import csv
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("anger", "happiness", "surprise")
CAPTIONS = {
    "anger": ("the brows pulled down, the left lip tight", "a hard glare and a clenched jaw"),
    "happiness": ("the lip corners pulled up", "raised cheeks and a broad smile"),
    "surprise": ("the brows raised high and the jaw dropped", "wide open eyes"),
}


def picture(kind: int, phase: float, rng: np.random.Generator) -> np.ndarray:
    """Return a 48-pixel picture of stripes (0), rings (1) or a ramp (2) with noise."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    waves = (np.sin(9 * x + phase), np.sin(9 * np.hypot(x, y) + phase), x * np.cos(phase) + y * np.sin(phase))
    grey = 128 + 90 * waves[kind] + rng.normal(0, 6, (48, 48))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def make_clips(
    folder: Path, count: int = 24, frames: int = 7, *, captions: bool = True, test: int = 0, seed: int = 0
) -> Path:
    """Write `count` training (and `test` test) clips as folders of PNG frames, and clips.csv; return its path."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count + test):
        kind = number % len(CLASSES)
        name, phase = CLASSES[kind], rng.uniform(0, 6)
        home = folder / f"clip{number:03d}"
        home.mkdir(parents=True)
        for frame in range(frames):
            cv2.imwrite(str(home / f"{frame:03d}.png"), picture(kind, phase + 0.2 * frame, rng))
        caption = CAPTIONS[name][int(rng.integers(2))] if captions else ""
        split = "train" if number < count else "test"
        rows.append({"path": home.name, "label": name, "caption": caption, "split": split})
    path = folder / "clips.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("path", "label", "caption", "split"))
        writer.writeheader()
        writer.writerows(rows)
    return path


# A model small enough for a step in milliseconds; its frozen towers are random.
TINY = (
    "data.dataset=manifest",
    "data.faces=full",
    "data.text=captions",
    "data.balance=0",
    "model.backbone=compact",
    "model.weights=''",
    "model.temporal=lean",
    "model.channels=[4, 8, 8, 8]",
    "model.width=16",
    "model.depth=1",
    "clips.frames=4",
    "clips.stride=1",
    "clips.views=2",
    "loop.batch=8",
    "loop.epochs=3",
    "loop.workers=0",
    "optimiser.lr=0.05",
    "selection.held_out=0.25",
)
