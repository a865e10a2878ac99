"""Is `not X` the opposite of X?  `python benchmarks/negations.py --root FACES [--model mini]`.

On crops of train that no step of training saw, by the public path: X and `not X` as the only labels, against the share
of ten people who say X.  "as words" reads the phrase as the text tower does, "mirrored" is what `not X` becomes, and
"rest less X" is the usual resting face less X, which needs no constant.  The form was chosen on the first half of the
crops.  Needs the extra `train`; a minute of one core.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from emoclip.engine import EmoCLIP
from emoclip.model import unit
from emoclip.training.mini.steps import MiniRecipe, MiniRun
from emoclip.training.mini.votes import auc

# In the order of the votes.
WORDS = ("angry", "disgusted", "afraid", "smiling", "neutral", "sad", "surprised", "contemptuous")


def main() -> None:
    """Print a table per half of the crops."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = MiniRun(MiniRecipe(), given.root, Path(folder))
    model = EmoCLIP.load(given.model, threads=1)
    faces, votes = run.faces.take(run.unseen), run.votes.take(run.unseen)
    clips = model.embed_clips(
        [model.embed_frames([np.repeat(image[..., None], 3, 2)]) for image in faces.images]
    )
    first = np.random.default_rng(0).permutation(len(clips)) < len(clips) // 2
    people, forms = 1 - votes.raw, ("as words", "rest less X", "mirrored")
    beside, alone = np.empty((2, len(forms), len(clips), len(WORDS)))
    for at, word in enumerate(WORDS):
        plain, read = model.read_labels(
            {word: [word, f"a face: {word}"], "other": [f"not {word}", f"a face: not {word}"]}
        )[0]
        less = unit(unit(model.package.resting) - plain)
        rows = (np.stack([plain, read]), np.stack([plain, less]), model.embed_text([word, f"not {word}"]))
        for form, text in enumerate(rows):
            beside[form, :, at] = model.probabilities(clips, text)[:, 1]
            alone[form, :, at] = model.intensities(clips, text)[:, 1]
    for title, half in (("chosen on", first), ("reported", ~first)):
        print(
            f"{title} {half.sum()} crops: score of `not smiling` (AUC), `not X` said rightly, KL, mean of 8 X"
        )
        for form, name in enumerate(forms):
            said, wanted = beside[form, half], people[half]
            ranked = auc(alone[form, half, 3].astype(np.float32), wanted[:, 3] > 0.5)
            right = ((said > 0.5) == (wanted > 0.5)).mean()
            both = [(wanted, said), (1 - wanted, 1 - said)]
            gap = sum((p * np.log((p + 1e-9) / (q + 1e-9))).mean() for p, q in both)
            print(f"  {name:12s} {ranked:.3f}  {right:.3f}  {gap:.3f}")


if __name__ == "__main__":
    main()
