"""Symptom severity from interviews: fit with subject-wise validation, and score new ones.

Source: EmoCLIP's downstream task (PANSS and CAINS negative symptoms).  Few people, hours of video, one score each:
everything here is about not being fooled.  All figures are out of fold, on subjects the model never saw.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emoclip.config import FaceConfig
from emoclip.engine import EmoCLIP
from emoclip.errors import InputError, counted, few
from emoclip.faces import settled
from emoclip.files import told
from emoclip.symptoms import head as heads
from emoclip.symptoms import regression
from emoclip.symptoms import statistics as validation
from emoclip.symptoms.interviews import (
    InterviewStore,
    SeenInterview,
    are_recordings,
    idle_note,
    looked_at,
    read_interview,
)
from emoclip.symptoms.manifest import Cohort, check_targets
from emoclip.symptoms.study import Floats, Ints, Result, Study, ValidationConfig
from emoclip.video import asked_rate

StepProgress = Callable[[str, float], None]
BY_FOLD = "by fold"  # the other kind of permutation test is `refit`


class Estimator(Protocol):
    """What turns interviews into scores: `probe.Probe`, `training.severity.PaperEstimator`."""

    name: str
    takes: str  # the field of SeenInterview it reads, and the name of its graph's input

    def out_of_fold(
        self,
        inputs: Sequence[NDArray[Any]],
        scores: Floats,
        subjects: Sequence[str],
        folds: Ints,
        progress: Callable[[float], None],
    ) -> tuple[Floats, list[Floats]]:
        """Return out-of-fold predictions (n, targets), and per interview the influence of its clips (N, targets)."""
        ...

    def refits(self, inputs: Sequence[NDArray[Any]]) -> int:
        """How many refits its permutation test makes; 0: too costly, it is tested fold by fold."""
        ...

    def permuted(
        self,
        inputs: Sequence[NDArray[Any]],
        scores: Floats,
        subjects: Sequence[str],
        folds: Ints,
        orders: Ints,
        progress: Callable[[float], None],
    ) -> Floats:
        """Return out-of-fold predictions (B, n, targets), refitted with videos exchanged as orders (B, n) says."""
        ...

    def save(
        self,
        path: Path,
        inputs: Sequence[NDArray[Any]],
        scores: Floats,
        subjects: Sequence[str],
        progress: Callable[[float], None],
    ) -> list[str]:
        """Fit to all interviews, write the graph `heads` describes, and return what was chosen per target."""
        ...


def check(cohort: Cohort, settings: ValidationConfig) -> Ints | None:
    """Raise InputError for a cohort that cannot be validated whatever its videos show, so before hours of watching.

    Returns the manifest's own folds, (interviews,), or None where it has none.
    """
    with _left_out_told(cohort):
        return _own_folds(cohort, settings)


@contextmanager
def _left_out_told(cohort: Cohort) -> Iterator[None]:
    """Add to an error about a cohort what was left out of it: that may be all that is to be mended."""
    try:
        yield
    except InputError as error:
        if not cohort.excluded:
            raise
        left = few([f"{item.path}: {item.reason}" for item in cohort.excluded])
        raise InputError(f"{error}; left out: {left}") from None


def _own_folds(cohort: Cohort, settings: ValidationConfig) -> Ints | None:
    check_targets(cohort)
    names = [interview.fold for interview in cohort.interviews]
    if any(names):
        if unnamed := [item.place for item in cohort.interviews if not item.fold]:
            raise InputError(f"{unnamed[0]}: has no fold, where other rows do; give every row one, or none")
        folds = validation.named_folds(
            cohort.subjects, [str(name) for name in names], [item.place for item in cohort.interviews]
        )
        _check_learnable(cohort, folds, "give them two in the manifest's column fold at least, or empty it")
        return folds
    for item, scores in zip(cohort.targets, cohort.scores.T, strict=True):
        subjects = {name for name, value in zip(cohort.subjects, scores, strict=True) if not np.isnan(value)}
        if len(subjects) < max(settings.folds or 2, 3):
            smaller = "pass a smaller --folds, or " if len(subjects) >= 3 else ""
            raise InputError(
                f"{item.name}: {counted(len(subjects), 'subject')} with usable interviews and a score, fewer than "
                f"{max(settings.folds or 2, 3)} folds; {smaller}add subjects (3 at least)"
            )
    return None


def _check_learnable(cohort: Cohort, folds: Ints, mend: str) -> None:
    for item, scores in zip(cohort.targets, cohort.scores.T, strict=True):
        if len(np.unique(folds[~np.isnan(scores)])) < 2:
            raise InputError(
                f"{item.name}: all subjects with a score are in one fold, so nothing is left to learn from; {mend}"
            )


def watch(
    cohort: Cohort, store: InterviewStore, progress: Callable[[int, float], None] = lambda done, seconds: None
) -> tuple[Cohort, list[SeenInterview]]:
    """Watch the interviews of a cohort; those that cannot be read or show no face are left out and listed.

    What was met in the others that did not stop the reading is among the cohort's notes.

    progress: gets the number of interviews done and the seconds of the one being watched.
    """
    recordings: list[SeenInterview] = []
    reasons: dict[int, str] = {}
    notes: list[str] = []
    for at, interview in enumerate(cohort.interviews):
        try:
            seen = store.get(interview.sources, lambda seconds, at=at: progress(at, seconds))  # type: ignore[misc]
        except InputError as error:
            reasons[at] = " ".join(str(error).split())
        else:
            recordings.append(seen)
            who = f"subject {interview.subject}, {few([*map(told, interview.sources)])}"
            notes += [f"{who}: {line}" for line in seen.warnings]
        progress(at + 1, 0.0)
    left = cohort.leave_out(reasons)
    sources = [source for interview in left.interviews for source in interview.sources]
    looked = looked_at(sources, store.faces, store.fps)
    return replace(left, notes=[*left.notes, *notes], looked=looked), recordings


def fit(
    model: EmoCLIP,
    cohort: Cohort,
    recordings: list[SeenInterview],
    estimators: Sequence[Estimator],
    settings: ValidationConfig,
    progress: StepProgress = lambda what, share: None,
) -> Study:
    """Validate estimators and baselines on a cohort's recordings.

    progress: gets what is being done and the share done.  Raises InputError where the cohort cannot be validated.
    """
    if not cohort.interviews:
        with _left_out_told(cohort):
            raise InputError("no interview of the cohort can be used")
    folds = check(cohort, settings)
    if folds is None:
        with _left_out_told(cohort):
            folds = validation.subject_folds(
                cohort.subjects, cohort.scores, settings.folds, seed=settings.seed
            )
            _check_learnable(cohort, folds, "pass other --folds, name folds in the manifest, or add subjects")
    study = Study(cohort, recordings, folds, settings, model)
    study.baselines = _baselines(study, progress)
    for estimator in estimators:
        inputs = [getattr(item, estimator.takes) for item in recordings]
        name = estimator.name
        predicted, influence = estimator.out_of_fold(
            inputs,
            cohort.scores,
            cohort.subjects,
            study.folds,
            lambda share, name=name: progress(name, share),  # type: ignore[misc]
        )
        orders = nulls = None
        if refits := estimator.refits(inputs):
            orders = validation.permutations(
                cohort.subjects, ~np.isnan(cohort.scores), refits, seed=settings.seed + 1
            )
            nulls = estimator.permuted(
                inputs,
                cohort.scores,
                cohort.subjects,
                study.folds,
                orders,
                lambda share, name=name: progress(f"{name}: what chance gives", share),  # type: ignore[misc]
            )
        predicted = heads.within(cohort.targets, predicted)
        study.estimators[name] = Result(predicted, {}, [heads.moved(item) for item in influence])
        for column, target in enumerate(cohort.targets):
            found = _figures(study, study.estimators[name], column)
            found |= _permutation(study, study.estimators[name], column, orders, nulls)
            found |= _gains(study, study.estimators[name], column)
            study.estimators[name].targets[target.name] = _plain(found)
    return study


def save_package(
    study: Study, estimator: Estimator, folder: Path, progress: Callable[[float], None] = lambda share: None
) -> None:
    """Fit an estimator to everybody and write a package: the study's model and the head.  Raises OutputError."""
    cohort, result = study.cohort, study.estimators[estimator.name]
    inputs = [getattr(item, estimator.takes) for item in study.recordings]
    rows = np.stack([heads.centre_of(item) for item in inputs])
    # How far people of the study are from the others: each fold from the rest.
    apart = [
        heads.distances(rows[study.folds == at], rows[study.folds != at]) for at in np.unique(study.folds)
    ]
    targets = []
    for column, item in enumerate(cohort.targets):
        known = ~np.isnan(cohort.scores[:, column])
        residuals = (result.predicted - cohort.scores)[known, column]
        names = [name for name, there in zip(cohort.subjects, known, strict=True) if there]
        targets.append(
            vars(item) | {"half_width": heads.half_width(residuals, names), "subjects": len(set(names))}
        )
    durations = [item.duration_s for item in study.recordings]
    info = {
        "estimator": estimator.name,
        "takes": estimator.takes,
        "interval": "conformal, from the out-of-fold errors of the study's subjects",
        "targets": targets,
        "looked": cohort.looked,
        "cohort": {
            "subjects": len(set(cohort.subjects)),
            "interviews": len(cohort.interviews),
            "duration_s": [min(durations), max(durations)],
            "coverage_min": min(item.coverage for item in study.recordings),
            "distance_max": float(np.concatenate(apart).max()),
        },
    }

    def write(path: Path) -> None:
        chosen = estimator.save(path, inputs, cohort.scores, cohort.subjects, progress)
        for target, choice in zip(targets, chosen, strict=True):
            target["choice"] = choice

    card = heads.card(info, result.targets)
    heads.write_package(study.model.package, folder, write, heads.whitening(rows), info, card)


