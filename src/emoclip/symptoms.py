"""Symptom severity from interviews: fit with subject-wise validation, and score new ones.

Source: EmoCLIP's downstream task (PANSS and CAINS negative symptoms).  Few people, hours of video, one score each:
everything here is about not being fooled.  All figures are out of fold, on subjects the model never saw.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emoclip import __version__, heads, metrics, regression, validation
from emoclip.cohort import Cohort, check_targets
from emoclip.config import FaceConfig
from emoclip.embeddings import model_digest
from emoclip.engine import EmoCLIP
from emoclip.errors import ConfigError, InputError
from emoclip.interviews import Recording, RecordingStore, read_interview

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Progress = Callable[[str, float], None]

BASELINES = {
    "mean": "the mean score of the training subjects",
    "age_length": "a ridge on age (where the manifest has it) and the interview's length",
    "expression_summary": "a ridge on the share of smiling time, mean intensity and variability of the expression",
}


class Estimator(Protocol):
    """What turns interviews into scores: `probe.Probe`, `training.severity.PaperEstimator`."""

    name: str
    takes: str  # the field of Recording it reads, and the name of its graph's input

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

    def permuted(
        self,
        inputs: Sequence[NDArray[Any]],
        scores: Floats,
        subjects: Sequence[str],
        folds: Ints,
        orders: Ints,
        progress: Callable[[float], None],
    ) -> Floats | None:
        """Return out-of-fold predictions (B, n) of one target, refitted with exchanged videos; None if too costly."""
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


@dataclass(frozen=True)
class Validation:
    """How a study is validated.

    folds: None leaves one subject out at a time.  permutations: refits of the probe.  draws: bootstrap resamples.
    """

    folds: int | None = 5
    permutations: int = 199
    draws: int = metrics.DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds is not None and self.folds < 2:
            raise ConfigError(f"folds={self.folds} must be at least 2, or loso")
        if self.permutations < 19:
            raise ConfigError(f"permutations={self.permutations} must be at least 19, for a p of 0.05")


@dataclass
class Result:
    """Out-of-fold predictions of one estimator or baseline, (n, targets), and their figures per target.

    influence: per interview, of its clips (N, targets); empty for a baseline.
    """

    predicted: Floats
    targets: dict[str, dict[str, Any]]
    influence: list[Floats] = field(default_factory=list)


@dataclass
class Study:
    """A fitted and validated cohort.  estimators, baselines: results by name."""

    cohort: Cohort
    recordings: list[Recording]
    folds: Ints
    validation: Validation
    model: EmoCLIP
    estimators: dict[str, Result] = field(default_factory=dict)
    baselines: dict[str, Result] = field(default_factory=dict)

    def metrics(self) -> dict[str, Any]:
        """Return metrics.json: the figures with everything that they depend on."""
        cohort, package = self.cohort, self.model.package
        return {
            "note": heads.NOTE,
            "emoclip": __version__,
            "model": package.name,
            "model_digest": model_digest(package),
            "scales": {
                item.name: {"title": item.title, "scale": item.scale, "range": [item.low, item.high]}
                for item in cohort.targets
            },
            "subjects": len(set(cohort.subjects)),
            "interviews": len(cohort.interviews),
            "clips": sum(len(item.clips) for item in self.recordings),
            "hours": round(sum(item.duration_s for item in self.recordings) / 3600, 4),
            "folds": int(self.folds.max()) + 1,
            "seed": self.validation.seed,
            "estimators": {name: {"targets": result.targets} for name, result in self.estimators.items()},
            "baselines": {
                name: {"what": BASELINES[name], "targets": result.targets}
                for name, result in self.baselines.items()
            },
            "excluded": [vars(item) for item in cohort.excluded],
            "notes": cohort.notes,
        }

    def predictions(self) -> list[dict[str, Any]]:
        """Return the rows of predictions.csv: one per interview and target, everything out of fold."""
        results = self.estimators | self.baselines
        return [
            {
                "subject": interview.subject,
                "session": interview.session,
                "fold": int(self.folds[row]),
                "target": item.name,
                "score": None if np.isnan(interview.scores[column]) else interview.scores[column],
                **{name: round(float(result.predicted[row, column]), 6) for name, result in results.items()},
            }
            for row, interview in enumerate(self.cohort.interviews)
            for column, item in enumerate(self.cohort.targets)
        ]

    def windows(self) -> list[dict[str, Any]]:
        """Return the rows of windows.csv: by how much each clip moved its interview's out-of-fold estimates."""
        return [
            {
                "subject": interview.subject,
                "session": interview.session,
                "part": int(kept.parts[clip]),
                "start_s": round(float(kept.starts_s[clip]), 3),
                "end_s": round(float(kept.ends_s[clip]), 3),
                "target": item.name,
                **{
                    name: round(float(result.influence[row][clip, column]), 6)
                    for name, result in self.estimators.items()
                },
            }
            for row, (interview, kept) in enumerate(zip(self.cohort.interviews, self.recordings, strict=True))
            for column, item in enumerate(self.cohort.targets)
            for clip in range(len(kept.clips))
        ]


def watch(
    cohort: Cohort, store: RecordingStore, progress: Callable[[int, float], None] = lambda done, seconds: None
) -> tuple[Cohort, list[Recording]]:
    """Watch the interviews of a cohort; those that cannot be read or show no face are left out and listed.

    progress: gets the number of interviews done and the seconds of the one being watched.
    """
    recordings: list[Recording] = []
    reasons: dict[int, str] = {}
    for at, interview in enumerate(cohort.interviews):
        try:
            recordings.append(store.get(interview.sources, lambda seconds, at=at: progress(at, seconds)))  # type: ignore[misc]
        except InputError as error:
            reasons[at] = " ".join(str(error).split())
        progress(at + 1, 0.0)
    return cohort.leave_out(reasons), recordings


