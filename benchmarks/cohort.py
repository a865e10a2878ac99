"""A simulated cohort with known truth: does severity come out, and does nothing come out where there is nothing?

    python benchmarks/cohort.py --root ../shared/faces --out DIR     about 4 minutes on 2 cores

Each of 60 subjects has a hidden expressivity, which sets how often and how strongly the 32-frame clips of a 200-clip
"interview" show a smile or a frown, and a hidden mood, which sets which of the two.  Frames are real crops of the
validation part of FER-2013 (faces the bundled model was not trained on; each subject draws from a random half of them),
so nothing but the expression repeats within a subject.  Two scores are rated with noise: CAINS_EXPRESSION (0-16) falls
with expressivity, LOW_MOOD (0-10, a scale of our own) falls with mood.  The noise ceiling is the correlation of the
ratings with the truth: what a perfect reader would reach.

Writes DIR: metrics.json and the other files of `emoclip symptoms fit`.
"""

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from emoclip import EmoCLIP, metrics, symptom_report, symptoms, validation
from emoclip.cohort import Cohort, Interview
from emoclip.interviews import Recording, recording
from emoclip.probe import Probe
from emoclip.scales import Target

SUBJECTS, CLIPS, SHUFFLES = 60, 200, 20
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
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument(
        "--paper-shuffles", type=int, default=0, help="shuffled seeds of the slow estimator"
    )
    given = arguments.parse_args()

    model = EmoCLIP.load(given.model)
    began = time.perf_counter()
    cohort, truth, recordings = simulate(model, given.root, given.subjects, given.clips, given.seed)
    print(
        f"{len(recordings)} interviews of {given.clips} clips embedded in {time.perf_counter() - began:.0f} s"
    )

    estimators: list[symptoms.Estimator] = [Probe()] if given.estimator != "paper" else []
    if given.estimator != "probe":
        from emoclip.training.severity import PaperEstimator

        estimators.append(PaperEstimator(model.package))
    seconds = {}
    study = None
    for estimator in estimators:
        began, began_cpu = time.perf_counter(), time.process_time()
        fitted = symptoms.fit(model, cohort, recordings, [estimator], symptoms.Validation())
        took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
        seconds[estimator.name] = {"wall": round(took, 1), "cpu": round(took_cpu, 1)}
        if study is None:
            study = fitted
        study.estimators |= fitted.estimators
    symptom_report.write(study, given.out, estimators, force=True)

    found = study.metrics() | {"noise_ceiling_pcc": {}, "seconds": seconds, "shuffled": {}}
    for column, target in enumerate(TARGETS):
        ceiling = metrics.pcc(truth[:, column], cohort.scores[:, column])
        found["noise_ceiling_pcc"][target.name] = round(ceiling, 4)
        print(f"{target.name}: noise ceiling PCC {ceiling:.3f}")
        for kind in ("estimators", "baselines"):
            for name, result in found[kind].items():
                pcc = result["targets"][target.name]["pcc"]
                p = result["targets"][target.name]["permutation_p"]
                ends = "{:.3f} to {:.3f}".format(*pcc["ci95"])
                print(f"  {name:20} PCC {pcc['value']:.3f} ({ends}), p {p:.4f}")
    for estimator in estimators:
        count = SHUFFLES if estimator.name == "probe" else given.paper_shuffles
        if count:
            found["shuffled"][estimator.name] = shuffled(estimator, cohort, recordings, count)
    (given.out / "metrics.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"validated in seconds: {seconds}; written to {given.out}")


def simulate(
    model: EmoCLIP, root: Path, subjects: int, clips: int, seed: int
) -> tuple[Cohort, np.ndarray, list[Recording]]:
    """Return the cohort as it was rated, its true scores (subjects, targets), and its recordings."""
    rng = np.random.default_rng(seed)
    crops, ranked = read_crops(root)
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
        interviews.append(Interview(name, "", (f"{name}.mp4",), tuple(rated[number]), None, None, name))
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


def read_crops(root: Path) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Return crops of the validation part, and per state the places of its crops, from weakest to strongest."""
    faces = pq.read_table(root / "fer2013_trainval.parquet", filters=[("split", "=", "val")])
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
    estimator: symptoms.Estimator, cohort: Cohort, recordings: list[Recording], count: int
) -> dict[str, object]:
    """Deal the scores to other subjects, refit, and see whether anything is found that is not there."""
    inputs = [getattr(item, estimator.takes) for item in recordings]
    inside: dict[str, list[bool]] = {target.name: [] for target in TARGETS}
    pccs: dict[str, list[float]] = {target.name: [] for target in TARGETS}
    for seed in range(count):
        order = np.random.default_rng(1000 + seed).permutation(len(inputs))
        scores = cohort.scores[order]
        folds = validation.subject_folds(cohort.subjects, scores, 5, seed=seed)
        predicted, _ = estimator.out_of_fold(inputs, scores, cohort.subjects, folds, lambda share: None)
        for column, target in enumerate(TARGETS):
            null = validation.pairing_null(
                scores[:, column], predicted[:, column], cohort.subjects, seed=seed
            )
            pcc = float(validation.correlations(scores[:, column], predicted[:, column]))
            pccs[target.name].append(round(pcc, 4))
            inside[target.name].append(bool(abs(pcc) <= np.quantile(np.abs(null), 0.95)))
    for name, seeds in inside.items():
        print(
            f"{estimator.name}, shuffled {name}: |PCC| inside its 95 % band in {sum(seeds)} of {count} seeds"
        )
    return {name: {"inside": sum(seeds), "seeds": count, "pcc": pccs[name]} for name, seeds in inside.items()}


if __name__ == "__main__":
    main()
