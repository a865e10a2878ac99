"""The severity head inside a package: `symptoms.onnx`, what its numbers mean, how sure it is and whom it fits.

The graph takes one interview, `clips` (N, D) unit clip embeddings or `frames` (N, T, D) frame embeddings, and gives
`scores` (1, targets), `influence` (N, targets), by how much each clip moved the scores, and `distance` (1, 1) from the
interviews it was fitted to.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.engine import EmoCLIP
from emoclip.errors import PackageError
from emoclip.files import atomic_folder, sha256
from emoclip.interviews import Recording
from emoclip.package import Package
from emoclip.scales import Target

Floats = NDArray[np.float64]

FORMAT = 1
GRAPH = "symptoms.onnx"
LEVEL = 0.9
NOTE = "A research estimate of a clinical rating from how a face reads on video, not a diagnosis."


@dataclass(frozen=True)
class Score:
    """One estimated rating.

    low, high: `LEVEL` interval from the out-of-fold errors of the study; None if it had too few subjects for one.
    """

    target: str
    title: str
    scale: str
    range: tuple[float, float] | None
    score: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Influence:
    """How one clip moved the scores: by how much they would be other without it.  part: the source it is from."""

    part: int
    start_s: float
    end_s: float
    moves: dict[str, float]


@dataclass(frozen=True)
class Estimate:
    """What a head says of one interview.  unlike: in which ways it is unlike the study's, one line each."""

    input: str
    model: str
    estimator: str
    scores: list[Score]
    level: float
    unlike: list[str]
    duration_s: float
    coverage: float
    distance: float
    clips: list[Influence]
    note: str = NOTE

    def record(self) -> dict[str, Any]:
        """Return the documented JSON object."""
        return asdict(self)


def half_width(residuals: Floats, subjects: Sequence[str], level: float = LEVEL) -> float | None:
    """Half the width of an interval that holds `level` of new people's ratings (conformal, Vovk et al. 2005).

    residuals: out-of-fold errors, (n,).  The rank is counted in subjects, since interviews of one are alike.
    None if there are too few subjects.  It holds for people drawn as the study's were, and on average over them.
    """
    count = len(set(subjects))
    share = math.ceil((count + 1) * level) / count
    return float(np.quantile(np.abs(residuals), share, method="higher")) if share <= 1 else None


def whitening(rows: Floats) -> tuple[Floats, Floats]:
    """What a Mahalanobis distance from rows (n, D) needs: their mean (D,) and a matrix W (D, D).

    distance = length of (x - mean) W / sqrt(D).  The covariance is drawn halfway to a sphere: there are fewer rows
    than dimensions.
    """
    centre = rows.mean(axis=0)
    covariance = (rows - centre).T @ (rows - centre) / len(rows)
    sphere = np.trace(covariance) / len(centre)
    values, vectors = np.linalg.eigh((covariance + max(sphere, 1e-12) * np.eye(len(centre))) / 2)
    return centre, vectors / np.sqrt(values * len(centre))


def distances(rows: Floats, known: Floats) -> Floats:
    """Distance of each row (n, D) from known rows (m, D)."""
    centre, matrix = whitening(known)
    return np.asarray(np.linalg.norm((rows - centre) @ matrix, axis=1))


def write_package(
    source: Package,
    folder: Path,
    write_graph: Callable[[Path], None],
    head: Mapping[str, Any],
    card: str,
    *,
    force: bool = False,
) -> None:
    """Copy a package and put a head into it, whole or not at all.

    write_graph: writes the graph to a path.  head: what `load` reads.  card: appended to the package's README.
    Raises OutputError.
    """
    with atomic_folder(folder, force=force) as part:
        for name in source.config["files"]:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.path / name, part / name)
        write_graph(part / GRAPH)
        readme = part / "README.md"
        text = readme.read_text(encoding="utf-8") if readme.exists() else f"# {source.name}\n"
        readme.write_text(text + card, encoding="utf-8")
        towers = {name: source.config["files"][name] for name in _towers(source)}
        config = dict(source.config)
        config["symptoms"] = {
            "format": FORMAT,
            "note": NOTE,
            "width": source.width,
            "towers": towers,
            "level": LEVEL,
            **head,
        }
        files = [path for path in sorted(part.rglob("*")) if path.is_file() and path.name != "config.json"]
        config["files"] = {path.relative_to(part).as_posix(): sha256(path) for path in files}
        (part / "config.json").write_text(
            json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )


