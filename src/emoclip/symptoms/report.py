"""A fitted study on disk: figures, predictions, what drove them, one HTML page, and packages that score."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emoclip.characters import cell
from emoclip.drawing import new_figure, own_style, page, png
from emoclip.errors import counted
from emoclip.files import atomic_folder, check_folder, json_text
from emoclip.model import check_target
from emoclip.symptoms import fit as symptoms
from emoclip.symptoms import head as heads
from emoclip.symptoms.fit import Estimator
from emoclip.symptoms.interviews import SeenInterview
from emoclip.symptoms.study import Floats, Ints, Result, Study

METRICS = {"pcc": "PCC", "ccc": "CCC", "icc": "ICC(2,1)", "mae": "MAE", "rmse": "RMSE"}
BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito's: told apart by colour-blind readers
STRONGEST = 3  # clips listed per interview
FEW_SUBJECTS, SHORT_S, MOST_PAIRS = 30, 60, 5
FEW_DIFFER = 5  # subjects with another score than the commonest
MOST_P = 0.05  # what is called told from chance
ALIKE = 0.1  # of the median distance between subjects: closer is a copy, in another encoding for instance
ROWS = 200  # interviews in the picture of what drove a score
ESTIMATORS = ("probe", "paper")
PACKAGES = ("package", *(f"package-{name}" for name in ESTIMATORS))
DRAWN = tuple(
    f"{kind}_[0-9]*_{name}.png" for kind in ("scatter", "bland_altman", "influence") for name in ESTIMATORS
)


def write(
    study: Study,
    folder: Path,
    estimators: Sequence[Estimator],
    *,
    force: bool = False,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> list[str]:
    """Write a study, whole or not at all, and return the names of what a reader opens.  Raises OutputError.

    metrics.json, predictions.csv, windows.csv, report.html with its pictures beside it, and a package per estimator:
    `package` of the first, `package-NAME` of the others.  Of a study that was there before, none of these stays.
    """
    check(folder, force=force)
    packages = ["package", *(f"package-{estimator.name}" for estimator in estimators[1:])]
    with atomic_folder(folder, force=force, whole=(*PACKAGES, *DRAWN)) as part:
        (part / "metrics.json").write_text(json_text(study.metrics()), encoding="utf-8")
        _write_csv(part / "predictions.csv", study.predictions())
        _write_csv(part / "windows.csv", study.windows())
        for name, estimator in zip(packages, estimators, strict=True):

            def share(done: float, estimator: Estimator = estimator) -> None:
                progress(f"{estimator.name}: fit to everybody", done)

            symptoms.save_package(study, estimator, part / name, share)
        pictures = _pictures(study)
        for name, picture in pictures.items():
            (part / name).write_bytes(picture)
        (part / "report.html").write_text(html(study, pictures), encoding="utf-8")
    return ["report.html", "metrics.json", "predictions.csv", "windows.csv", *packages]


def check(folder: Path, *, force: bool = False) -> None:
    """Raise OutputError now for a folder that `write` would refuse after the work is done."""
    check_folder(folder, force=force)
    for name in PACKAGES:
        check_target(folder / name, force=force)


def warnings(study: Study) -> list[str]:
    """What a reader must know before believing a figure, one line each."""
    found = [*study.cohort.notes, *_of_cohort(study)]
    for name, result in study.estimators.items():
        for target, figures in result.targets.items():
            if line := _of_chance(figures):
                found.append(f"{name}, {target}: {line}")
            if line := _of_gains(figures["gain_in_mae"]):
                found.append(f"{name}, {target}: {line}")
    if study.cohort.excluded:
        found.append(f"left out: {counted(len(study.cohort.excluded), 'row')} of the manifest, see the list")
    return found


def _of_chance(figures: dict[str, Any]) -> str:
    """Say that a figure is not told from chance, or that it could not be however good it were, and what to do then."""
    p, least = figures["permutation_p"], figures["permutation"]["p_least"]
    by_fold = figures["permutation"]["kind"] == symptoms.BY_FOLD
    refit = "refit it 19 times (--paper-permutations 19; from Python, permutations=19)"
    if p is None:
        return f"not tested against chance (folds of one subject, no refits); {refit}"
    if least > MOST_P:
        why = "in folds this small the test finds nothing" if by_fold else "too few refits or subjects"
        more = "refit it more often, or add subjects (those with as many interviews and scores are exchanged)"
        return f"not tested against chance: {why}, p is {least:.2g} at least; {refit if by_fold else more}"
    return f"not told from chance (permutation p {chance(figures)})" if p > MOST_P else ""


def _of_gains(gains: dict[str, dict[str, Any]]) -> str:
    """Say which baselines an estimate is not shown to beat, and how much more it errs where it is shown to be worse."""
    equal, worse = [], []
    for name, gain in gains.items():
        low, high = gain["ci95"]
        if high is not None and high < 0:
            worse.append(f"{name.replace('_', ' ')} (its mean error is {_larger(gain)})")
        elif low is None or low <= 0:
            equal.append(name.replace("_", " "))
    told = {"shown to be worse than": worse, "not shown to be better than": equal}
    return "; ".join(f"{shown} {', '.join(names)}" for shown, names in told.items() if names)


def _of_cohort(study: Study) -> list[str]:
    """What in the cohort itself makes figures weak, or too good."""
    found = []
    names = study.cohort.subjects
    if (subjects := len(set(names))) < FEW_SUBJECTS:
        found.append(
            f"{subjects} subjects are few: with fewer than {FEW_SUBJECTS}, figures change with every study"
        )
    for target, scores in zip(study.cohort.targets, study.cohort.scores.T, strict=True):
        rated = [(name, score) for name, score in zip(names, scores, strict=True) if not np.isnan(score)]
        kinds = {score for _, score in rated}
        differ, common = min((len({name for name, score in rated if score != each}), each) for each in kinds)
        if differ < FEW_DIFFER:
            found.append(
                f"{target.name}: only {counted(differ, 'subject')} of {len(dict(rated))} "
                f"{'has' if differ == 1 else 'have'} another score than {common:g}; every figure hangs on so few"
            )
    if "age_length" not in study.baselines:
        ages = any(item.age is not None for item in study.cohort.interviews)
        found.append(
            f"age length: {'all of one age' if ages else 'no ages'}, and all interviews of one length: "
            "the same as mean"
        )
    short = [
        f"{interview.name}, {interview.path}"
        for interview, item in zip(study.cohort.interviews, study.recordings, strict=True)
        if item.duration_s < SHORT_S
    ]
    if short:
        found.append(
            f"{len(short)} of {len(study.recordings)} interviews are shorter than {SHORT_S} s (the first: {short[0]}); "
            "a rating of minutes cannot be read off seconds"
        )
    rows = np.stack([heads.centre_of(item.clips) for item in study.recordings])
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    others = np.array([[one < other for other in names] for one in names])
    close = others & (apart < ALIKE * np.median(apart[others])) if others.any() else others
    for one, other in np.argwhere(close)[:MOST_PAIRS]:
        found.append(
            f"subjects {names[one]} and {names[other]} look like the same video or person "
            f"({study.cohort.interviews[one].path}, {study.cohort.interviews[other].path}); one person under two names "
            "is in training and test at once"
        )
    if (more := len(np.argwhere(close)) - MOST_PAIRS) > 0:
        found.append(f"{more} more pairs of subjects look like the same video or person")
    return found


def chance(figures: dict[str, Any]) -> str:
    """A permutation p as people read it; nothing for a baseline, which has none."""
    if "permutation_p" not in figures:
        return ""
    p = figures["permutation_p"]
    return "–" if p is None else f"{p:.4f}"


def html(study: Study, pictures: dict[str, bytes]) -> str:
    """Return the report as one page with everything in it."""
    return page(
        "severity.html",
        note=heads.NOTE,
        facts=study.metrics(),
        length=_length(sum(item.duration_s for item in study.recordings)),
        cautions=warnings(study),
        headings=["", "permutation p", *METRICS.values()],
        targets=[
            {
                "column": column,
                "name": target.name,
                "title": target.title,
                "scale": target.scale,
                "limits": "range not known" if target.low is None else f"{target.low:g} to {target.high:g}",
                "rows": _rows(study, target.name),
            }
            for column, target in enumerate(study.cohort.targets)
        ],
        estimators=list(study.estimators),
        pictures=pictures,
        strongest=_strongest(study),
        most=STRONGEST,
        excluded=[[item.subject, item.session, item.path, item.reason] for item in study.cohort.excluded],
    )


def _length(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _rows(study: Study, target: str) -> list[list[str]]:
    rows = []
    results = study.estimators | study.baselines
    for name, result in results.items():
        figures = result.targets[target]
        rows.append(
            [
                name.replace("_", " "),
                chance(figures),
                *(heads.with_interval(figures[metric]).replace(" (", "\n(") for metric in METRICS),
            ]
        )
    return rows


def _larger(gain: dict[str, Any]) -> str:
    """A loss in words, in digits enough to tell its figures from each other and from 0."""
    value, (low, high) = gain["value"], gain["ci95"]
    form = heads.telling((value, low, high, 0.0), ".2f")
    return f"larger by {heads.with_interval({'value': -value, 'ci95': [-high, -low]}, form)}"


def _strongest(study: Study) -> list[list[str]]:
    """The clips that moved each interview's estimates most; none where it has but one."""
    result = next(iter(study.estimators.values()))
    rows = []
    for row, (interview, kept) in enumerate(zip(study.cohort.interviews, study.recordings, strict=True)):
        for column, target in enumerate(study.cohort.targets):
            influence = result.influence[row][:, column]
            if np.isnan(influence).any():
                continue
            for clip in np.argsort(-np.abs(influence), kind="stable")[:STRONGEST].tolist():
                source = interview.path + (f" [{kept.parts[clip]}]" if kept.parts.max() else "")
                rows.append(
                    [
                        interview.name,
                        target.name,
                        source,
                        f"{kept.starts_s[clip]:.1f}-{kept.ends_s[clip]:.1f} s",
                        f"{influence[clip]:+z.3f}",
                    ]
                )
    return rows


