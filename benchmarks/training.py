"""How much faster an epoch is from the cache than with the frozen tower run anew: ViT-B/32, random weights.

    python benchmarks/training.py [--clips 64] [--frames 32] [--temporal paper]

Both epochs are measured in one run on the same clips (made here), the filling of the cache apart; then memory over
further epochs from the cache.
"""

import argparse
import csv
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from emoclip.training import loop, resume
from emoclip.training.embedding import cache_frames
from emoclip.training.recipe import Recipe, load_recipe
from emoclip.training.run import train


def make_clips(folder: Path, clips: int, frames: int) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(clips):
        home = folder / f"{number:03d}"
        home.mkdir(parents=True)
        for frame in range(frames):
            cv2.imwrite(str(home / f"{frame:03d}.jpg"), rng.integers(0, 255, (224, 224, 3), np.uint8))
        rows.append({"path": home.name, "label": "ab"[number % 2], "caption": f"a face, number {number}"})
    manifest = folder / "clips.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def timed_epochs(
    recipe: Recipe, manifest: Path, out: Path, *, use_cache: bool
) -> tuple[list[float], list[float], float]:
    """Return seconds of training per epoch, megabytes of memory after each, and seconds of filling the cache."""
    seconds: list[float] = []
    megabytes: list[float] = []
    filling = 0.0
    begun = 0.0
    fit, select, fill = loop.fit, loop._select, cache_frames

    def timed_fit(*args: object) -> object:
        nonlocal begun
        begun = time.perf_counter()
        return fit(*args)  # type: ignore[arg-type]

    def timed_epoch(*args: object) -> str:
        nonlocal begun
        seconds.append(time.perf_counter() - begun)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        megabytes.append(pages * resource.getpagesize() / 1e6)
        print(f"  epoch {len(seconds)}: {seconds[-1]:.2f} s, {megabytes[-1]:.0f} MB", flush=True)
        line = select(*args)  # type: ignore[arg-type]
        begun = time.perf_counter()
        return line

    def timed_fill(*args: object) -> object:
        nonlocal filling
        start = time.perf_counter()
        found = fill(*args)  # type: ignore[arg-type]
        filling = time.perf_counter() - start
        return found

    import emoclip.training.run as run

    loop._select, run.fit, run.cache_frames = timed_epoch, timed_fit, timed_fill  # type: ignore[assignment]
    saving, resume.Checkpoint.save = resume.Checkpoint.save, lambda *args: None  # type: ignore[assignment,method-assign]  # not what is compared
    try:
        train(recipe, manifest, out, use_cache=use_cache, force=True)
    finally:
        loop._select, run.fit, run.cache_frames, resume.Checkpoint.save = select, fit, fill, saving  # type: ignore[method-assign]
    return seconds, megabytes, filling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--temporal", default="paper", choices=("paper", "lean"))
    args = parser.parse_args()
    settings = [
        "data.dataset=manifest", "model.weights=''", f"model.temporal={args.temporal}", "clips.stride=1",
        f"clips.frames={args.frames}", "clips.views=0", "clips.rotation_deg=0", "clips.flip=false",
        f"loop.batch={args.clips}", "selection.select=last", "loop.workers=1",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_clips(Path(folder) / "clips", args.clips, args.frames)
        print("from the cache:")
        several = load_recipe("mafw-captions", [*settings, "loop.epochs=6"])
        cached, megabytes, filling = timed_epochs(several, manifest, Path(folder) / "cached", use_cache=True)
        print("running the tower:")
        once = load_recipe("mafw-captions", [*settings, "loop.epochs=1"])
        tower, _, _ = timed_epochs(once, manifest, Path(folder) / "tower", use_cache=False)
    usual = float(np.median(cached[1:]))
    print(f"{args.clips} clips of {args.frames} frames, temporal part: {args.temporal}")
    print(f"filling the cache, once: {filling:.1f} s")
    print(
        f"an epoch from the cache: {usual:.2f} s (median of {len(cached) - 1}; the first {cached[0]:.2f} s)"
    )
    print(f"an epoch that runs the tower: {tower[0]:.1f} s, {tower[0] / usual:.0f} times as long")
    print(
        f"memory after the 2nd and the last epoch from the cache: {megabytes[1]:.0f} and {megabytes[-1]:.0f} MB"
    )


if __name__ == "__main__":
    main()
