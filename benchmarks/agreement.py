"""How long `emoclip agree` takes on two hours of coded video: python benchmarks/agreement.py

Two coders and a timeline's JSON of a made-up video of two hours, eight labels, an event every two seconds.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HOURS, LABELS = 2, [f"label {letter}" for letter in "abcdefgh"]


def main() -> None:
    rng = np.random.default_rng(0)
    ends = np.cumsum(rng.exponential(2.0, size=HOURS * 3600))
    ends = np.round(ends[ends < HOURS * 3600], 3)
    labels = rng.choice(LABELS, size=len(ends))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for coder in ("anna", "ben"):
            starts = np.concatenate([[0.0], ends[:-1]])
            late = np.clip(ends + rng.normal(0, 0.2, len(ends)), starts, None)
            rows = [f"{a:.3f},{b:.3f},{c}\n" for a, b, c in zip(starts, late, labels, strict=True)]
            (folder / f"{coder}.csv").write_text("onset,offset,label\n" + "".join(rows))
        segments = [
            {"track_id": 0, "label": label, "onset_s": float(a), "offset_s": float(b)}
            for a, b, label in zip(np.concatenate([[0.0], ends[:-1]]), ends, labels, strict=True)
        ]
        record = {
            "emoclip": "0",
            "input": "long.mp4",
            "duration_s": HOURS * 3600.0 + 1,
            "settings": {"start_s": 0.0, "end_s": None},
            "model": {"name": "mini"},
            "segments": segments,
        }
        (folder / "long.json").write_text(json.dumps(record))
        print(f"{HOURS} hours, {len(segments)} events, {len(LABELS)} labels, step 0.1 s")
        for told, files in (
            ("coding against timeline", ["anna.csv", "long.json"]),
            ("two codings", ["anna.csv", "ben.csv"]),
        ):
            began, before = time.perf_counter(), os.times()
            command = [sys.executable, "-m", "emoclip", "agree", *files, "--out", told.replace(" ", "_")]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            wall, after = time.perf_counter() - began, os.times()
            cpu = sum(after[2:4]) - sum(before[2:4])
            print(f"{told}: {wall:.1f} s ({cpu:.1f} s of processor), page and tables included")


if __name__ == "__main__":
    main()
