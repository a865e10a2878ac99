"""The severity head inside a package: `symptoms.onnx`, what its numbers mean, how sure it is and whom it fits.

A graph that takes `clips` (N, D), an interview's unit clip embeddings, gives `scores` (1, targets) and `influence`
(N, targets), by how much each clip moved the scores.  One that takes `frames` (N, T, D), frame embeddings, gives
`values` (N, targets), the scores of single clips, whose mean is the interview's.
"""

import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.characters import markdown
from emoclip.config import DETECTORS, FACE_MODES
from emoclip.engine import EmoCLIP
from emoclip.errors import PackageError, counted, reason, shown
from emoclip.model import CARD, FLOAT, Fields, Package, Value, check_values, new_package, seal
from emoclip.symptoms.interviews import SeenInterview, each
from emoclip.symptoms.scales import Target

Floats = NDArray[np.float64]

FORMAT = 2  # 1, which is read, counted what was left over at an end as a clip, and not all people alike
GRAPH, COHORT = "symptoms.onnx", "symptoms_cohort.npz"
LEVEL = 0.9
CLIP_BATCH = 64  # clips of a `frames` head at once
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
    """How one clip moved the scores: by how much they would be other without it.  part: the source it is from.

    moves: by target; None of an interview's only clip.
    """

    part: int
    start_s: float
    end_s: float
    moves: dict[str, float | None]


@dataclass(frozen=True)
class Estimate:
    """What a head says of one interview.

    unlike: in which ways it is unlike the study's, one line each.  duration_s, coverage, warnings: of `SeenInterview`.
    """

    input: str
    model: str
    estimator: str
    scores: list[Score]
    level: float
    unlike: list[str]
    warnings: list[str]
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

    residuals: out-of-fold errors, (n,).  Each of the N subjects, and the new one, weighs 1 / (N + 1), shared by its
    interviews, since those of one are alike (Lee, Barber and Willett, Distribution-free inference with hierarchical
    data, arXiv:2306.06342; cf. Dunn, Wasserman and Ramdas 2022).  None if there are too few subjects.
    It holds for an interview of people drawn as the study's were, and on average over them.
    """
    _, member, interviews = np.unique(np.asarray(subjects), return_inverse=True, return_counts=True)
    errors = np.abs(residuals)
    order = np.argsort(errors)
    reached = np.cumsum(1 / interviews[member[order]]) / (len(interviews) + 1)
    rank = int(np.searchsorted(reached, level - 1e-9))  # sums of shares round
    return float(errors[order[rank]]) if rank < len(errors) else None


def centre_of(inputs: NDArray[Any]) -> Floats:
    """Where an interview lies: the mean (D,) of its clips (N, D) or frames (N, T, D)."""
    mean: Floats = inputs.reshape(-1, inputs.shape[-1]).mean(axis=0, dtype=np.float64)
    return mean


def moved(influence: NDArray[Any]) -> NDArray[Any]:
    """The influence of an interview's clips (N, targets); NaN of a single one, without which there is no estimate."""
    return influence if len(influence) > 1 else np.full_like(influence, np.nan)