def _pictures(study: Study) -> dict[str, bytes]:
    found = {}
    for column, target in enumerate(study.cohort.targets):
        for name, result in study.estimators.items():
            truth = study.cohort.scores[:, column]
            known = ~np.isnan(truth)
            estimate = result.predicted[known, column]
            about = f"{target.name}, {name}"
            found[f"scatter_{column}_{name}.png"] = _scatter(truth[known], estimate, f"{about}: estimates")
            found[f"bland_altman_{column}_{name}.png"] = _bland_altman(
                truth[known], estimate, f"{about}: Bland-Altman"
            )
            moved = np.array([not np.isnan(item).any() for item in result.influence])
            if (drawn := known & moved).any():
                found[f"influence_{column}_{name}.png"] = _influence(
                    study, result, column, target.name, name, np.flatnonzero(drawn)
                )
    return found


@own_style()
def _scatter(truth: Floats, estimate: Floats, title: str) -> bytes:
    figure, axes = new_figure(4.8, 4.6, dpi=110)
    ends = [float(min(truth.min(), estimate.min())), float(max(truth.max(), estimate.max()))]
    axes.plot(ends, ends, color="black", linewidth=1, label="identity")
    axes.scatter(truth, estimate, s=18, color=BLUE, alpha=0.7, linewidths=0)
    axes.set(xlabel="rating", ylabel="estimate, out of fold", title=title)
    axes.set_aspect("equal", adjustable="datalim")
    figure.legend(loc="outside lower center", frameon=False)
    return png(figure)


