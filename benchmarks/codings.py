"""What `emoclip teach` brings, on simulated coders of real faces: python benchmarks/codings.py FACES

24 "videos" are made of runs of face crops of FER-2013, each run one person for 1.5 to 4 seconds.  The truth is what ten
people said of each crop (FER+): "surprise with some fear" (both seen by several), "plain surprise" (fear seen by none),
or neither.  Two coders mark it with a lag, ragged borders and mistakes.  8 videos are taught; 16 are read and judged by
the truth.  The 8 are of crops that the bundled model was trained on (with other labels), the 16 of crops that it never
saw.  Crops that also lie in FER-2013's test parts are left out.
"""

import argparse
import io
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from PIL import Image

from emoclip.codings import Coding, Mark, learn, prepare_lesson, shown_figure, suggest_windows, teach_labels
from emoclip.codings import statistics as stats
from emoclip.codings.agreement import AgreementConfig, confusions
from emoclip.codings.learn import logits
from emoclip.codings.pairing import Pairing, Unit
from emoclip.codings.samples import lessons
from emoclip.codings.validate import fit, read_marks
from emoclip.engine import EmoCLIP
from emoclip.recording import Key, Look, Recording
from emoclip.results import Quality

MIX, PLAIN, REST = "surprise with some fear", "plain surprise", ""
RUNS = [MIX] * 5 + [PLAIN] * 6 + [REST] * 11
FPS, VIEWS = 8, 3
TAUGHT, JUDGED = 8, 16
REPORTED = (4, 5)


def crops(folder: Path) -> pd.DataFrame:
    """Return the crops with their kind."""
    votes = pd.read_parquet(folder / "ferplus_votes.parquet")
    images = pd.read_parquet(folder / "fer2013_trainval.parquet")[["path", "image"]]
    votes = votes[~votes["path"].isin(pd.read_csv(folder / "leaks.csv")["path"])].merge(images, on="path")
    votes = votes[votes["unknown"] + votes["no_face"] <= 2]
    surprise, fear = votes["surprise"], votes["fear"]
    mixed = (surprise >= 3) & (fear >= 2) & (surprise + fear >= 7)
    other = votes[["neutral", "happiness", "sadness", "anger"]].max(axis=1) >= 7
    kinds = [mixed, (surprise >= 8) & (fear == 0), other & (surprise == 0) & (fear == 0)]
    return votes.assign(kind=np.select(kinds, [MIX, PLAIN, REST], "left out"))


def shuffled(table: pd.DataFrame, seed: int, column: str = "image") -> dict[str, list]:
    """Return the crops of each kind in the order of a draw; films take them from the end."""
    return {
        kind: list(table[table["kind"] == kind].sample(frac=1, random_state=seed)[column])
        for kind in set(RUNS)
    }


def spare(table: pd.DataFrame) -> pd.DataFrame:
    """Return the crops trained on that the reported draws do not teach."""
    table = table[table["split"] == "train"]
    taken = {
        path
        for seed in REPORTED
        for kind, paths in shuffled(table, seed, "path").items()
        for path in paths[-TAUGHT * RUNS.count(kind) :]
    }
    return table[~table["path"].isin(taken)]


def film(
    model: EmoCLIP, pools: dict[str, list[bytes]], name: str, rng: np.random.Generator
) -> tuple[Recording, list]:
    """Return a recording of runs of crops, and what is true of it: (onset, offset, label)."""
    recording = Recording(f"{name}.mp4", None, Key(model.package.digest), model.package.width)
    truth, at = [], 0.0
    for kind in rng.permutation(RUNS):
        picture = np.asarray(Image.open(io.BytesIO(pools[kind].pop())).convert("RGB"))
        seen = model.embed_frames([shaken(picture, rng) for _ in range(VIEWS)])
        frames = int(rng.uniform(1.5, 4.0) * FPS)
        for step in range(frames):
            look = Look(0, 1.0, Quality(48.0, 0.5), seen[rng.integers(VIEWS)])
            recording.frames.append((at + step / FPS, [look]))
        truth.append((at, at + frames / FPS, str(kind)))
        at += frames / FPS
    recording.duration_s = at
    return recording, truth


