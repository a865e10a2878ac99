"""A simulated cohort with known truth: does severity come out, and does nothing come out where there is nothing?

    python benchmarks/cohort.py --root FACES --out DIR     about 4 minutes on 2 cores

Each of 60 subjects has a hidden expressivity, which sets how often and how strongly the 32-frame clips of a 200-clip
"interview" show a smile or a frown, and a hidden mood, which sets which of the two.  Frames are real crops of the
validation part of FER-2013 (faces the bundled model was not trained on; each subject draws from a random half of them),
so nothing but the expression repeats within a subject.  Two scores are rated with noise: CAINS_EXPRESSION (0-16) falls
with expressivity, LOW_MOOD (0-10, a scale of our own) falls with mood.  The noise ceiling is the correlation of the
ratings with the truth: what a perfect reader would reach.

Prints the ceiling, both estimators and the baselines, by how much the former beat the latter, the time, and what comes
out with scores dealt to other subjects.  Writes DIR: metrics.json and the other files of `emoclip symptoms fit`.
`--part train --seed 1` is the cohort on which the paper estimator's recipe was chosen: other crops, other subjects.
"""

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from emoclip import EmoCLIP, metrics
from emoclip.symptoms import fit as symptoms
from emoclip.symptoms import report as symptom_report
from emoclip.symptoms import statistics as validation
from emoclip.symptoms.interviews import SeenInterview, recording
from emoclip.symptoms.manifest import Cohort, Interview
from emoclip.symptoms.probe import Probe
from emoclip.symptoms.scales import Target
from emoclip.symptoms.study import Study, ValidationConfig

SUBJECTS, CLIPS, SHUFFLES, REFITS = 60, 200, 20, 99
NOISE = {"CAINS_EXPRESSION": 1.5, "LOW_MOOD": 1.0}  # of the raters, in points
TARGETS = (
    Target("CAINS_EXPRESSION", "expression total", "CAINS expression scale", 0.0, 16.0),
    Target("LOW_MOOD", "low mood", "a scale of this benchmark", 0.0, 10.0),
)
STATES = {"smile": ["happy"], "frown": ["sad", "angry"], "blank": ["neutral"]}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--root", type=Path, required=True, help="the folder of the crops")
    arguments.add_argument("--out", type=Path, required=True, help="folder to write")
    arguments.add_argument("--model", default="mini")
    arguments.add_argument("--estimator", choices=("probe", "paper", "both"), default="both")
    arguments.add_argument("--subjects", type=int, default=SUBJECTS)
    arguments.add_argument("--clips", type=int, default=CLIPS)
    arguments.add_argument("--part", choices=("val", "train"), default="val", help="of the crops")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--shuffles", type=int, default=SHUFFLES, help="shuffled seeds of the probe")
    arguments.add_argument(
        "--paper-shuffles", type=int, default=0, help="shuffled seeds of the slow estimator"
    )
    arguments.add_argument("--paper-refits", type=int, default=39, help="refits for the band of those")
    given = arguments.parse_args()

    model = EmoCLIP.load(given.model)
    began = time.perf_counter()
    crops, ranked = read_crops(given.root, given.part)
    cohort, truth, recordings = simulate(model, crops, ranked, given.subjects, given.clips, given.seed)
    print(f"{len(recordings)} interviews of {given.clips} clips embedded in {since(began)} s", flush=True)

    estimators: list[symptoms.Estimator] = [Probe()] if given.estimator != "paper" else []
    if given.estimator != "probe":
        from emoclip.training.severity import PaperEstimator

        estimators.append(PaperEstimator(model.package))
    fitting, fitting_cpu = time.perf_counter(), time.process_time()
    study = symptoms.fit(model, cohort, recordings, estimators, ValidationConfig())
    symptom_report.write(study, given.out, estimators, force=True)
    seconds = {"wall": since(fitting), "cpu": round(time.process_time() - fitting_cpu, 1)}
    found = study.metrics() | {"noise_ceiling_pcc": {}, "seconds": seconds, "shuffled": {}}
    for column, target in enumerate(TARGETS):
        ceiling = metrics.pcc(truth[:, column], cohort.scores[:, column])
        found["noise_ceiling_pcc"][target.name] = round(ceiling, 4)
        print(f"\n{target.name}: noise ceiling PCC {ceiling:.3f}")
        print_figures(study, target.name)
    print(f"\nvalidated, fitted to everybody and written to {given.out} in {seconds} s", flush=True)
    save(found, given.out)
    for estimator in estimators:
        count = given.shuffles if estimator.name == "probe" else given.paper_shuffles
        if count:
            found["shuffled"][estimator.name] = shuffled(
                estimator, cohort, recordings, count, given.paper_refits
            )
            save(found, given.out)
    print(f"everything in {since(began)} s")


