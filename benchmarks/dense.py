"""A dense timeline against encoding every window anew, as the official code does, with the same model in one run.

    python benchmarks/dense.py [VIDEO] [--model FOLDER] [--seconds S] [--rounds N] [--csv FILE]

Windows of 2 s every 0.25 s.  Ours embeds each frame once, while it decodes and follows; the other way decodes and
follows the same frames, then runs the image tower over all 32 frames of every window.  Both embed the text once.
The two alternate; medians count.  Also prints by how much the probabilities differ at most.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

WINDOW_S, STEP_S = 2.0, 0.25
LABELS = "crying or sad, worried or afraid, smiling or laughing"


def ours(model: Any, video: Path, seconds: float) -> np.ndarray:
    """Return the probabilities of every window, (W, K), as `emoclip timeline` computes them."""
    from emoclip.config import WindowConfig

    windows = WindowConfig(length_s=WINDOW_S, step_s=STEP_S)
    stream = model.timeline(video, LABELS, end_s=seconds, faces="largest", windows=windows)
    return np.array([list(row.probs.values()) for row in stream])


def anew(model: Any, video: Path, seconds: float) -> np.ndarray:
    """Return the same with every window's frames embedded again."""
    from emoclip.config import FaceConfig
    from emoclip.faces import FaceFollower, crop_face
    from emoclip.timeline.watching import watched
    from emoclip.timeline.windows import EDGE_S
    from emoclip.video.inputs import open_video

    text = model.embed_text(LABELS)
    follower = FaceFollower(watched(FaceConfig()))
    rate = max(model.package.sample_fps, model.package.frames_per_clip / WINDOW_S)
    crops, last_s, due_s = [], 0.0, 0.0
    with open_video(video, end_s=seconds) as frames:
        for frame, faces in follower.follow(frames):
            last_s = frame.time_s
            if frame.time_s >= due_s - EDGE_S:
                due_s = max(due_s, frame.time_s - 1 / rate) + 1 / rate
                pixels = model.package.pixels
                crops += [(frame.time_s, crop_face(frame.image, face, pixels)) for face in faces[:1]]
    rows, start_s = [], 0.0
    while not rows or start_s + WINDOW_S - STEP_S - EDGE_S <= last_s:
        inside = [crop for time_s, crop in crops if start_s - EDGE_S <= time_s < start_s + WINDOW_S - EDGE_S]
        rows.append(model.probabilities(model.embed_clip(model.embed_frames(inside)), text))
        start_s += STEP_S
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    media = Path(__file__).resolve().parents[2] / "shared" / "media"
    parser.add_argument("video", nargs="?", type=Path, default=media / "WolfgangLanger_Pexels.mp4")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "int8"))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()

    import cv2

    from emoclip import EmoCLIP
    from emoclip.bench import machine

    model = EmoCLIP.load(options.model, precision=options.precision)
    cv2.setNumThreads(1)
    anew(model, options.video, WINDOW_S)
    rounds = []
    for _ in range(options.rounds):
        row = []
        for way in (ours, anew):
            began_s, began_cpu_s = time.perf_counter(), time.process_time()
            probs = way(model, options.video, options.seconds)
            row += [time.perf_counter() - began_s, time.process_time() - began_cpu_s, probs]
        rounds.append(row)
        print(f"ours {row[0]:.2f} s, every window anew {row[3]:.2f} s", flush=True)
    once, again = rounds[0][2], rounds[0][5]
    both = min(len(once), len(again))
    execution = model.runtime.execution
    figures = {
        "model": model.package.name,
        "engine": execution.engine,
        "precision": execution.precision,
        "windows": len(once),
        "ours_s": round(median(row[0] for row in rounds), 2),
        "anew_s": round(median(row[3] for row in rounds), 2),
        "ratio": round(median(row[3] / row[0] for row in rounds), 2),
        "cpu_ratio": round(median(row[4] / row[1] for row in rounds), 2),
        "most_apart": round(float(np.nanmax(np.abs(once[:both] - again[:both]))), 5),
        "processor": machine()["processor"],
        "cores": machine()["cores"],
    }
    print(json.dumps(figures, indent=2))
    if options.csv:
        new = not options.csv.exists()
        with options.csv.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, figures.keys(), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(figures)


if __name__ == "__main__":
    main()