def shaken(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a crop a little shifted and in other light, as a next frame would show it."""
    padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="edge")
    y, x = rng.integers(5, size=2)
    lit = padded[y : y + 48, x : x + 48] * rng.uniform(0.9, 1.1) + rng.uniform(-8, 8)
    return np.clip(lit, 0, 255).astype(np.uint8)


def coded(truth: list, video: str, coder: str, rng: np.random.Generator) -> Coding:
    """Return what a coder marks: late by 0.3 s, borders 0.2 s off, one run in eight missed or taken for the other."""
    marks = []
    for onset, offset, label in truth:
        start, end = onset + 0.3 + rng.normal(0, 0.2), offset + 0.3 + rng.normal(0, 0.2)
        slip = rng.random()
        if slip < 1 / 16 and label:
            continue
        if slip > 15 / 16:
            label = {MIX: PLAIN, PLAIN: MIX, REST: REST}[label]
        if label and end > max(start, 0.0) + 0.2:
            marks.append(Mark(max(start, 0.0), min(end, truth[-1][1]), label))
    return Coding(Path(f"{video}.csv"), video, coder, tuple(sorted(marks)), truth[-1][1])


def exact(truth: list, video: str) -> Coding:
    marks = tuple(Mark(onset, offset, label) for onset, offset, label in truth if label)
    return Coding(Path(f"{video}.csv"), video, "truth", marks, truth[-1][1])


def judged(samples: list, rows: list, truth: dict[str, Coding], labels: list[str]) -> np.ndarray:
    """Confusion counts (videos, C, C) of the truth with what a timeline would mark."""
    plain = labels[:-1]
    units = []
    for part, mine in zip(samples, rows, strict=True):
        span = ((float(part.start_s[0]), float(part.end_s[-1])),)
        marks = read_marks(part, logits(mine, part.features), labels)
        units.append(Unit(part.video, "anyone", part.video, (truth[part.video].marks, marks), (span, span)))
    return confusions(Pairing(["truth", "machine"], units, plain), AgreementConfig())


def people(codings: list[Coding], truth: dict[str, Coding], labels: list[str]) -> np.ndarray:
    """Confusion counts of the truth with a coder."""
    units = []
    for coding in codings:
        span = ((0.0, truth[coding.video].end_s),)
        marks = (truth[coding.video].marks, coding.marks)
        units.append(Unit(coding.video, "anyone", coding.video, marks, (span, span)))
    return confusions(Pairing(["truth", "coder"], units, labels), AgreementConfig())


def kappa(counts: np.ndarray) -> float:
    return float(stats.kappa(counts.sum(axis=0)))


def told(name: str, value: float, drawn: np.ndarray) -> None:
    low, high = np.quantile(drawn, [0.025, 0.975])
    print(f"{name}: {value:.3f} [{low:.3f}, {high:.3f}]")


def rounds(pool: list, words: np.ndarray, sizes: list[int], seed: int, *, chosen: bool) -> list[np.ndarray]:
    """Rows after coding so many windows, in rounds, suggested (`chosen`) or drawn at random."""
    rng = np.random.default_rng(seed)
    blank = [replace(part, targets=np.full_like(part.targets, np.nan)) for part in pool]
    rows, found = words, []
    for before, size in zip([0, *sizes], sizes, strict=False):
        if chosen:
            windows = suggest_windows(blank, rows, size - before, seed=seed)
            places = [(w.video, w.start_s) for w in windows]
        else:
            places = random_windows(blank, size - before, rng)
        blank = [reveal(part, whole, places) for part, whole in zip(blank, pool, strict=True)]
        rows = fit(blank, words)
        found.append(rows)
    return found


def random_windows(blank: list, count: int, rng: np.random.Generator) -> list[tuple[str, float]]:
    """Windows that were not coded and do not overlap."""
    free = [
        (part.video, float(s), float(e))
        for part in blank
        for s, e, c in zip(part.start_s, part.end_s, part.coded, strict=True)
        if not c
    ]
    found: list[tuple[str, float, float]] = []
    for at in rng.permutation(len(free)):
        video, start, end = free[at]
        if all(v != video or end <= s or start >= e for v, s, e in found):
            found.append(free[at])
        if len(found) == count:
            break
    return [(video, start) for video, start, _ in found]


def reveal(part, whole, places):
    """Return a part with the targets of the windows at `places`."""
    mine = [start for video, start in places if video == part.video]
    shown = np.isin(part.start_s, mine) | part.coded
    return replace(part, targets=np.where(shown[:, None], whole.targets, np.nan))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "faces", type=Path, help="folder with fer2013_trainval.parquet and ferplus_votes.parquet"
    )
    parser.add_argument("--model", default="mini")
    parser.add_argument(
        "--seeds", type=int, default=5, help="repetitions of the comparison of suggested with random"
    )
    parser.add_argument("--films", type=int, default=0, help="seed of the videos and coders")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="to choose settings on: the judged videos too are of crops trained on, none of draws 4 and 5",
    )
    options = parser.parse_args()
    model = EmoCLIP.load(options.model, threads=2)
    table, rng = crops(options.faces), np.random.default_rng(options.films)
    films, truths = [], {}
    for split, count in (("train", TAUGHT), ("val", JUDGED)):
        if not options.tune:
            pools = shuffled(table[table["split"] == split], options.films)
        elif split == "train":
            pools = shuffled(spare(table), options.films)
        for number in range(count):
            name = f"{split}{number:02d}"
            recording, truth = film(model, pools, name, rng)
            films.append(recording)
            truths[name] = truth
    names = list(truths)
    codings = [coded(truths[name], name, coder, rng) for name in names[:TAUGHT] for coder in ("a", "b")]
    lesson = prepare_lesson(model, films[:TAUGHT], codings)
    print(f"windows of {lesson.windows.length_s:g} s, labels {', '.join(lesson.labels)}")
    began = time.process_time()
    _, validation, card = teach_labels(lesson, lambda share: None)
    print(f"learning and validating: {time.process_time() - began:.1f} s of processor")
    print(
        f"{card['minutes']:.1f} minutes coded by two in {TAUGHT} videos; on those left out, kappa with the coders:"
    )
    for name in ("kappa", "kappa_words", "gain"):
        print(f"  {name.replace('_', ' of the ')}: {shown_figure(card[name])}")
    print(f"  {card['calibration']}, {card['people']}")
    for line in validation.warnings:
        print(f"warning: {line}")

    words, labels = lesson.words, lesson.labels
    exactly = {name: exact(truths[name], name) for name in names}
    test = lessons(model, films[TAUGHT:], list(exactly.values()), labels, lesson.windows)
    taught = fit(lesson.samples, words)
    ours = judged(test, [taught] * JUDGED, exactly, labels)
    zero = judged(test, [words] * JUDGED, exactly, labels)
    theirs = [coded(truths[name], name, coder, rng) for name in names[TAUGHT:] for coder in ("a", "b")]
    rich = lessons(model, films[TAUGHT:], theirs, labels, lesson.windows)
    without = [fit([p for p in rich if p.video != part.video], words) for part in test]
    most = judged(test, without, exactly, labels)
    drawn = stats.Resamples.of(JUDGED, 2000, 0)
    told("kappa with the truth on 16 videos, taught on 8", kappa(ours), stats.kappa(drawn.sums(ours)))
    told("the words alone", kappa(zero), stats.kappa(drawn.sums(zero)))
    told(
        "taught less words",
        kappa(ours) - kappa(zero),
        stats.kappa(drawn.sums(ours)) - stats.kappa(drawn.sums(zero)),
    )
    told("taught on the 16, each read by what the others taught", kappa(most), stats.kappa(drawn.sums(most)))
    told(
        "share of that",
        kappa(ours) / kappa(most),
        stats.kappa(drawn.sums(ours)) / stats.kappa(drawn.sums(most)),
    )
    print(
        f"a coder with the truth: {kappa(people([c for c in theirs if c.coder == 'a'], exactly, labels[:-1])):.3f}"
    )
    for factor in (0.5, 2.0):
        with patch.object(learn, "MOVE", learn.MOVE * factor):
            other = judged(test, [fit(lesson.samples, words)] * JUDGED, exactly, labels)
        print(f"with {factor:g} times the prior's spread: {kappa(other):.3f}")

    sizes = [20, 40, 60, 80]
    for name, chosen in (("random", False), ("suggested", True)):
        scores = [
            [
                kappa(judged(test, [rows] * JUDGED, exactly, labels))
                for rows in rounds(lesson.samples, words, sizes, seed, chosen=chosen)
            ]
            for seed in range(options.seeds)
        ]
        means = ", ".join(
            f"{size}: {score:.3f}" for size, score in zip(sizes, np.mean(scores, axis=0), strict=True)
        )
        print(
            f"{name} windows coded, mean kappa of {options.seeds} seeds: {means}; sd {np.std(scores, axis=0).round(3)}"
        )


if __name__ == "__main__":
    main()