def save(found: dict, folder: Path) -> None:
    (folder / "metrics.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def since(began: float) -> float:
    return round(time.perf_counter() - began, 1)


def print_figures(study: Study, target: str) -> None:
    for name, result in (study.estimators | study.baselines).items():
        found = result.targets[target]
        cells = [f"{metric.upper()} {with_interval(found[metric])}" for metric in ("pcc", "icc", "mae")]
        p = f"  p {found['permutation_p']:.4f}" if name in study.estimators else ""
        print(f"  {name:20} {'  '.join(cells)}{p}")
    for name, result in study.estimators.items():
        found = result.targets[target]
        for baseline in study.baselines:
            gains = [
                f"{metric.upper()} {with_interval(found[f'gain_in_{metric}'][baseline])}"
                for metric in ("mae", "pcc")
            ]
            print(f"  {name + ' over ' + baseline:30} better by {'  '.join(gains)}")


def with_interval(figure: dict) -> str:
    if figure["value"] is None or None in figure["ci95"]:
        return "-"
    return "{:.3f} ({:.3f} to {:.3f})".format(figure["value"], *figure["ci95"])


def simulate(
    model: EmoCLIP, crops: list, ranked: dict[str, np.ndarray], subjects: int, clips: int, seed: int
) -> tuple[Cohort, np.ndarray, list[SeenInterview]]:
    """Return the cohort as it was rated, its true scores (subjects, targets), and its recordings."""
    rng = np.random.default_rng(seed)
    embedded = model.embed_frames(crops)
    length = model.package.frames_per_clip
    step_s = length / model.package.sample_fps
    hidden = rng.uniform(size=(subjects, 2))  # expressivity, mood
    truth = (1 - hidden) * [16, 10]
    noise = rng.normal(size=truth.shape) * [NOISE[target.name] for target in TARGETS]
    rated = np.clip(np.round(truth + noise), 0, [16, 10])
    recordings, interviews = [], []
    for number in range(subjects):
        own = {
            state: np.sort(rng.permutation(len(places))[: len(places) // 2])
            for state, places in ranked.items()
        }
        pools = {state: ranked[state][chosen] for state, chosen in own.items()}
        drawn = [embedded[clip_crops(rng, pools, *hidden[number], length)] for _ in range(clips)]
        starts_s = np.arange(clips) * step_s
        recordings.append(
            recording(
                model,
                drawn,
                parts=np.zeros(clips, int),
                starts_s=starts_s,
                ends_s=starts_s + step_s,
                totals=np.array([clips * step_s, 1.0]),
            )
        )
        name = f"s{number:02d}"
        interviews.append(
            Interview(f"{name}.mp4", name, "", (f"{name}.mp4",), tuple(rated[number]), None, None, name)
        )
    return Cohort(TARGETS, interviews), truth, recordings


def clip_crops(
    rng: np.random.Generator, pools: dict, expressivity: float, mood: float, length: int
) -> np.ndarray:
    """Choose a clip's frames: blank, or an expression that comes and goes; each crop is held for a few frames."""
    held = [int(rng.choice(pools["blank"])) for _ in range(8)]
    if rng.uniform() < 0.08 + 0.6 * expressivity:
        pool = pools["smile" if rng.uniform() < 0.2 + 0.6 * mood else "frown"]
        strength = np.clip(0.8 * expressivity + 0.1 + 0.15 * rng.normal(size=5), 0, 1)
        held[1:6] = pool[np.round(strength * (len(pool) - 1)).astype(int)].tolist()
    return np.array(held)[np.arange(length) * 8 // length]


def read_crops(root: Path, part: str) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Return crops of a part, and per state the places of its crops, from weakest to strongest."""
    faces = pq.read_table(root / "fer2013_trainval.parquet", filters=[("split", "=", part)])
    columns = ["path", "lip_corner_raise_left", "lip_corner_raise_right", "mouth_width", "brow_inner_raise_left",
               "brow_inner_raise_right"]  # fmt: skip
    geometry = {
        row["path"]: row
        for row in pq.read_table(root / "fer2013_geometry.parquet", columns=columns).to_pylist()
    }
    rows = [row for row in faces.to_pylist() if geometry[row["path"]]["mouth_width"] is not None]
    crops = [np.array(Image.open(io.BytesIO(encoded(row))).convert("RGB")) for row in rows]
    measures = np.array([[geometry[row["path"]][name] for name in columns[1:]] for row in rows])
    measures = (measures - measures.mean(axis=0)) / measures.std(axis=0)
    corners, width, brows = measures[:, :2].mean(axis=1), measures[:, 2], measures[:, 3:].mean(axis=1)
    strength = {"smile": corners + width, "frown": -corners - brows, "blank": np.zeros(len(rows))}
    labels = np.array([row["label"] for row in rows])
    ranked = {}
    for state, names in STATES.items():
        places = np.flatnonzero(np.isin(labels, names))
        ranked[state] = places[np.argsort(strength[state][places], kind="stable")]
    return crops, ranked


def encoded(row: dict) -> bytes:
    return row["image"]["bytes"] if isinstance(row["image"], dict) else row["image"]


def shuffled(
    estimator: symptoms.Estimator,
    cohort: Cohort,
    recordings: list[SeenInterview],
    count: int,
    paper_refits: int,
) -> dict[str, object]:
    """Deal the scores to other subjects, refit, and see whether anything is found that is not there.

    The band is that of the permutation test, 95 % of |PCC| over refits with videos exchanged.  The probe has its own
    band for every seed.  The paper's estimator shares one, from other shuffles: each stands for a whole validation.
    """
    inputs = [getattr(item, estimator.takes) for item in recordings]
    own = estimator.name == "probe"
    everybody = np.arange(len(inputs))[None]

    def refit(seed: int) -> np.ndarray:
        """Deal the scores anew, and return their correlations (1 + refits, targets) with predictions."""
        scores = cohort.scores[np.random.default_rng(1000 + seed).permutation(len(inputs))]
        folds = validation.subject_folds(cohort.subjects, scores, 5, seed=seed)
        exchanged = validation.permutations(cohort.subjects, ~np.isnan(scores), REFITS * own, seed=seed)
        orders = np.concatenate([everybody, exchanged])
        predicted = estimator.permuted(inputs, scores, cohort.subjects, folds, orders, lambda share: None)
        return np.stack(
            [validation.correlations(scores[:, at], predicted[:, :, at]) for at in range(len(TARGETS))],
            axis=1,
        )

    shared = [] if own else [refit(SHUFFLES + number)[0] for number in range(paper_refits)]
    inside: dict[str, list[bool]] = {target.name: [] for target in TARGETS}
    pccs: dict[str, list[float]] = {target.name: [] for target in TARGETS}
    for seed in range(count):
        pcc, *refits = refit(seed)
        for column, target in enumerate(TARGETS):
            null = np.array([other[column] for other in (refits if own else shared)])
            beyond = 1 + (np.abs(null) >= abs(pcc[column])).sum()
            pccs[target.name].append(round(float(pcc[column]), 4))
            inside[target.name].append(bool(beyond / (1 + len(null)) > 0.05))
    for name, seeds in inside.items():
        print(
            f"{estimator.name}, shuffled {name}: |PCC| inside its 95 % band in {sum(seeds)} of {count} seeds",
            flush=True,
        )
    return {name: {"inside": sum(seeds), "seeds": count, "pcc": pccs[name]} for name, seeds in inside.items()}


if __name__ == "__main__":
    main()