def fit(
    model: EmoCLIP,
    cohort: Cohort,
    recordings: list[Recording],
    estimators: Sequence[Estimator],
    settings: Validation,
    progress: Progress = lambda what, share: None,
) -> Study:
    """Validate estimators and baselines on a cohort's recordings.

    progress: gets what is being done and the share done.  Raises InputError where the cohort cannot be validated.
    """
    if not cohort.interviews:
        listed = "; ".join(f"{item.path}: {item.reason}" for item in cohort.excluded[:3])
        raise InputError(f"no interview of the cohort can be used ({listed})")
    check_targets(cohort)
    study = Study(cohort, recordings, _folds(cohort, settings), settings, model)
    study.baselines = _baselines(study, progress)
    for estimator in estimators:
        inputs = [getattr(item, estimator.takes) for item in recordings]
        predicted, influence = estimator.out_of_fold(
            inputs,
            cohort.scores,
            cohort.subjects,
            study.folds,
            lambda share, name=estimator.name: progress(name, share),  # type: ignore[misc]
        )
        for column, target in enumerate(cohort.targets):
            predicted[:, column] = heads.clip_to(target, predicted[:, column])
        result = Result(predicted, {}, influence)
        for column, target in enumerate(cohort.targets):
            what = f"{estimator.name}: chance for {target.name}"
            result.targets[target.name] = _figures(
                study,
                predicted,
                column,
                estimator,
                inputs,
                lambda share, what=what: progress(what, share),  # type: ignore[misc]
            )
        study.estimators[estimator.name] = result
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
    progress: Callable[[float], None] = lambda seconds: None,
) -> heads.Estimate:
    """Estimate the ratings of one interview with a package that has a severity head.

    source: a video, a folder of frames or of videos.  Raises PackageError, InputError.
    """
    loaded = heads.Head(model)
    return loaded.score(source, read_interview(model, [source], faces, progress=progress))


def _folds(cohort: Cohort, settings: Validation) -> Ints:
    """The manifest's own folds if it has them, else folds dealt by subject; each target must have enough subjects."""
    names = [interview.fold for interview in cohort.interviews]
    if any(names):
        if unnamed := [item.place for item in cohort.interviews if not item.fold]:
            raise InputError(f"{unnamed[0]}: has no fold, where other rows do; give every row one, or none")
        return validation.named_folds(cohort.subjects, [str(name) for name in names])
    for item, scores in zip(cohort.targets, cohort.scores.T, strict=True):
        subjects = {name for name, value in zip(cohort.subjects, scores, strict=True) if not np.isnan(value)}
        if len(subjects) < max(settings.folds or 2, 3):
            raise InputError(
                f"{item.name}: {len(subjects)} subjects with usable interviews and a score, fewer than "
                f"{max(settings.folds or 2, 3)} folds; pass a smaller --folds (at least 3 subjects), or add subjects"
            )
    return validation.subject_folds(cohort.subjects, cohort.scores, settings.folds, seed=settings.seed)


def _baselines(study: Study, progress: Progress) -> dict[str, Result]:
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
    found = {}
    for done, (name, blocks) in enumerate(features.items()):
        predicted = np.full(cohort.scores.shape, np.nan)
        for column, target in enumerate(cohort.targets):
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
            predicted[:, column] = heads.clip_to(target, predicted[:, column])
        found[name] = Result(predicted, {})
        for column, target in enumerate(cohort.targets):
            found[name].targets[target.name] = _figures(study, predicted, column)
        progress("baselines", (done + 1) / len(features))
    return found


def _figures(
    study: Study,
    predicted: Floats,
    column: int,
    estimator: Estimator | None = None,
    inputs: Sequence[NDArray[Any]] = (),
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """The figures of one target; for an estimator also its permutation test and what it gains over the baselines."""
    known = np.flatnonzero(~np.isnan(study.cohort.scores[:, column]))
    truth, seen = study.cohort.scores[known, column], predicted[known, column]
    subjects = [study.cohort.subjects[at] for at in known]
    seed, draws = study.validation.seed, study.validation.draws
    figures: dict[str, Any] = validation.agreement(truth, seen, subjects, draws=draws, seed=seed)
    figures |= {"interviews": len(known), "subjects": len(set(subjects))}
    null = validation.pairing_null(truth, seen, subjects, seed=seed)
    kind = "pairing: scores exchanged between subjects, predictions kept"
    if estimator is not None:
        orders = validation.permutations(subjects, study.validation.permutations, seed=seed + 1)
        refitted = estimator.permuted(
            [inputs[int(at)] for at in known], truth, subjects, study.folds[known], orders, progress
        )
        if refitted is not None:
            target = study.cohort.targets[column]
            null = validation.correlations(truth, heads.clip_to(target, refitted))
            kind = "refit: the whole procedure repeated with videos exchanged between subjects"
        figures["gain_in_mae"] = {
            name: validation.gain(
                truth, seen, other.predicted[known, column], subjects, draws=draws, seed=seed
            )
            for name, other in study.baselines.items()
        }
    test = validation.permutation_test(truth, seen, null)
    figures["permutation_p"] = test.pop("p")
    figures["permutation"] = {"kind": kind, **test}
    return _plain(figures)


def _plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as JSON has them: undefined ones are null."""

    def value(item: Any) -> Any:
        if isinstance(item, Mapping):
            return _plain(item)
        if isinstance(item, list):
            return [value(part) for part in item]
        return (round(item, 6) if np.isfinite(item) else None) if isinstance(item, float) else item

    return {name: value(item) for name, item in figures.items()}
