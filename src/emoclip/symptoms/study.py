"""A fitted and validated cohort: its figures, and its rows for people to look at."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip import __version__, metrics
from emoclip.config import Numbers
from emoclip.engine import EmoCLIP
from emoclip.errors import ConfigError
from emoclip.results import ByContent
from emoclip.symptoms import head as heads
from emoclip.symptoms.interviews import SeenInterview
from emoclip.symptoms.manifest import Cohort

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BASELINES = {
    "mean": "the mean score of the training subjects",
    "age_length": "a ridge on age (where the manifest has it) and the interview's length",
    "expression_summary": "a ridge on the share of smiling time, mean intensity and variability of the expression",
}


@dataclass(frozen=True)
class ValidationConfig(Numbers):
    """How a study is validated.

    folds: None leaves one subject out at a time; where the manifest names folds, those are taken.
    draws: bootstrap resamples.
    """

    folds: int | None = 5
    draws: int = metrics.DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folds is not None and self.folds < 2:
            raise ConfigError(f"folds={self.folds} must be at least 2, or loso")


@dataclass(eq=False)
class Result(ByContent):
    """Out-of-fold predictions of one estimator or baseline, (n, targets), and their figures per target.

    influence: per interview, of its clips (N, targets), NaN where it has but one; empty for a baseline.
    """

    predicted: Floats
    targets: dict[str, dict[str, Any]]
    influence: list[Floats] = field(default_factory=list)


@dataclass(eq=False)
class Study(ByContent):
    """A fitted and validated cohort.  estimators, baselines: results by name."""

    cohort: Cohort
    recordings: list[SeenInterview]
    folds: Ints
    validation: ValidationConfig
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
            "model_digest": package.digest,
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
            "looked": cohort.looked,
            "estimators": {name: {"targets": result.targets} for name, result in self.estimators.items()},
            "baselines": {
                name: {"what": BASELINES[name], "targets": result.targets}
                for name, result in self.baselines.items()
            },
            "excluded": [vars(item) for item in cohort.excluded],
            "notes": cohort.notes,
        }

    def predictions(self) -> list[dict[str, Any]]:
        """Return the rows of predictions.csv: one per interview and target, everything out of fold.

        `path`, as the manifest has it, tells interviews apart, here and in `windows`.
        """
        results = self.estimators | self.baselines
        return [
            {
                "path": interview.path,
                "subject": interview.subject,
                "session": interview.session,
                "fold": interview.fold or int(self.folds[row]),  # as the manifest calls it
                "target": item.name,
                "score": None if np.isnan(interview.scores[column]) else interview.scores[column],
                **{name: round(float(result.predicted[row, column]), 6) for name, result in results.items()},
            }
            for row, interview in enumerate(self.cohort.interviews)
            for column, item in enumerate(self.cohort.targets)
        ]

    def windows(self) -> list[dict[str, Any]]:
        """Return the rows of windows.csv: by how much each clip moved its interview's out-of-fold estimates.

        None of an interview's only clip.
        """

        def shown(move: float) -> float | None:
            return None if np.isnan(move) else round(float(move), 6)

        return [
            {
                "path": interview.path,
                "subject": interview.subject,
                "session": interview.session,
                "part": int(kept.parts[clip]),
                "start_s": round(float(kept.starts_s[clip]), 3),
                "end_s": round(float(kept.ends_s[clip]), 3),
                "target": item.name,
                **{
                    name: shown(result.influence[row][clip, column])
                    for name, result in self.estimators.items()
                },
            }
            for row, (interview, kept) in enumerate(zip(self.cohort.interviews, self.recordings, strict=True))
            for column, item in enumerate(self.cohort.targets)
            for clip in range(len(kept.clips))
        ]
