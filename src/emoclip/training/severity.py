"""The paper's downstream model: temporal transformer and a small MLP on the frozen image tower's frame embeddings.

Source: EmoCLIP's downstream task: MLP 512-256-n on the clip embedding.  An interview's score is the mean over
its clips.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emoclip.model import Package
from emoclip.training.export.graphs import save_graph
from emoclip.training.export.temporal_weights import read_temporal
from emoclip.training.nets.temporal import TemporalConfig, TemporalTransformer, mean_start
from emoclip.training.resume import Trained
from emoclip.training.stepping import Losses, Plan, cosine, take_steps

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Frames = NDArray[np.float16]
Progress = Callable[[float], None]

HIDDEN = 256
_SEEDING = Lock()
FEW_CLIPS, FEW_REFITS = 2000, 19
CLIP_BATCH = 128  # clips through the model at once, where no gradient is kept


@dataclass(frozen=True)
class SeverityRecipe:
    """How the model is trained; all of it fixed beforehand, nothing is chosen by a study's results.

    First the MLP alone learns on the clip embeddings of the temporal transformer as it starts, which costs little;
    then both learn.  With a random MLP on top the transformer would first unlearn (Kumar et al., ICLR 2022).
    Chosen on `benchmarks/cohort.py --part train --seed 1`, which shares neither crops nor subjects with its default.
    """

    draws: int = 64  # clips that stand for an interview in a step
    head_steps: int = 100  # of all interviews
    head_rate: float = 1e-3
    epochs: int = 2
    interviews: int = 4  # per step
    clips: int = 8  # of the draws, on which the transformer learns
    mlp_rate: float = 1e-4
    temporal_rate: float = 3e-5
    weight_decay: float = 0.05
    seed: int = 0


class SeverityModel(nn.Module):
    """Scores of clips from their frame embeddings; parameter names are the official code's where it has them."""

    def __init__(self, temporal: TemporalTransformer, targets: int) -> None:
        super().__init__()
        self.temporal = temporal
        self.mlp = nn.Sequential(
            nn.Linear(temporal.config.width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, targets)
        )

    def encode_clips(self, frames: Tensor) -> Tensor:
        """Embed clips.  frames: (B, T, D), not normalised.  Returns (B, D)."""
        clips: Tensor = self.temporal(frames)
        return clips

    def forward(self, frames: Tensor) -> Tensor:
        """Score clips.  frames: (B, T, D).  Returns (B, targets)."""
        scores: Tensor = self.mlp(self.encode_clips(frames))
        return scores