def whitening(rows: Floats) -> tuple[Floats, Floats]:
    """What a Mahalanobis distance from rows (n, D) needs: their mean (D,) and a matrix W (D, D).

    The distance of x is the length of (x - mean) W.  The covariance is drawn halfway to a sphere, since there are
    fewer rows than dimensions; it holds nobody's own embedding.
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
    whitened: tuple[Floats, Floats],
    head: Mapping[str, Any],
    card: str,
    *,
    force: bool = False,
) -> None:
    """Copy a package and put a head into it, whole or not at all.

    write_graph: writes the graph to a path.  whitened: of the study's interviews.  head: what `Head` reads.
    card: appended to the package's README.  Raises OutputError; PackageError where the source was changed.
    """
    with new_package(folder, force=force) as part:
        listed = source.config["files"]
        for name in listed.keys() - {CARD}:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.checked(name), part / name)
        write_graph(part / GRAPH)
        np.savez(part / COHORT, centre=whitened[0].astype(np.float32), matrix=whitened[1].astype(np.float32))
        readme = source.path / CARD
        told = CARD in listed and readme.is_file()
        text = readme.read_text("utf-8-sig", "replace") if told else f"# {source.name}\n"
        about = {
            "format": FORMAT,
            "note": NOTE,
            "width": source.width,
            "seen_by": source.seen_by,
            "towers": {name: listed[name] for name in _towers(source)},
            "level": LEVEL,
            **head,
        }
        seal(part, {**source.config, "symptoms": about}, text + card)


class Head:
    """A severity head ready to use.  Raises PackageError if the package has none, or one of another model."""

    def __init__(self, model: EmoCLIP) -> None:
        self.model = model
        package = model.package
        place = f"{package.path}"
        info = package.config.get("symptoms")
        if info is None or not {GRAPH, COHORT} <= package.config["files"].keys():
            raise PackageError(
                f"{place}: has no severity head; `emoclip symptoms fit` makes a package with one"
            )
        try:
            self.targets = _read_info(Fields(info, "symptoms"), package)
        except ValueError as error:
            raise PackageError(f"{place}/config.json: {error}; fit it again") from None
        self.info = info
        known = len(self.targets)
        clips = Value(FLOAT, (None, package.width))
        frames = Value(FLOAT, (None, None, package.width))
        scores = {"scores": Value(FLOAT, (1, known)), "influence": Value(FLOAT, (None, known))}
        takes, gives = {
            "clips": (clips, scores),
            "frames": (frames, {"values": Value(FLOAT, (None, known))}),
        }[info["takes"]]
        graph = package.graphs[GRAPH]
        check_values(package.path / GRAPH, graph.inputs, {info["takes"]: takes}, "takes")
        check_values(package.path / GRAPH, graph.outputs, gives, "gives")
        self._session = model.runtime.session(GRAPH)
        self._centre, self._matrix = _read_cohort(package)

    @property
    def looked(self) -> Mapping[str, Any]:
        """How the study's interviews were looked at, see `looked_at`; nothing in a package of an earlier version."""
        looked: Mapping[str, Any] = self.info.get("looked") or {}
        return looked

    def usual(self, name: str, usual: Any) -> Any:
        """Return how to look at an interview by one field of `looked`: as the study, as usual where it did both."""
        known = each(self.looked.get(name))
        return usual if not known or usual in known else known[0]

    def score(
        self, name: str, recording: SeenInterview, looked: Mapping[str, Any] = MappingProxyType({})
    ) -> Estimate:
        """Estimate the ratings of one interview.  name: what to call it.  looked: how it was looked at."""
        given = getattr(recording, self.info["takes"])
        scores, influence = self._run(given)
        distance = float(np.linalg.norm((centre_of(given) - self._centre) @ self._matrix))
        names = [target.name for target in self.targets]
        clips = [
            Influence(
                int(part),
                round(float(start_s), 3),
                round(float(end_s), 3),
                {
                    name: None if np.isnan(move) else round(float(move), 5)
                    for name, move in zip(names, moves, strict=True)
                },
            )
            for part, start_s, end_s, moves in zip(
                recording.parts, recording.starts_s, recording.ends_s, moved(influence), strict=True
            )
        ]
        return Estimate(
            input=name,
            model=self.model.package.name,
            estimator=self.info["estimator"],
            scores=[
                _score(target, float(value), item["half_width"])
                for target, value, item in zip(self.targets, scores, self.info["targets"], strict=True)
            ],
            level=self.info["level"],
            unlike=[*self._otherwise(looked), *self._unlike(recording, distance)],
            warnings=recording.warnings.tolist(),
            duration_s=round(recording.duration_s, 3),
            coverage=round(recording.coverage, 4),
            distance=round(distance, 4),
            clips=clips,
        )

    def _run(self, given: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Scores (targets,) and the influence of each clip (N, targets)."""
        if self.info["takes"] == "clips":
            found: dict[str, Any] = {}

            def run() -> Any:
                names = ["scores", "influence"]
                found.update(
                    zip(names, self._session.run(names, {"clips": given.astype(np.float32)}), strict=True)
                )
                return found["scores"]

            scores = self._computed(run, 1)
            return scores[0], self._computed(lambda: found["influence"], len(given))
        batches = [given[at : at + CLIP_BATCH].astype(np.float32) for at in range(0, len(given), CLIP_BATCH)]
        values = np.concatenate(
            [
                self._computed(
                    lambda batch=batch: self._session.run(["values"], {"frames": batch})[0],  # type: ignore[misc]
                    len(batch),
                )
                for batch in batches
            ]
        )
        scores = values.mean(axis=0)
        return scores, (values - scores) / max(len(values) - 1, 1)

    def _computed(self, run: Callable[[], Any], rows: int) -> NDArray[np.float32]:
        return self.model.runtime.computed(GRAPH, run, rows, width=len(self.targets))

    def _otherwise(self, looked: Mapping[str, Any]) -> list[str]:
        """In which ways it was looked at otherwise than the study's interviews."""
        found = []
        for name, value in looked.items():
            here, there = each(value), each(self.looked.get(name))
            if there and not {*here} <= {*there}:
                found.append(
                    f"{name}: {', '.join(map(str, here))} here, {', '.join(map(str, there))} in the study"
                )
        if self.info["format"] < FORMAT:
            found.append(
                "clips: the study is of an earlier version, in which a single frame left over at an end was a clip "
                "too, and intervals did not count people alike; fit it again"
            )
        return found

    def _unlike(self, recording: SeenInterview, distance: float) -> list[str]:
        """In which ways an interview lies outside what the study had."""
        seen = self.info["cohort"]
        shortest, longest = seen["duration_s"]
        package = self.model.package
        clip_s = package.frames_per_clip / package.sample_fps
        found = []
        if not shortest - clip_s <= (lasts := recording.duration_s) <= longest + clip_s:
            kind, end = ("shorter", shortest) if lasts < shortest else ("longer", longest)
            form = telling((lasts, end), ".0f")
            found.append(
                f"length: {lasts:{form}} s, {kind} than every interview of the study "
                f"({shortest:{form}} to {longest:{form}} s)"
            )
        if (covered := recording.coverage) < (least := seen["coverage_min"]):
            form = telling((covered, least), ".0%")
            found.append(
                f"coverage: a face is readable in {covered:{form}} of its clips, less than in any interview of "
                f"the study (at least {least:{form}})"
            )
        if distance > (most := seen["distance_max"]):
            form = telling((distance, most), ".2f")
            found.append(
                f"distance: its faces read unlike the study's ({distance:{form}}; the study's lie within "
                f"{most:{form}})"
            )
        return found


def telling(numbers: Sequence[float], form: str) -> str:
    """The form (`.2f`, `.0%`) with as many more digits, up to 6, as different numbers need to read as different."""
    forms = [f"z.{digits}{form[-1]}" for digits in range(int(form[1:-1]), 7)]
    apart = len(set(numbers))
    return next(
        (each for each in forms if len({f"{number:{each}}" for number in numbers}) == apart), forms[-1]
    )


def _read_info(info: Fields, package: Package) -> list[Target]:
    """Check what config.json says of a head, and return its targets.  Raises ValueError, PackageError."""
    if info.values.get("format") not in (1, FORMAT):
        raise PackageError(
            f"{package.path}: its severity head has format {shown(info.values.get('format'))}, this version reads "
            f"{FORMAT}; update emoclip, or fit it again"
        )
    if info.whole("width", 1, 65_536) != package.width:
        raise PackageError(
            f"{package.path}: its severity head is for embeddings {info.values['width']} wide, the package's are "
            f"{package.width}; use the package it was fitted with, or fit it again"
        )
    if info.inner("towers").values != {name: package.config["files"][name] for name in _towers(package)}:
        raise PackageError(
            f"{package.path}: its severity head was fitted on another model's embeddings; "
            "use the package it was fitted with, or fit it again"
        )
    info.text("takes", ("clips", "frames"))
    info.text("estimator")
    info.number("level", 0, 1)
    if info.has("looked"):
        looked = info.inner("looked")
        for key, choices in (("faces", FACE_MODES), ("detector", DETECTORS)):
            for value in each(looked.values.get(key)):
                Fields({key: value}, looked.key).text(key, choices)
        for value in each(looked.values.get("fps")):
            Fields({"fps": value}, looked.key).number("fps", 0.01, 1e4)
    cohort = info.inner("cohort")
    if len(cohort.numbers("duration_s", 0, 1e9)) != 2:
        raise ValueError("symptoms.cohort.duration_s must be the shortest and the longest")
    cohort.number("coverage_min", 0, 1)
    cohort.number("distance_max", 0, 1e9)
    targets = [_read_target(item) for item in info.inners("targets")]
    if not targets or len({target.name for target in targets}) < len(targets):
        raise ValueError("symptoms.targets must be one or more, of different names")
    return targets


def _read_target(item: Fields) -> Target:
    if item.has("half_width"):
        item.number("half_width", 0, 1e9)
    elif "half_width" not in item.values:
        raise ValueError(f"has no '{item.key}.half_width'")
    low, high = (item.number(key, -1e9, 1e9) if item.has(key) else None for key in ("low", "high"))
    if (low is None) != (high is None) or (low is not None and high is not None and low >= high):
        raise ValueError(f"{item.key}.low and .high must be a range, or both null")
    return Target(item.text("name"), item.text("title"), item.text("scale"), low, high)


def _read_cohort(package: Package) -> tuple[Floats, Floats]:
    """Read the mean (D,) and the matrix (D, D) of a study's interviews, see `whitening`."""
    path, width = package.checked(COHORT), package.width
    expected = {"centre": (width,), "matrix": (width, width)}
    try:
        with zipfile.ZipFile(path) as archive:
            # A few bytes can unpack to any number.
            if sum(item.file_size for item in archive.infolist()) > 8 * width * (width + 1) + 4096:
                raise ValueError("it holds more than it should")
        with np.load(path, allow_pickle=False) as cohort:
            held = {name: cohort[name] for name in expected}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise PackageError(f"{path}: cannot be read ({reason(error)}); fit it again") from None
    for name, array in held.items():
        if array.shape != expected[name] or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise PackageError(
                f"{path}: {name} must be finite numbers of size {expected[name]}; fit it again"
            )
    return held["centre"], held["matrix"]


def clip_to(target: Target, value: Any) -> Any:
    """Keep estimates within the scale's range."""
    return value if target.low is None else np.clip(value, target.low, target.high)


def within(targets: Sequence[Target], predicted: Floats) -> Floats:
    """Keep predictions (n, targets) within their scales' ranges."""
    return np.column_stack([clip_to(target, predicted[:, at]) for at, target in enumerate(targets)])


def _score(target: Target, value: float, half: float | None) -> Score:
    value = float(clip_to(target, value))
    ends = (None, None) if half is None else (clip_to(target, value - half), clip_to(target, value + half))
    low, high = (None if end is None else round(float(end), 4) for end in ends)
    limits = None if target.low is None or target.high is None else (target.low, target.high)
    return Score(target.name, target.title, target.scale, limits, round(value, 4), low, high)


def card(head: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the README's part on the head: what is known of it, and what the laboratory has to say."""
    cohort = head["cohort"]
    facts = [
        f"{head['estimator']} estimator, {counted(cohort['subjects'], 'subject')}, "
        f"{counted(cohort['interviews'], 'interview')} of "
        f"{cohort['duration_s'][0]:.1f} to {cohort['duration_s'][1]:.1f} s",
        f"intervals: {LEVEL:.0%}, {head['interval']}",
    ]
    rows = ["| target | PCC | CCC | ICC(2,1) | MAE | RMSE | permutation p |", "|---|---|---|---|---|---|---|"]
    for name, found in figures.items():
        cells = [with_interval(found[metric]) for metric in ("pcc", "ccc", "icc", "mae", "rmse")]
        p = found["permutation_p"]
        rows.append(f"| {markdown(name)} | {' | '.join(cells)} | {'–' if p is None else f'{p:.3g}'} |")
    template = files("emoclip").joinpath("assets/severity_card.md").read_text(encoding="utf-8")
    return template.format(facts="\n".join(f"- {fact}" for fact in facts), figures="\n".join(rows))


def with_interval(figure: Mapping[str, Any], form: str = "z.2f") -> str:
    """A figure as people read it: `0.90 (0.84 to 0.94)`, `0.90 (no interval)`, or a dash where it is undefined."""
    value, ends = figure["value"], figure["ci95"]
    if value is None:
        return "–"
    shown = "no interval" if None in ends else f"{ends[0]:{form}} to {ends[1]:{form}}"
    return f"{value:{form}} ({shown})"


def _towers(package: Package) -> list[str]:
    """The files on which embeddings depend."""
    graphs = [name for name in ("image.onnx", "temporal.onnx") if name in package.graphs]
    return [file for name in graphs for file in (name, *package.graphs[name].files)]
