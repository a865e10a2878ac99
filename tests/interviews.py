"""Small made-up interviews with known scores, for tests of severity."""

import numpy as np

from emoclip.symptoms.interviews import recording
from emoclip.symptoms.manifest import Cohort, Interview
from emoclip.symptoms.scales import Target

RATED = Target("RATED", "how much of it shows", "a scale of the tests", 0.0, 10.0)
OTHER = Target("OTHER", "something else", "a scale of the tests", 0.0, 10.0)


def made_up(model, *, subjects=24, clips=6, seed=0, sessions=1):
    """Return a cohort and its recordings: frames lie along a direction by as much as RATED says; OTHER is noise."""
    rng = np.random.default_rng(seed)
    width, length = model.package.width, model.package.frames_per_clip
    direction, base = rng.normal(size=(2, width))
    interviews, recordings = [], []
    for number in range(subjects):
        rated, other = rng.uniform(1, 9, size=2)
        for session in range(sessions):
            drawn = [
                (base + (0.3 * rated) * direction + 0.4 * rng.normal(size=(length, width))).astype(np.float32)
                for _ in range(clips)
            ]
            starts_s = np.arange(clips) * 4.0
            recordings.append(
                recording(
                    model,
                    drawn,
                    parts=np.zeros(clips, int),
                    starts_s=starts_s,
                    ends_s=starts_s + 4,
                    totals=np.array([clips * 4.0 + number, 0.9]),
                )
            )
            name = f"s{number:02d}"
            path = f"{name}-{session}.mp4"
            interviews.append(
                Interview(path, name, str(session), (path,), (rated, other), 20.0 + number, None, name)
            )
    return Cohort((RATED, OTHER), interviews), recordings