class ClipScores(nn.Module):
    """What is saved: scores of clips in the ratings' own unit.  frames: (N, T, D).  Returns (N, targets)."""

    def __init__(self, model: SeverityModel, middle: Floats, spread: Floats) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("middle", torch.tensor(middle, dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(spread, dtype=torch.float32))

    def forward(self, frames: Tensor) -> Tensor:
        """Score clips."""
        values: Tensor = self.model(frames) * self.spread + self.middle
        return values


class PaperEstimator:
    """Trains the paper's model on all targets at once; missing scores take no part in the loss.

    The temporal transformer starts from the package's own, or where it has none from the mean over frames.
    permutations: refits of its permutation test, each as costly as the validation; 0 tests fold by fold without any.
    None: FEW_REFITS in studies of up to FEW_CLIPS clips, where that takes minutes and folds are small, else 0.
    threads: models trained at once, each on one core; what comes out does not depend on it.
    """

    name = "paper"
    takes = "frames"

    def __init__(
        self,
        package: Package,
        recipe: SeverityRecipe | None = None,
        *,
        permutations: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.recipe = recipe or SeverityRecipe()
        self.permutations = permutations
        self.threads = threads or os.cpu_count() or 1
        start = read_temporal(package)
        self.from_package = start is not None
        if start is None:
            torch.manual_seed(self.recipe.seed)
            start = mean_start(TemporalConfig.lean(package.width))
        self.start = start

    def out_of_fold(
        self,
        inputs: Sequence[Frames],
        scores: Floats,
        subjects: Sequence[str],
        folds: Ints,
        progress: Progress,
    ) -> tuple[Floats, list[Floats]]:
        """Predict every interview by a model that never saw its subject.

        inputs: n arrays of frame embeddings (N, T, D).  scores: (n, targets), NaN where missing.  folds: (n,).
        Returns predictions (n, targets), and per interview the influence of its clips (N, targets).
        """
        values = self._validate(inputs, scores, folds, np.arange(len(inputs))[None], progress)[0]
        predicted = np.stack([item.mean(axis=0) for item in values])
        influence = [(item - item.mean(axis=0)) / max(len(item) - 1, 1) for item in values]
        return predicted, influence

    def refits(self, inputs: Sequence[Frames]) -> int:
        """How many refits the permutation test makes."""
        if self.permutations is not None:
            return self.permutations
        return FEW_REFITS if sum(map(len, inputs)) <= FEW_CLIPS else 0

    def permuted(
        self,
        inputs: Sequence[Frames],
        scores: Floats,
        subjects: Sequence[str],
        folds: Ints,
        orders: Ints,
        progress: Progress,
    ) -> Floats:
        """Out-of-fold predictions (B, n, targets), refitted with the videos exchanged as `orders` (B, n) says."""
        refits = self._validate(inputs, scores, folds, orders, progress)
        return np.stack([[item.mean(axis=0) for item in values] for values in refits])

    def save(
        self,
        path: Path,
        inputs: Sequence[Frames],
        scores: Floats,
        subjects: Sequence[str],
        progress: Progress,
    ) -> list[str]:
        """Fit to all interviews and write the graph.  Returns how it was trained, per target."""
        fitted = self.fit(inputs, scores, progress)
        save_graph(
            fitted, torch.from_numpy(np.asarray(inputs[0][:2], np.float32)), path, {0: (1, None)}, "fp32"
        )
        start = "the package's temporal transformer" if self.from_package else "the mean over frames"
        return [f"{self.recipe.epochs} epochs from {start}"] * scores.shape[1]

    def fit(
        self, inputs: Sequence[Frames], scores: Floats, progress: Progress = lambda share: None
    ) -> ClipScores:
        """Train on interviews.  inputs: n arrays (N, T, D).  scores: (n, targets), NaN where missing."""
        with self._workers() as pool:
            embedded = list(pool.map(self._embed, inputs))
            return pool.submit(self._train, inputs, embedded, scores, progress).result()

    def _validate(
        self, inputs: Sequence[Frames], scores: Floats, folds: Ints, orders: Ints, progress: Progress
    ) -> list[list[Floats]]:
        """Values of every clip (N, targets) by a model that never saw its subject, per order and place."""
        jobs = [(order, fold) for order in orders for fold in np.unique(folds)]
        shares = np.zeros(len(jobs))

        def job(number: int) -> list[Floats]:
            order, fold = jobs[number]
            train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)

            def share(part: float) -> None:
                shares[number] = part
                progress(float(shares.mean()))

            places = order[train].tolist()
            fitted = self._train(
                [inputs[at] for at in places],
                [embedded[at] for at in places],
                scores[train],
                lambda part: share(0.8 * part),
            )
            values = [clip_scores(fitted, inputs[at]) for at in order[test].tolist()]
            share(1.0)
            return values

        with self._workers() as pool:
            embedded = list(pool.map(self._embed, inputs))
            done = iter(pool.map(job, range(len(jobs))))
            found: list[list[Floats]] = []
            for _ in orders:
                values: list[Floats] = [np.empty(0)] * len(inputs)
                for fold in np.unique(folds):
                    for at, item in zip(np.flatnonzero(folds == fold).tolist(), next(done), strict=True):
                        values[at] = item
                found.append(values)
        return found

    def _workers(self) -> ThreadPoolExecutor:
        # One core per model: small matrices are quicker side by side than split, and sums keep their order.
        return ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))

    def _embed(self, frames: Frames) -> Tensor:
        """Embed an interview's clips (N, T, D) by the transformer as it starts: (N, D)."""
        with torch.no_grad():
            return _through(self.start, frames)

    def _beginning(self, targets: int) -> SeverityModel:
        with _SEEDING:  # torch has one generator for all threads
            torch.manual_seed(self.recipe.seed)
            return SeverityModel(copy.deepcopy(self.start), targets).train()

    def _train(
        self, inputs: Sequence[Frames], embedded: Sequence[Tensor], scores: Floats, progress: Progress
    ) -> ClipScores:
        recipe = self.recipe
        rng = np.random.default_rng(recipe.seed)
        middle, spread = np.nanmean(scores, axis=0), np.maximum(np.nanstd(scores, axis=0), 1e-6)
        known = torch.from_numpy(~np.isnan(scores))
        wanted = torch.from_numpy(np.nan_to_num((scores - middle) / spread)).float()
        model = self._beginning(scores.shape[1])
        # The MLP learns on centred clip embeddings of unit variance; afterwards that is folded into its first layer.
        everything = torch.cat(list(embedded))
        centre, size = everything.mean(dim=0), everything.var(dim=0).mean().sqrt().clamp_min(1e-6)

        def draw(rows: list[int]) -> tuple[list[NDArray[np.int64]], Tensor]:
            """Places of clips of some interviews, and their embeddings as they were at first (R, draws, D)."""
            places = [rng.integers(len(embedded[at]), size=recipe.draws) for at in rows]
            return places, torch.stack([embedded[at][some] for at, some in zip(rows, places, strict=True)])

        def head(clips: Tensor) -> Tensor:
            """Scores of interviews (R, targets) from the embeddings of their clips (R, clips, D)."""
            means: Tensor = model.mlp((clips - centre) / size).mean(dim=1)
            return means

        def error(rows: list[int], means: Tensor) -> Tensor:
            there = known[rows]
            return ((means - wanted[rows])[there] ** 2).sum() / max(int(there.sum()), 1)

        def of_head(_: object) -> Iterator[Tensor]:
            everybody = list(range(len(inputs)))
            while True:
                yield error(everybody, head(draw(everybody)[1]))

        def of_both(_: object) -> Iterator[Tensor]:
            for some in np.array_split(rng.permutation(len(inputs)), per_epoch):
                rows = some.tolist()
                places, first = draw(rows)
                frames = np.concatenate(
                    [inputs[at][seen[: recipe.clips]] for at, seen in zip(rows, places, strict=True)]
                )
                fresh = model.encode_clips(torch.from_numpy(frames.astype(np.float32)))
                # A few clips tell little of an interview, but much of what has changed since the first embedding.
                changed = head(fresh.unflatten(0, (len(rows), -1))) - head(first[:, : recipe.clips])
                yield error(rows, head(first) + changed)

        per_epoch = -(-len(inputs) // recipe.interviews)
        rates: list[tuple[nn.Module, float]] = [(model.mlp, recipe.head_rate)]
        self._fit(rates, recipe.head_steps, recipe.head_steps, of_head, lambda part: progress(0.2 * part))
        rates = [(model.mlp, recipe.mlp_rate), (model.temporal, recipe.temporal_rate)]
        steps = recipe.epochs * per_epoch
        self._fit(rates, steps, per_epoch, of_both, lambda part: progress(0.2 + 0.8 * part))
        _fold(model.mlp[0], centre, size)  # type: ignore[arg-type]  # a Sequential does not tell
        return ClipScores(model.eval(), middle, spread).eval()

    def _fit(
        self,
        rates: Sequence[tuple[nn.Module, float]],
        steps: int,
        per_epoch: int,
        losses: Losses,
        progress: Progress,
    ) -> None:
        """Train parts of a model by AdamW at their own rates, which fall to zero as a cosine."""
        groups = [{"params": part.parameters(), "lr": rate} for part, rate in rates]
        optimiser = torch.optim.AdamW(groups, weight_decay=self.recipe.weight_decay)
        take_steps(
            Plan(steps, per_epoch, rate=lambda step: cosine(step / steps)),
            Trained(nn.ModuleList(part for part, _ in rates), [optimiser]),
            losses,
            report=lambda found, _: progress(found.step / steps),
            note=lambda line: None,
        )


def _fold(layer: nn.Linear, centre: Tensor, size: Tensor) -> None:
    """Make a layer that was trained on (x - centre) / size take x."""
    with torch.no_grad():
        layer.weight.div_(size)
        layer.bias.sub_(layer.weight @ centre)


def clip_scores(model: nn.Module, frames: Frames) -> Floats:
    """Score the clips of an interview.  frames: (N, T, D).  Returns (N, targets)."""
    with torch.inference_mode():
        return _through(model, frames).double().numpy()


def _through(model: nn.Module, frames: Frames) -> Tensor:
    parts = [frames[at : at + CLIP_BATCH] for at in range(0, len(frames), CLIP_BATCH)]
    return torch.cat([model(torch.from_numpy(np.asarray(part, np.float32))) for part in parts])
