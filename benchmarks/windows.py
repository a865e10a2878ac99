"""How near a timeline's windows are to what `predict` says of the same seconds.

    python benchmarks/windows.py talk.mp4 interview.mp4
    python benchmarks/windows.py talk.mp4 --labels "smiling, worried" --window 1

Both embed the same frames of a second.  But a timeline follows faces from its beginning on, and down to two thirds of
`--min-face`, so the boxes it cuts out lie a little elsewhere; `--follow-alike` takes that last part away.
"""

import argparse

import numpy as np

from emoclip import EmoCLIP
from emoclip.config import FaceConfig, WindowConfig
from emoclip.timeline.watching import watched

LABELS = "crying or sad, worried or afraid, smiling or laughing, neutral face"


def main() -> None:
    """Print the largest difference of a probability, over the windows of each video and of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--labels", default=LABELS)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--window", type=float, default=2.0)
    parser.add_argument("--follow-alike", action="store_true")
    given = parser.parse_args()
    model = EmoCLIP.load(given.model)
    faces = FaceConfig("largest")
    followed = watched(faces) if given.follow_alike else faces
    apart: list[float] = []
    others = 0
    for video in given.videos:
        windows = model.timeline(video, given.labels, faces=faces, windows=WindowConfig(given.window))
        mine: list[float] = []
        for window in windows:
            if window.status != "ok":
                continue
            seconds = {"start_s": window.start_s, "end_s": window.start_s + given.window}
            for face in model.classify(video, given.labels, faces=followed, **seconds).faces:
                mine.append(max(abs(face.probs[label] - window.probs[label]) for label in face.probs))
                others += face.top != window.top
        print(f"{video}: {told(mine)}")
        apart += mine
    print(f"all: {told(apart)}; another label on top in {others}")


def told(apart: list[float]) -> str:
    """The differences as one line."""
    if not apart:
        return "no window could be read"
    median, most = np.percentile(apart, [50, 95])
    return f"{len(apart)} windows, median {median:.3f}, 95 % within {most:.3f}, at most {max(apart):.3f}"


if __name__ == "__main__":
    main()