@own_style()
def _bland_altman(truth: Floats, estimate: Floats, title: str) -> bytes:
    """Differences over means, with limits of agreement (Bland and Altman, Lancet 1986)."""
    figure, axes = new_figure(5.2, 4.6, dpi=110)
    differences = truth - estimate
    bias, spread = differences.mean(), 1.96 * differences.std(ddof=1)
    axes.scatter((truth + estimate) / 2, differences, s=18, color=BLUE, alpha=0.7, linewidths=0)
    axes.axhline(0, color="grey", linewidth=0.8, linestyle=":")
    axes.axhline(bias, color="black", linewidth=1, label=f"mean {bias:+z.2f}")
    axes.axhline(bias - spread, color=ORANGE, linestyle="--", linewidth=1)
    axes.axhline(bias + spread, color=ORANGE, linestyle="--", linewidth=1, label=f"± {spread:.2f}")
    axes.set(xlabel="mean of rating and estimate", ylabel="rating - estimate", title=title)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return png(figure)


@own_style()
def _influence(study: Study, result: Result, column: int, target: str, estimator: str, drawn: Ints) -> bytes:
    """Interviews from the lowest rating to the highest, their clips along time; grey where no face was readable.

    drawn: which have a rating and several clips; of more than `ROWS`, so many are shown, of low and high ratings alike.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    ratings = study.cohort.scores[:, column]
    ranked = drawn[np.argsort(ratings[drawn], kind="stable")]
    order = ranked[np.linspace(0, len(ranked) - 1, min(len(ranked), ROWS)).round().astype(int)].tolist()
    spans = [_spans(study.recordings[row]) for row in order]
    end_s = max(float(span.sum(axis=1).max()) for span in spans)
    unit, seconds = ("minutes", 60) if end_s >= 120 else ("seconds", 1)
    # A clip's influence shrinks with their number: times it, it is in points whatever the length.
    moves = [result.influence[row][:, column] * len(result.influence[row]) for row in order]
    limit = float(np.quantile(np.abs(np.concatenate(moves)), 0.98)) or 1.0
    shade = ScalarMappable(Normalize(-limit, limit), "RdBu_r")
    figure, axes = new_figure(9.0, min(9.0, 1.8 + 0.09 * len(order)), dpi=110)
    axes.set_facecolor("#bbbbbb")
    for place, (span, values) in enumerate(zip(spans, moves, strict=True)):
        axes.broken_barh(
            span / seconds, (place, 1), facecolors=shade.to_rgba(values), linewidth=0, antialiased=False
        )
    axes.set(
        xlim=(0, end_s / seconds),
        ylim=(0, len(order)),
        xlabel=f"{unit} of the interview",
        ylabel=f"{counted(len(order), 'interview')}, by rating",
        title=f"{target}, {estimator}: what drove it",
    )
    ends = [f"lowest: {ratings[order[0]]:g}", f"highest: {ratings[order[-1]]:g}"]
    axes.set_yticks([0.5, len(order) - 0.5][: len(order)], ends[: len(order)])
    figure.colorbar(shade, ax=axes, label="influence x clips, in points")
    return png(figure)


def _spans(kept: SeenInterview) -> Floats:
    """(N, 2) start and length in seconds of an interview's clips on its timeline; its parts follow each other."""
    starts, lengths = kept.starts_s.copy(), kept.ends_s - kept.starts_s
    for part in range(1, int(kept.parts.max()) + 1):
        if (before := kept.parts < part).any():
            starts[kept.parts == part] += (starts + lengths)[before].max()
    return np.stack([starts, lengths], axis=1)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows(
            [cell(value) for value in row] for row in (list(rows[0]), *(row.values() for row in rows))
        )