class Head:
    """A severity head ready to use.  Raises PackageError if the package has none, or one of another model."""

    def __init__(self, model: EmoCLIP) -> None:
        self.model = model
        package = model.package
        place = f"{package.path}"
        info = package.config.get("symptoms")
        if info is None or GRAPH not in package.config["files"]:
            raise PackageError(
                f"{place}: has no severity head; `emoclip symptoms fit` makes a package with one"
            )
        if info.get("format") != FORMAT:
            raise PackageError(
                f"{place}: its severity head has format {info.get('format')}, this version reads {FORMAT}; "
                "update emoclip, or fit it again"
            )
        if info["width"] != package.width:
            raise PackageError(
                f"{place}: its severity head is for embeddings {info['width']} wide, the package's are "
                f"{package.width}; use the package it was fitted with, or fit it again"
            )
        if info["towers"] != {name: package.config["files"][name] for name in _towers(package)}:
            raise PackageError(
                f"{place}: its severity head was fitted on another model's embeddings; "
                "use the package it was fitted with, or fit it again"
            )
        self.info = info
        self.targets = [
            Target(item["name"], item["title"], item["scale"], item["low"], item["high"])
            for item in info["targets"]
        ]
        self._session = model.runtime.session(GRAPH)
        given = self._session.get_inputs()[0]
        if given.name != info["takes"] or given.shape[-1] != package.width:
            raise PackageError(
                f"{place}: {GRAPH} takes {given.name} {given.shape[-1]} wide, where {info['takes']} "
                f"{package.width} wide are to be had; fit it again"
            )

    def score(self, name: str, recording: Recording) -> Estimate:
        """Estimate the ratings of one interview.  name: what to call it."""
        given = np.asarray(getattr(recording, self.info["takes"]), np.float32)
        scores, influence, distance = self._session.run(
            ["scores", "influence", "distance"], {self.info["takes"]: given}
        )
        names = [target.name for target in self.targets]
        clips = [
            Influence(
                int(part),
                round(float(start_s), 3),
                round(float(end_s), 3),
                dict(zip(names, (round(float(move), 5) for move in moves), strict=True)),
            )
            for part, start_s, end_s, moves in zip(
                recording.parts, recording.starts_s, recording.ends_s, influence, strict=True
            )
        ]
        return Estimate(
            input=name,
            model=self.model.package.name,
            estimator=self.info["estimator"],
            scores=[
                _score(target, float(value), item["half_width"])
                for target, value, item in zip(self.targets, scores[0], self.info["targets"], strict=True)
            ],
            level=self.info["level"],
            unlike=self._unlike(recording, float(distance[0, 0])),
            duration_s=round(recording.duration_s, 3),
            coverage=round(recording.coverage, 4),
            distance=round(float(distance[0, 0]), 4),
            clips=clips,
        )

    def _unlike(self, recording: Recording, distance: float) -> list[str]:
        """In which ways an interview lies outside what the study had."""
        seen = self.info["cohort"]
        shortest, longest = seen["duration_s"]
        found = []
        if not shortest <= recording.duration_s <= longest:
            kind = "shorter" if recording.duration_s < shortest else "longer"
            found.append(
                f"length: {recording.duration_s:.0f} s, {kind} than every interview of the study "
                f"({shortest:.0f} to {longest:.0f} s)"
            )
        if recording.coverage < seen["coverage_min"]:
            found.append(
                f"coverage: a face is readable in {recording.coverage:.0%} of it, less than in any interview of "
                f"the study (at least {seen['coverage_min']:.0%})"
            )
        if distance > seen["distance_max"]:
            found.append(
                f"distance: its faces read unlike the study's ({distance:.2f}; the study's lie within "
                f"{seen['distance_max']:.2f})"
            )
        return found


def clip_to(target: Target, value: Any) -> Any:
    """Keep estimates within the scale's range."""
    return value if target.low is None else np.clip(value, target.low, target.high)


def _score(target: Target, value: float, half: float | None) -> Score:
    value = float(clip_to(target, value))
    ends = (None, None) if half is None else (clip_to(target, value - half), clip_to(target, value + half))
    low, high = (None if end is None else round(float(end), 4) for end in ends)
    limits = None if target.low is None or target.high is None else (target.low, target.high)
    return Score(target.name, target.title, target.scale, limits, round(value, 4), low, high)


def _towers(package: Package) -> list[str]:
    """The files on which embeddings depend."""
    names = ("image.onnx", "image.onnx.data", "temporal.onnx", "temporal.onnx.data")
    return [name for name in names if name in package.config["files"]]
