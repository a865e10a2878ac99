"""Simulated recordings of faces that show `smirk`, `wink` or nothing, and what a coder marks in them."""

from pathlib import Path

import numpy as np

from emoclip.codings import Coding, Mark
from emoclip.engine import EmoCLIP
from emoclip.recording import Key, Look, Recording
from emoclip.results import Quality

WIDTH = 16
FACES = np.random.default_rng(7).normal(size=(3, WIDTH))  # how smirk, wink and nothing look


def film(
    model: EmoCLIP, name: str, said: list[tuple[float, str]], *, seed: int, person: float = 0.5
) -> tuple[Recording, Coding]:
    """Return a recording of runs (seconds, label), and its coding; people look different by `person`."""
    rng = np.random.default_rng(seed)
    looks_like = rng.normal(size=WIDTH) * person
    recording = Recording(f"{name}.mp4", None, Key(model.package.digest), WIDTH)
    marks, at = [], 0.0
    for seconds, label in said:
        face = FACES[["smirk", "wink", ""].index(label)]
        for step in range(round(seconds * 8)):
            seen = (face + looks_like + rng.normal(size=WIDTH) * 0.7).astype(np.float32)
            recording.frames.append((at + step / 8, [Look(0, 1.0, Quality(60.0, 0.5), seen)]))
        if label:
            marks.append(Mark(at, at + seconds, label))
        at += seconds
    recording.duration_s = at
    return recording, Coding(Path(f"{name}.csv"), name, "anna", tuple(marks), at)


def films(model: EmoCLIP, count: int = 6, **options) -> tuple[list[Recording], list[Coding]]:
    rng = np.random.default_rng(1)
    made = []
    for number in range(count):
        runs = [(4.0, label) for label in rng.permutation(["smirk", "wink", "", ""] * 2).tolist()]
        made.append(film(model, f"v{number}", runs, seed=number, **options))
    return [recording for recording, _ in made], [coding for _, coding in made]
