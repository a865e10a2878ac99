"""How often pure noise is called significant, by three ways of testing out-of-fold predictions.

    python benchmarks/chance.py     about 6 minutes on one core

Each of 300 studies has 60 subjects with features that fall off in strength as those of faces do, and two scores that
share folds and have nothing to do with them.  A valid test calls 5 % of them significant, at p <= 0.05.

exchange   scores of finished predictions exchanged between subjects (what this project did at first: not valid)
refit      the whole procedure repeated with videos exchanged (the probe)
by fold    exchanged within folds, twice the mean p of the folds (the paper's estimator; at most 5 %)
"""

import argparse

import numpy as np

from emoclip.symptoms import regression
from emoclip.symptoms import statistics as validation

SUBJECTS, WIDTH, FOLDS = 60, 24, 5


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--studies", type=int, default=300)
    arguments.add_argument("--refits", type=int, default=99)
    given = arguments.parse_args()
    subjects = [f"s{at:02d}" for at in range(SUBJECTS)]
    for kind, deal in {"random folds": random_folds, "folds as dealt": validation.subject_folds}.items():
        rows = [study(subjects, deal, given.refits, seed) for seed in range(given.studies)]
        print(
            f"{kind}, {given.studies} studies: mean PCC, then share of studies beyond the 95 % band of |PCC|"
        )
        for column in range(2):
            pcc, exchange, refit, by_fold = np.array([row[column] for row in rows]).T
            print(
                f"  score {column + 1}: PCC {pcc.mean():+.3f}  exchange {(exchange <= 0.05).mean():.3f}  "
                f"refit {(refit <= 0.05).mean():.3f}  by fold (p) {(by_fold <= 0.05).mean():.3f}",
                flush=True,
            )


def study(subjects: list[str], deal, refits: int, seed: int) -> list[tuple[float, float, float, float]]:
    """PCC and the p of the three tests, per score."""
    rng = np.random.default_rng(seed)
    block = rng.normal(size=(SUBJECTS, WIDTH)) * np.logspace(0, -1.5, WIDTH)
    scores = rng.uniform(size=(SUBJECTS, 2))
    folds = deal(subjects, scores, FOLDS, seed=seed)
    known = np.ones(scores.shape, bool)
    orders = validation.permutations(subjects, known, refits, seed=seed)
    orders = np.concatenate([np.arange(SUBJECTS)[None], orders])
    exchanged = validation.permutations(subjects, known, 999, seed=seed)
    found = []
    for truth in scores.T:
        predicted = regression.permuted([block], truth, subjects, folds, orders, networks=False)
        seen, null = predicted[0], validation.correlations(truth, predicted[1:])
        kept = validation.correlations(truth[exchanged], seen)
        found.append(
            (
                float(validation.correlations(truth, seen)),
                validation.permutation_test(truth, seen, kept)["p_two_sided"],
                validation.permutation_test(truth, seen, null)["p_two_sided"],
                validation.foldwise_test(truth, seen, subjects, folds, draws=999, seed=seed)["p"],
            )
        )
    return found


def random_folds(subjects: list[str], scores: np.ndarray, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(len(subjects)) % count)


if __name__ == "__main__":
    main()
