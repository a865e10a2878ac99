"""What ten people said of each crop: shares of votes as targets, and sentences that say the mixture.

The votes are FER+ (Barsoum et al., ICMI 2016), whose rules for outliers and unknowns are followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoclip.errors import InputError
from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT

FILE = "ferplus_votes.parquet"
COLUMNS = (*CLASSES_WITH_CONTEMPT, "unknown", "no_face")
LEAST_VOTES = 5  # for an emotion, of a crop that anything is measured on
_EMOTIONS = len(CLASSES_WITH_CONTEMPT)
_NOUNS = {name: name for name in CLASSES_WITH_CONTEMPT} | {"neutral": "a neutral look"}
_LOOKS = {
    "anger": "angry", "disgust": "disgusted", "fear": "afraid", "happiness": "happy", "neutral": "neutral",
    "sadness": "sad", "surprise": "surprised", "contempt": "contemptuous",
}  # fmt: skip


@dataclass(frozen=True)
class Votes:
    """Votes of people for crops.

    counts (N, 10): over COLUMNS, zeros where nobody was asked.
    shares (N, 8): of those who saw an emotion, single votes dropped as outliers; zeros where `told` is False.
    told (N,): whether people saw a face with an expression: not led by unknown or no face, two agree on something.
    """

    counts: NDArray[np.float32]
    shares: NDArray[np.float32]
    told: NDArray[np.bool_]

    @classmethod
    def of(cls, counts: NDArray[np.float32]) -> Votes:
        """Apply the rules of that paper to counts (N, 10)."""
        left = np.where(counts > 1, counts, 0)
        told = (left[:, :_EMOTIONS].max(1) > 0) & (left.argmax(1) < _EMOTIONS)
        emotions = left[:, :_EMOTIONS] * told[:, None]
        shares = emotions / np.maximum(emotions.sum(1, keepdims=True), 1)
        return cls(counts.astype(np.float32), shares.astype(np.float32), told)

    @property
    def majority(self) -> NDArray[np.bool_]:
        """(N,) whether more than half of what is left is for one emotion, and five or more saw an emotion."""
        enough = self.counts[:, :_EMOTIONS].sum(1) >= LEAST_VOTES
        return np.asarray(self.told & enough & (self.shares.max(1) > 0.5))

    @property
    def raw(self) -> NDArray[np.float32]:
        """(N, 8) shares of all votes for an emotion, single ones too: what a person picked at random says."""
        emotions = self.counts[:, :_EMOTIONS]
        return np.asarray(emotions / np.maximum(emotions.sum(1, keepdims=True), 1), np.float32)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Votes:
        """Return the chosen rows."""
        return Votes(self.counts[index], self.shares[index], self.told[index])


def read_votes(root: Path, paths: list[str]) -> Votes:
    """Read the votes for crops, in the order of `paths`.  Raises InputError where the file is missing."""
    path = root / FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file; training needs what people said of each crop (FER+)")
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    row_of = {name: row for row, name in enumerate(table["path"].to_pylist())}
    every = np.stack([table[name].to_numpy() for name in COLUMNS], axis=1).astype(np.float32)
    nobody = np.zeros(len(COLUMNS), np.float32)
    return Votes.of(np.stack([every[row_of[name]] if name in row_of else nobody for name in paths]))


def read_leaks(root: Path) -> set[str]:
    """Return the paths of train crops that are found again in the challenge's test parts; empty without leaks.csv."""
    path = root / "leaks.csv"
    if not path.is_file():
        return set()
    rows = path.read_text(encoding="utf-8").splitlines()[1:]
    return {row.split(",")[0] for row in rows if row.split(",")[1] == "train"}


def mixture(shares: NDArray[np.float32], variant: int) -> str:
    """Say shares of votes (8,) in words, in one of three ways: "mostly surprise, some fear"."""
    order = np.argsort(-shares, kind="stable")
    first, others = order[0], [i for i in order[1:] if shares[i] >= 0.15][:2]
    names = [CLASSES_WITH_CONTEMPT[i] for i in (first, *others)]
    noun, look = [_NOUNS[n] for n in names], [_LOOKS[n] for n in names]
    near = bool(others) and shares[first] - shares[others[0]] < 0.15
    rest, rest_looks = " and ".join(noun[1:]), " and ".join(look[1:])
    ways = (f"mostly {noun[0]}, some {rest}", f"a rather {look[0]} face, a little {rest_looks}",
            f"most see {noun[0]}, a few {rest}")  # fmt: skip
    if near:
        ways = (f"between {noun[0]} and {rest}", f"a face that looks as {look[0]} as {rest_looks}",
                f"some see {noun[0]}, others {rest}")  # fmt: skip
    if not others:
        ways = (f"clearly {noun[0]}", f"a face that is plainly {look[0]}", f"everyone sees {noun[0]}")
    return ways[variant % 3]


def agreement(probabilities: NDArray[np.float32], votes: Votes) -> dict[str, float]:
    """Return how well probabilities (N, 8) tell the votes, on crops with a majority.

    accuracy and recall (its mean over emotions): of the emotion most people saw; agree: the mean share of people who
    say what is likeliest; kl: from shares of votes to probabilities, nats; neutral: its recall; contempt_auc: all
    crops that people saw an expression in, contempt the majority or not.
    """
    clear, said = votes.majority, probabilities.argmax(1)
    raw, wanted = votes.raw[clear], votes.shares[clear].argmax(1)
    given, top = probabilities[clear], said[clear]
    recalls = [float((top[wanted == c] == c).mean()) for c in range(_EMOTIONS) if (wanted == c).any()]
    at = CLASSES_WITH_CONTEMPT.index("neutral")
    divergence = np.where(raw > 0, raw * (np.log(np.maximum(raw, 1e-9)) - np.log(given + 1e-9)), 0).sum(1)
    contempt = clear & (votes.shares.argmax(1) == CLASSES_WITH_CONTEMPT.index("contempt"))
    return {
        "accuracy": float((top == wanted).mean()),
        "recall": float(np.mean(recalls)),
        "agree": float(raw[np.arange(len(top)), top].mean()),
        "kl": float(divergence.mean()),
        "neutral": float((top[wanted == at] == at).mean()) if (wanted == at).any() else float("nan"),
        "contempt_auc": auc(probabilities[votes.told, -1], contempt[votes.told]),
    }


def auc(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """Return the area under the curve: how often a positive scores above a negative, half for ties."""
    from scipy.stats import mannwhitneyu

    if positive.all() or not positive.any():
        return float("nan")
    above = mannwhitneyu(scores[positive], scores[~positive]).statistic
    return float(above / (positive.sum() * (~positive).sum()))