def score(
    model: EmoCLIP,
    source: str,
    faces: FaceConfig,
    *,
    fps: float = 25.0,
    progress: Callable[[float], None] = lambda seconds: None,
) -> heads.Estimate:
    """Estimate the ratings of one interview with a package that has a severity head.

    source: a video, a folder of frames (`fps` per second) or of videos.  Raises PackageError, InputError.
    """
    loaded = heads.Head(model)
    idle = idle_note([source], faces, asked_rate(fps))
    faces, notes = settled(faces)
    seen = read_interview(model, [source], faces, fps=fps, progress=progress)
    looked = looked_at([source], faces, fps)
    found = loaded.score(source, seen, looked)
    return replace(found, warnings=[*idle, *([] if are_recordings([source]) else notes), *found.warnings])


def _baselines(study: Study, progress: StepProgress) -> dict[str, Result]:
    cohort = study.cohort
    ages = np.array([np.nan if item.age is None else item.age for item in cohort.interviews])
    columns = [np.log([max(item.duration_s, 0.1) for item in study.recordings])]
    if not np.isnan(ages).all():
        columns.append(np.where(np.isnan(ages), np.nanmedian(ages), ages))
    features = {
        "mean": [np.zeros(len(ages))],
        "age_length": columns,
        "expression_summary": list(np.stack([item.summary() for item in study.recordings]).T),
    }
    if max(map(np.ptp, columns)) < 1e-6:  # knows nothing, but for rounding: the mean again
        del features["age_length"]
    found = {}
    for done, (name, blocks) in enumerate(features.items()):
        predicted = np.full(cohort.scores.shape, np.nan)
        for column in range(len(cohort.targets)):
            for fold in np.unique(study.folds):
                test = study.folds == fold
                rows = np.flatnonzero(~test & ~np.isnan(cohort.scores[:, column]))
                fitted = regression.fit(
                    [block[rows, None] for block in blocks],
                    cohort.scores[rows, column],
                    [cohort.subjects[at] for at in rows],
                    networks=False,
                    seed=study.validation.seed,
                )
                predicted[test, column] = fitted(np.stack(blocks, axis=1)[test])
        found[name] = Result(heads.within(cohort.targets, predicted), {})
        for column, target in enumerate(cohort.targets):
            found[name].targets[target.name] = _plain(_figures(study, found[name], column))
        progress("baselines", (done + 1) / len(features))
    return found


