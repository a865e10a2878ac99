"""Which windows to code next, and ELAN files in which to code them."""

import math
import mimetypes
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.codings.coding import ANYONE, NOTHING, OPEN
from emoclip.codings.elan import TO_CODE
from emoclip.codings.learn import logits, softmax
from emoclip.codings.samples import CodedWindows
from emoclip.errors import ConfigError, InputError
from emoclip.files import atomic_folder

MOST_KNOWN = 500  # coded windows that new ones are kept apart from
# How much likelier a window is drawn that lies further from the others (a power of the squared distance), or that is
# steadier (of its rank).  Chosen on draws 10 to 25 of benchmarks/codings.py --tune.
FAR, STEADY = 4, 2
MOST_WINDOWS = 20_000  # that are chosen among; of longer material every second, third ...


@dataclass(frozen=True)
class Suggestion:
    """A window to code."""

    video: str
    track: str
    start_s: float
    end_s: float


def suggest(
    samples: Sequence[CodedWindows], rows: NDArray[np.floating[Any]], count: int, *, seed: int = 0
) -> list[Suggestion]:
    """Choose windows that were not coded, whose coding would teach most: unsure, unlike each other, and steady.

    Windows are drawn one by one, likelier the further the change that their coding would make lies from those chosen
    and coded before (BADGE: Ash et al., ICLR 2020), and the more they look like those around them: where one look gives
    way to another, a coder's lag spoils the label.  At most twice as many of a video as its share are taken.
    Raises InputError if everything was coded.
    """
    every = -(-sum(len(s.start_s) for s in samples) // MOST_WINDOWS) or 1
    steady = np.concatenate([s.steady[::every] for s in samples] or [np.empty(0)])
    samples = [s.every(every) for s in samples]
    part = np.concatenate([np.full(len(s.start_s), at) for at, s in enumerate(samples)] or [np.empty(0, int)])
    features = (
        np.concatenate([s.features for s in samples]).astype(np.float64) if len(part) else np.empty((0, 1))
    )
    coded = np.concatenate([s.coded for s in samples]) if len(part) else np.empty(0, bool)
    start = np.concatenate([s.start_s for s in samples]) if len(part) else np.empty(0)
    end = np.concatenate([s.end_s for s in samples]) if len(part) else np.empty(0)
    free = ~coded & (end > start)
    if not free.any():
        raise InputError("every window was coded already; add recordings that were not")
    shares = softmax(logits(np.asarray(rows, np.float64), features.astype(np.float32)))
    # The gradient of the likeliest answer: how far, and where to, its coding would move the reading.
    bent = shares - np.eye(len(rows))[shares.argmax(axis=1)]
    centred = features - features.mean(axis=0)
    size = (centred**2).sum(axis=1) * (bent**2).sum(axis=1)
    apart = size.copy()
    calm = ((steady.argsort().argsort() + 1) / max(len(steady), 1)) ** STEADY
    rng = np.random.default_rng(seed)
    most = math.ceil(2 * count / len({s.group for s in samples}))
    taken: Counter[str] = Counter()

    def keep(at: int) -> None:
        nonlocal apart
        apart = np.minimum(apart, size + size[at] - 2 * (centred @ centred[at]) * (bent @ bent[at]))

    known = np.flatnonzero(coded)
    for row in rng.permutation(known)[:MOST_KNOWN].tolist():
        keep(row)
    found: list[Suggestion] = []
    while len(found) < count and free.any():
        chances = np.where(free, np.maximum(apart, 0) + 1e-12, 0.0) ** FAR * calm
        at = int(rng.choice(len(chances), p=chances / chances.sum()))
        of = samples[part[at]]
        found.append(Suggestion(of.video, of.track, float(start[at]), float(end[at])))
        keep(at)
        free &= ~((part == part[at]) & (start < end[at]) & (end > start[at]))
        taken[of.group] += 1
        if taken[of.group] >= most:
            free &= np.array([samples[p].group != of.group for p in part])
    return sorted(found, key=lambda item: (item.video, item.start_s))


def write(
    windows: Sequence[Suggestion],
    labels: Sequence[str],
    media: Mapping[str, str],
    folder: Path,
    *,
    force: bool = False,
) -> list[str]:
    """Write an ELAN document per video into `folder`.  media: video -> its path.  Raises OutputError, ConfigError."""
    with atomic_folder(folder, force=force) as part:
        for video in sorted({item.video for item in windows}):
            mine = [item for item in windows if item.video == video]
            _write_eaf(part / f"{video}.eaf", mine, labels, media[video], beside=folder / f"{video}.eaf")
        return sorted(file.name for file in part.iterdir())


def _write_eaf(
    path: Path, windows: Sequence[Suggestion], labels: Sequence[str], media: str, *, beside: Path
) -> None:
    """Write one video's windows as an ELAN document: each waits as `?` for a label of its vocabulary.

    media: the video.  beside: where the document will lie.  Raises ConfigError without pympi.
    """
    try:
        from pympi.Elan import Eaf
    except ImportError:
        raise ConfigError(
            "suggestions need pympi-ling; install it with: pip install 'emoclip[formats]'"
        ) from None
    document = Eaf(author="emoclip teach")
    document.remove_tier("default")
    place = Path(os.path.relpath(media, beside.parent)).as_posix() if Path(media).exists() else ""
    kind = mimetypes.guess_type(media)[0] or "unknown"
    document.add_linked_file(place or media, relpath=place or None, mimetype=kind)
    document.add_language("und", "http://cdb.iso.org/lg/CDB-00130975-001", "undetermined (und)")
    document.add_controlled_vocabulary("labels")
    for number, label in enumerate(dict.fromkeys([OPEN, *labels, NOTHING])):
        document.add_cv_entry("labels", f"cveid_{number}", [(label, "und", "")])
    document.add_linguistic_type(
        "labels",
        param_dict={
            "LINGUISTIC_TYPE_ID": "labels",
            "TIME_ALIGNABLE": "true",
            "GRAPHIC_REFERENCES": "false",
            "CONTROLLED_VOCABULARY_REF": "labels",
        },
    )
    document.add_tier(TO_CODE)
    for track in sorted({item.track for item in windows}):
        document.add_tier(f"code {track}", "labels", part=None if track == ANYONE else track)
    for item in windows:
        span = round(item.start_s * 1000), max(round(item.end_s * 1000), round(item.start_s * 1000) + 1)
        document.add_annotation(TO_CODE, *span, "")
        document.add_annotation(f"code {item.track}", *span, OPEN)
    document.to_file(path)
