"""Which windows to code next, and ELAN files in which to code them."""

import math
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
from emoclip.codings.statistics import Floats
from emoclip.errors import ConfigError, InputError
from emoclip.files import atomic_folder, linked
from emoclip.recording import Recording
from emoclip.video import media_type

MOST_KNOWN = 500  # coded windows that new ones are kept apart from
# What a steady look counts in a cluster (a power of its rank), and the share of windows, the least steady, that are
# taken last.  These and SPARE were chosen on draws 10 to 25 of benchmarks/codings.py --tune.
STEADY, RESTLESS = 2, 0.3
SPARE = 2  # clusters for each window to suggest: the lightest are oddities, which teach little of the rest
ROUNDS = 20  # of k-means
FAR = 1e9  # from what was coded, where nothing was
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
    """Choose windows that were not coded, whose coding would teach most: unsure, steady, and each standing for many.

    Windows are clustered by how they look and what is read in them, and the middles of the heaviest clusters are taken.
    An unsure window counts more (CLUE: Prabhu et al., ICCV 2021), and so does one that looks like those around it:
    where one look gives way to another, a coder's lag spoils the label.  What was coded is the middle of a cluster
    already.  At most twice as many of a video as its share are taken.  Raises InputError if everything was coded.
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
    centred = features - features.mean(axis=0)
    looks = np.hstack([centred / (np.sqrt((centred**2).sum(axis=1).mean()) or 1.0), shares])
    unsure = -(shares * np.log(shares + 1e-12)).sum(axis=1)
    calm = (steady.argsort().argsort() + 1) / len(steady)
    rng = np.random.default_rng(seed)
    known = looks[rng.permutation(np.flatnonzero(coded))[:MOST_KNOWN]]
    middles = _middles(looks, unsure * calm**STEADY * free + 1e-12, known, SPARE * count, rng)
    most = math.ceil(2 * count / len({s.group for s in samples}))
    taken: Counter[str] = Counter()
    found: list[Suggestion] = []
    for middle in middles:
        if len(found) == count or not free.any():
            break
        among = free & (calm > RESTLESS) if (free & (calm > RESTLESS)).any() else free
        at = int(np.where(among, _squared(looks, middle[None])[:, 0], np.inf).argmin())
        of = samples[part[at]]
        found.append(Suggestion(of.video, of.track, float(start[at]), float(end[at])))
        free &= ~((part == part[at]) & (start < end[at]) & (end > start[at]))
        taken[of.group] += 1
        if taken[of.group] >= most:
            free &= np.array([samples[p].group != of.group for p in part])
    return sorted(found, key=lambda item: (item.video, item.start_s))


def _middles(points: Floats, weights: Floats, known: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Weighted k-means of points (N, W): `count` middles, heaviest first, beside those `known`, which stay."""
    apart = np.minimum(_squared(points, known).min(axis=1, initial=np.inf), FAR)
    nearest, found = apart.copy(), np.empty((count, points.shape[1]))
    for at in range(count):
        chances = weights * nearest + 1e-300
        found[at] = points[rng.choice(len(points), p=chances / chances.sum())]
        nearest = np.minimum(nearest, _squared(points, found[at : at + 1])[:, 0])
    for _ in range(ROUNDS):
        away = _squared(points, found)
        own = np.where(away.min(axis=1) < apart, away.argmin(axis=1), -1)
        mass = np.bincount(own + 1, weights, count + 1)[1:]
        for of in np.flatnonzero(mass):
            found[of] = np.average(points[own == of], axis=0, weights=weights[own == of])
    return np.asarray(found[(-mass).argsort()])


def _squared(points: Floats, others: Floats) -> Floats:
    """Squared distances (N, M) of points (N, W) from others (M, W)."""
    far = (points**2).sum(axis=1)[:, None] - 2 * points @ others.T + (others**2).sum(axis=1)
    return np.asarray(np.maximum(far, 0.0))


def write(
    windows: Sequence[Suggestion],
    labels: Sequence[str],
    seen: Mapping[str, Recording],
    folder: Path,
    *,
    force: bool = False,
) -> list[str]:
    """Write an ELAN document per video into `folder`.  seen: by video.  Raises OutputError, ConfigError."""
    with atomic_folder(folder, force=force) as part:
        for video in sorted({item.video for item in windows}):
            mine = [item for item in windows if item.video == video]
            (part / video).parent.mkdir(parents=True, exist_ok=True)
            _write_eaf(part / f"{video}.eaf", mine, labels, seen[video], home=(folder / video).parent)
        return sorted(file.relative_to(part).as_posix() for file in part.rglob("*.eaf"))


def _write_eaf(
    path: Path, windows: Sequence[Suggestion], labels: Sequence[str], seen: Recording, *, home: Path
) -> None:
    """Write one video's windows as an ELAN document: each waits as `?` for a label of its vocabulary.

    seen: in the video.  home: the folder in which the document will lie.  Raises ConfigError without pympi.
    """
    try:
        from pympi.Elan import Eaf
    except ImportError:
        raise ConfigError(
            "suggestions need pympi-ling; install it with: pip install 'emoclip[formats]'"
        ) from None
    document = Eaf(author="emoclip teach")
    document.remove_tier("default")
    media = seen.media()
    place = linked(seen.name, media, home)
    document.add_linked_file(place, relpath=None if media is None else place, mimetype=media_type(seen.name))
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
    # Of a recording that nobody coded face by face, windows are read of the largest face in them.
    tiers = {
        track: f"code {'the largest face' if track == ANYONE else track}"
        for track in sorted({item.track for item in windows})
    }
    for track, tier in tiers.items():
        document.add_tier(tier, "labels", part=None if track == ANYONE else track)
    for item in windows:
        span = round(item.start_s * 1000), max(round(item.end_s * 1000), round(item.start_s * 1000) + 1)
        document.add_annotation(TO_CODE, *span, "")
        document.add_annotation(tiers[item.track], *span, OPEN)
    document.to_file(path)