def _rated(study: Study, column: int) -> tuple[Ints, Floats, list[str]]:
    """The rows with a score of a target, their scores and subjects."""
    scores = study.cohort.scores[:, column]
    rows = np.flatnonzero(~np.isnan(scores))
    return rows, scores[rows], [study.cohort.subjects[at] for at in rows]


def _figures(study: Study, result: Result, column: int) -> dict[str, Any]:
    """Agreement of a target's out-of-fold predictions with its scores, with intervals."""
    rows, truth, subjects = _rated(study, column)
    settings = study.validation
    agreement = validation.agreement(
        truth, result.predicted[rows, column], subjects, draws=settings.draws, seed=settings.seed
    )
    return agreement | {"interviews": len(rows), "subjects": len(set(subjects))}


def _permutation(
    study: Study, result: Result, column: int, orders: Ints | None, nulls: Floats | None
) -> dict[str, Any]:
    """The permutation test of a target: from refits, (B, n, targets), videos exchanged as (B, n) says, or by folds."""
    rows, truth, subjects = _rated(study, column)
    predicted = result.predicted[rows, column]
    if orders is None or nulls is None:
        kind = BY_FOLD
        test = validation.foldwise_test(
            truth, predicted, subjects, study.folds[rows], seed=study.validation.seed
        )
    else:
        kind = "refit"
        within = heads.clip_to(study.cohort.targets[column], nulls[:, rows, column])
        test = validation.permutation_test(truth, predicted, validation.correlations(truth, within))
        # Those without a score may be exchanged as they like: it changes nothing.
        unchanged = (orders == np.arange(orders.shape[1]))[:, rows].all(axis=1)
        test["p_least"] = validation.least_p(unchanged)
    return {"permutation_p": test.pop("p"), "permutation": {"kind": kind, **test}}


def _gains(study: Study, result: Result, column: int) -> dict[str, Any]:
    """By how much a target's estimates are better than the baselines'."""
    rows, truth, subjects = _rated(study, column)
    settings = study.validation
    found: dict[str, Any] = {"gain_in_mae": {}, "gain_in_pcc": {}}
    for name, baseline in study.baselines.items():
        gains = validation.gains(
            truth,
            result.predicted[rows, column],
            baseline.predicted[rows, column],
            subjects,
            draws=settings.draws,
            seed=settings.seed,
        )
        for metric, gain in gains.items():
            found[f"gain_in_{metric}"][name] = gain
    return found


def _plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as JSON has them: undefined ones are null."""

    def value(item: Any) -> Any:
        if isinstance(item, Mapping):
            return _plain(item)
        if isinstance(item, list):
            return [value(part) for part in item]
        return (round(item, 6) if np.isfinite(item) else None) if isinstance(item, float) else item

    return {name: value(item) for name, item in figures.items()}
