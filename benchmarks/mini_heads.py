"""The card's ablation and leave-one-class-out tables: `python benchmarks/mini_heads.py --root FACES_DIR --run RUN`.

RUN is a folder of `python -m emoclip.training.mini` after the steps captions and geometry.  The geometry tower, which
saw no label, stays frozen; an image head and a text head learn from class sentences, descriptions or both, and are
scored on held-out train crops with the class sentences.  About 5 minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoclip.training.mini.batches import SENTENCE_WIDTH
from emoclip.training.mini.captions import read_captions
from emoclip.training.mini.faces import CLASSES, held_out, near_duplicates, read_faces
from emoclip.training.mini.images import read_model
from emoclip.training.nets.compact import TextHead
from emoclip.training.nets.losses import LogitScale, contrastive_loss, same_text_targets
from emoclip.training.resume import Trained
from emoclip.training.stepping import Plan, falling, take_steps


class Heads:
    """Frozen features of all train crops, their texts, and which crops are held out."""

    def __init__(self, root: Path, run: Path) -> None:
        faces = read_faces(root, "train")
        usable = faces.images.std(axis=(1, 2)) > 4
        held = held_out(faces.labels, near_duplicates(faces.images), 0.1)
        has_mesh = np.isfinite(faces.measures).all(axis=1)
        captions = read_captions(run / "captions.safetensors", np.ones(len(faces.labels), bool))
        self.labels = torch.from_numpy(faces.labels)
        self.train, self.held = torch.from_numpy(~held & usable & has_mesh), torch.from_numpy(held & usable)
        self.described = captions.sentences[captions.described[:, 1]].float()  # after what people said
        self.sentences = torch.stack([bank[0] for bank in captions.classes[: len(CLASSES)]])
        features = self._features(run, torch.from_numpy(faces.images)[:, None])
        seen = features[self.train]
        self.features = (features - seen.mean(0)) / (seen.std(0) + 1e-3)

    @torch.no_grad()
    def _features(self, run: Path, images: Tensor) -> Tensor:
        model = read_model(run / "geometry")
        rows = []
        for batch in images.split(512):
            maps = model.tower.feature_map(batch.float() / 255)
            rows.append(torch.cat([maps.mean(dim=(2, 3)), model.geometry(maps)[0]], dim=1))
        return torch.cat(rows)

    def predict(self, text: str, left_out: int, seed: int, steps: int) -> Tensor:
        """Train the heads without one class (-1: with all) and return the classes of the held-out crops."""
        torch.manual_seed(seed)
        by_class = [
            (self.train & (self.labels == c)).nonzero()[:, 0] for c in range(len(CLASSES)) if c != left_out
        ]
        image = nn.Sequential(nn.Linear(self.features.shape[1], 256), nn.GELU(), nn.Linear(256, 256))
        head, scale = TextHead(SENTENCE_WIDTH, 256), LogitScale()
        model = nn.ModuleDict({"image": image, "head": head, "scale": scale})

        def losses(_: object) -> Iterator[Tensor]:
            while True:
                rows = torch.cat([c[torch.randint(0, len(c), (256 // len(by_class),))] for c in by_class])
                sentences, described = self.sentences[self.labels[rows]], self.described[rows]
                chosen = {"class": 1.0, "sample": 0.0, "both": 0.5}[text]
                texts = torch.where(torch.rand(len(rows), 1) < chosen, sentences, described)
                alike = F.softmax((texts @ texts.T - 1) / 0.03, dim=1)
                targets = same_text_targets(self.labels[rows]) if text == "class" else alike
                yield contrastive_loss(image(self.features[rows]), head(texts), scale(), targets)

        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
        plan = Plan(steps, per_epoch=steps, rate=falling(steps))
        take_steps(plan, Trained(model, [optimizer]), losses, note=lambda line: None)
        with torch.no_grad():
            faces = F.normalize(image(self.features[self.held]), dim=1)
            return (faces @ F.normalize(head(self.sentences), dim=1).T).argmax(1)

    def recall(self, predicted: Tensor, label: int) -> np.ndarray:
        """Right or wrong, for every held-out crop of one class."""
        return (predicted == label)[self.labels[self.held] == label].float().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=350)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    heads = Heads(given.root, given.run)
    truth = heads.labels[heads.held]
    for text in ("class", "sample", "both"):
        found = [heads.predict(text, -1, seed, given.steps) for seed in range(given.seeds)]
        war = [float((p == truth).float().mean()) for p in found]
        uar = [np.mean([heads.recall(p, c).mean() for c in range(len(CLASSES))]) for p in found]
        print(
            f"{text}: WAR {np.mean(war):.3f} ({np.std(war):.3f}) UAR {np.mean(uar):.3f} ({np.std(uar):.3f})",
            flush=True,
        )
    right: dict[tuple[int, str], np.ndarray] = {}
    for label, name in enumerate(CLASSES):
        for text in ("class", "sample"):
            runs = [
                heads.recall(heads.predict(text, label, s, given.steps), label) for s in range(given.seeds)
            ]
            right[label, text] = np.mean(runs, axis=0)
        print(
            f"without {name}: class {right[label, 'class'].mean():.3f} sample {right[label, 'sample'].mean():.3f}"
        )
    random = np.random.default_rng(0)
    gains = []
    for _ in range(2000):
        drawn = [
            random.integers(0, len(right[c, "class"]), len(right[c, "class"])) for c in range(len(CLASSES))
        ]
        gains.append(
            np.mean([(right[c, "sample"] - right[c, "class"])[rows].mean() for c, rows in enumerate(drawn)])
        )
    low, high = np.percentile(gains, [2.5, 97.5])
    print(f"sample minus class: {np.mean(gains):+.3f} (95 % interval {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
