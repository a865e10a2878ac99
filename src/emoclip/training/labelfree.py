"""The label-free variant: `python -m emoclip.training.labelfree STEP --root FACES --run RUN --out OUT`.

It learns from descriptions of facial actions alone: no label, no emotion word, no pretrained text encoder.  RUN is a
folder of `python -m emoclip.training.mini` after the step geometry, whose tower sees face-mesh measures only.
Steps in order (`all` runs them in turn; the first three keep what is there already):
actions    what every crop's face does, by mesh points and skin       -> actions.safetensors
features   what the geometry tower sees in every crop and its mirror  -> features.safetensors
towers     a head on these features and a text tower, contrastive     -> towers.safetensors
prompts    choose among the sentences written for every class         -> prompts.yaml
package    ONNX graphs, tokenizer, config, card                       -> package/
Nothing here reads the val split.  Labels are read by the last two steps only, those of the held-out tenth of train:
to choose sentences, and to fit the logit scale and threshold, which change no prediction.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from emoclip import metrics
from emoclip.files import atomic_path, write_text
from emoclip.model import Description, new_package, seal
from emoclip.training.export.export import card
from emoclip.training.export.graphs import save_graph
from emoclip.training.mini.actions import PHRASES, actions, readings, say
from emoclip.training.mini.command import FaceRun, check_same, run_steps
from emoclip.training.mini.faces import CLASSES, held_out
from emoclip.training.mini.fitting import fit_scale, rejection_threshold
from emoclip.training.mini.images import ImageModel, read_model
from emoclip.training.mini.pack import PIXELS, rejection
from emoclip.training.nets.compact import BothWays
from emoclip.training.nets.losses import LogitScale, contrastive_loss
from emoclip.training.nets.state import load_weights, save_weights
from emoclip.training.nets.tokenizer import token_ids, whole_words
from emoclip.training.recipe import SHIPPED
from emoclip.training.resume import Trained
from emoclip.training.stepping import Plan, falling, take_steps
from emoclip.training.tables import Count, Decay, Rate, Seed, Share

STEPS = ("actions", "features", "towers", "prompts", "package")
WIDTH, LENGTH, PAD, UNKNOWN = 64, 48, 0, 1
POOL = SHIPPED / "mini" / "labelfree.yaml"
DESCRIPTION = Description(
    name="labelfree",
    licence="Apache-2.0; the training images are a research data set of web images",
    source="python -m emoclip.training.labelfree",
    training_data="FER-2013 train split without its labels: grey 48-pixel web faces and descriptions of facial actions "
    "made from face-mesh points and skin texture",
    pixels=PIXELS,
    sample_fps=8.0,
)
CARD = """## How well it does

On the {count} held-out crops of train, which neither the head nor the text tower learned from:

| sentences | WAR | UAR |
|---|---|---|
{rows}

The sentences in `prompts.yaml` were chosen by the labels of these very crops, so the figures of the chosen ones are
flattered. The val split was not looked at.

## What to know before use

- It is an ablation that shows how far descriptions of facial actions carry alone, no replacement for `mini`.
- It understands the words of its own descriptions only; any other ("happy", "smile") adds nothing. Give it the
  sentences beside this card: `--prompts prompts.yaml`.
- Labels came in all the same, though not in training: they chose the sentences, and the pool that these are from was
  written with an eye on what faces of each class measure; the strength of the map between faces and texts was fixed on
  held-out crops, and logit scale and rejection threshold are fitted there.
- Rare classes say little: {rarest} has {fewest} of the held-out crops. In the documented run fear was
  practically not found.
- Its training images are web pictures whose rights are unresolved.

How it is made, with figures on val of the documented run: `docs/label-free.md` of the project."""


@dataclass(frozen=True)
class LabelFreeRecipe:
    """One run: less than four minutes of one core, after the geometry tower."""

    steps: Count = 1200
    batch: Count = 512
    sentences: Count = 4  # per crop
    learning_rate: Rate = 2e-3
    weight_decay: Decay = 0.02
    dropout: Share = 0.3
    whitening: Share = 0.5  # 0 leaves the joint space as it is, 1 makes faces vary alike along all of it
    held_out: Share = 0.1
    threads: Count = 1
    seed: Seed = 0


class SentenceTower(nn.Module):
    """Word ids (N, L) -> embeddings (N, 64): word vectors, each aware of its neighbours, summed and mapped.

    A word that no description holds adds nothing.
    """

    def __init__(self, vocabulary: int, width: int = WIDTH, hidden: int = 64) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, hidden)
        self.near = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.linear = nn.Linear(hidden, width)
        self.up, self.down = nn.Linear(hidden, 256), nn.Linear(256, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (N, L) int64 -> embeddings (N, width), not normalised."""
        known = (tokens > UNKNOWN).float()[:, :, None]
        words = self.words(tokens) * known
        words = (words + F.gelu(self.near(words.transpose(1, 2)).transpose(1, 2))) * known
        pooled = words.sum(1) / known.sum(1).clamp(min=1.0).sqrt()
        embedding: Tensor = self.linear(pooled) + self.down(F.gelu(self.up(pooled)))
        return embedding


class GeometryFeatures(nn.Module):
    """The frozen tower of mini's step geometry: crops (N, 1, 48, 48) -> pooled maps, measures and points (N, F)."""

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Crops in [0, 1] -> features (N, F)."""
        maps = self.model.tower.feature_map(pixels)
        measures, points = self.model.geometry(maps)
        return torch.cat([maps.mean(dim=(2, 3)), measures, points.flatten(1)], dim=1)


class ActionHead(nn.Module):
    """Features (N, F), brought to zero mean and unit spread, -> embeddings (N, 64)."""

    def __init__(self, inputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.map = nn.Sequential(
            nn.Linear(inputs, 256), nn.GELU(), nn.Dropout(dropout), nn.Linear(256, WIDTH)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return embeddings, not normalised."""
        embedding: Tensor = self.map((features - self.get_buffer("mean")) / self.get_buffer("spread"))
        return embedding


class Mapped(nn.Module):
    """A tower whose embeddings (N, D) are centred and mapped linearly; with `unit`, made unit length before."""

    def __init__(self, tower: nn.Module, unit: bool, centre: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.tower, self.unit = tower, unit
        self.register_buffer("centre", centre)
        self.register_buffer("matrix", matrix)

    def forward(self, given: Tensor) -> Tensor:
        """What the tower takes -> (N, D)."""
        embedding = self.tower(given)
        if self.unit:
            embedding = F.normalize(embedding, dim=-1)
        mapped: Tensor = (embedding - self.get_buffer("centre")) @ self.get_buffer("matrix")
        return mapped


def word_tokenizer() -> Tokenizer:
    """Return a tokenizer over the words of all phrases; any other word is [UNK]."""
    said = " ".join(phrase for phrases in PHRASES.values() for phrase in phrases)
    return whole_words(set(re.findall(r"[a-z]+", said)) - {"a", "an", "the", "and", "of"}, LENGTH)


def whitening(embeddings: Tensor, power: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the centre (D,) of embeddings (N, D) and the matrices (D, D) for images and for texts.

    Products of an image and a text stay what they were but for the centre; a text's length becomes, at power 1, how
    much faces vary along it, so that cosines compare texts by how far a face stands out.
    """
    centre = embeddings.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(embeddings.T).double())
    values = (values / values.max()).clamp(min=1e-4)
    image = vectors @ torch.diag(values ** (-power / 2)) @ vectors.T
    return centre, image.float(), torch.linalg.inv(image).float()


def choose_sentences(
    images: Tensor, texts: Mapping[str, Tensor], labels: NDArray[np.int64], most: int = 6
) -> dict[str, list[int]]:
    """Choose among each class's sentences, adding or dropping one at a time while classes become likelier.

    images: (N, D) unit rows; texts: per class, in the labels' order, (S, D) unit rows; a class is the mean of its
    chosen rows.  What grows is the mean probability of the right class, over crops plus over classes: unlike a count
    of right answers it does not leap with single crops.
    """
    names = list(texts)
    chosen = {name: [0] for name in names}

    def column(name: str, rows: list[int]) -> Tensor:
        return images @ F.normalize(texts[name][rows].mean(0), dim=0)

    def fit(columns: list[Tensor]) -> float:
        cosines = torch.stack(columns, dim=1)
        right = (3.2 * cosines / cosines.std()).softmax(1)[
            torch.arange(len(labels)), torch.from_numpy(labels)
        ]
        classes = [right[torch.from_numpy(labels == label)].mean() for label in np.unique(labels)]
        return float(right.mean() + torch.stack(classes).mean())

    columns = [column(name, chosen[name]) for name in names]
    best, grew = fit(columns), True
    while grew:
        grew = False
        for at, name in enumerate(names):
            trials = []
            for row in range(len(texts[name])):
                rows = sorted(set(chosen[name]) ^ {row})
                if 0 < len(rows) <= most:
                    trials.append((fit([*columns[:at], column(name, rows), *columns[at + 1 :]]), rows))
            value, rows = max(trials)
            if value > best + 5e-4:
                best, grew, chosen[name], columns[at] = value, True, rows, column(name, rows)
    return chosen


class LabelFreeRun(FaceRun):
    """One run's steps."""

    name, kind, steps = "labelfree", LabelFreeRecipe, STEPS
    paths: ClassVar = {"run": {"required": True, "help": "folder of a mini run after its step geometry"}}

    def __init__(self, recipe: LabelFreeRecipe, root: Path, run: Path, out: Path) -> None:
        super().__init__(root, out, recipe.threads)
        self.recipe, self.run = recipe, run
        self.held = held_out(self.faces.labels, self.groups, recipe.held_out) & self.usable
        self.train = self.usable & ~self.held & np.isfinite(self.faces.points).all(axis=(1, 2))
        self.tokenizer = word_tokenizer()

    def actions(self) -> None:
        """Read what the faces of the training part do."""
        if not (self.out / "actions.safetensors").is_file():
            found = actions(readings(self.faces.images[self.train], self.faces.points[self.train]))
            save_weights(self.out / "actions.safetensors", {"actions": torch.from_numpy(found)})

    def _geometry(self) -> GeometryFeatures:
        model = read_model(self.run / "geometry")
        check_same(self.out / "geometry.sha256", (self.run / "geometry" / "model.safetensors").read_bytes())
        return GeometryFeatures(model).eval()

    @torch.no_grad()
    def features(self) -> None:
        """Keep what the geometry tower sees in every crop of train and in its mirror image."""
        if not (self.out / "features.safetensors").is_file():
            geometry, views = self._geometry(), []
            for batch in torch.from_numpy(self.faces.images)[:, None].split(256):
                pixels = batch.float() / 255
                views.append(torch.stack([geometry(pixels), geometry(pixels.flip(3))], dim=1))
            save_weights(self.out / "features.safetensors", {"features": torch.cat(views)})

    def towers(self) -> None:
        """Train the head and the text tower, two minutes of one core; an earlier result is kept."""
        if (self.out / "towers.safetensors").is_file():
            return
        recipe = self.recipe
        strengths = load_weights(self.out / "actions.safetensors")["actions"].numpy()
        seen = load_weights(self.out / "features.safetensors")["features"][torch.from_numpy(self.train)]
        torch.manual_seed(recipe.seed)
        generator = np.random.default_rng(recipe.seed)
        sentences = [say(row, generator) for row in strengths for _ in range(recipe.sentences)]
        said = token_ids(self.tokenizer, sentences).unflatten(0, (-1, recipe.sentences))
        model = self._untrained(seen.shape[2])
        head, text, scale = model.values()
        head.get_buffer("mean").copy_(seen.mean(dim=(0, 1)))
        head.get_buffer("spread").copy_(seen.std(dim=(0, 1)) + 1e-3)

        def losses(_: object) -> Iterator[Tensor]:
            while True:
                rows = torch.randint(0, len(seen), (recipe.batch,))
                features = seen[rows, torch.randint(0, 2, (recipe.batch,))]
                tokens = said[rows, torch.randint(0, recipe.sentences, (recipe.batch,))]
                tokens = tokens[:, : int((tokens > PAD).sum(1).max())]
                yield contrastive_loss(head(features), text(tokens), scale())

        optimizer = torch.optim.AdamW(
            model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        take_steps(
            Plan(recipe.steps, per_epoch=100, rate=falling(recipe.steps)),
            Trained(model, [optimizer]),
            losses,
            told=lambda now: f"step {now.step}/{recipe.steps}, loss {now.loss:.3f}",
        )
        save_weights(self.out / "towers.safetensors", model.state_dict())

    def _untrained(self, inputs: int) -> nn.ModuleDict:
        text = SentenceTower(self.tokenizer.get_vocab_size())
        head = ActionHead(inputs, self.recipe.dropout)
        return nn.ModuleDict({"head": head, "text": text, "scale": LogitScale()})

    @torch.no_grad()
    def _joint(self) -> tuple[Tensor, nn.Module, nn.Module]:
        """Return unit clip embeddings (N, 64) of all of train, and the image and the text tower behind them."""
        seen = load_weights(self.out / "features.safetensors")["features"]
        model = self._untrained(seen.shape[2]).eval()
        model.load_state_dict(load_weights(self.out / "towers.safetensors"))
        head, text, _ = model.values()
        both = F.normalize(head(seen), dim=-1).mean(1)
        centre, for_images, for_texts = whitening(both[torch.from_numpy(self.train)], self.recipe.whitening)
        images = BothWays(nn.Sequential(self._geometry(), head))
        return (
            F.normalize((both - centre) @ for_images, dim=-1),
            Mapped(images, False, centre, for_images).eval(),
            Mapped(text, True, torch.zeros_like(centre), for_texts).eval(),
        )

    @torch.no_grad()
    def prompts(self) -> None:
        """Choose each class's sentences from the pool by the held-out crops, and say what they reach there."""
        embedded, _, text = self._joint()
        pool = _pool()
        texts = self._said(text, pool)
        images, labels = embedded[torch.from_numpy(self.held)], self.faces.labels[self.held]
        chosen = choose_sentences(images, texts, labels)
        kept = {name: [pool[name][row] for row in chosen[name]] for name in CLASSES}
        with atomic_path(self.out / "prompts.yaml", force=True) as target:
            target.write_text(yaml.safe_dump(kept, sort_keys=False, width=110), encoding="utf-8")
        for what, (war, uar) in self._reached(embedded, text, pool, kept).items():
            print(f"held-out crops, {what}: WAR {war:.3f} UAR {uar:.3f}")

    def _reached(
        self,
        embedded: Tensor,
        text: nn.Module,
        pool: Mapping[str, Sequence[str]],
        chosen: Mapping[str, Sequence[str]],
    ) -> dict[str, tuple[float, float]]:
        """Return WAR and UAR on the held-out crops, by which sentences stand for the classes."""
        images, labels = embedded[torch.from_numpy(self.held)], self.faces.labels[self.held]
        found = {}
        for what, sentences in (("all sentences", pool), ("chosen sentences", chosen)):
            said = (images @ _means(self._said(text, sentences)).T).argmax(1).numpy()
            found[what] = metrics.war(labels, said), metrics.uar(labels, said, len(CLASSES))
        return found

    def _said(self, text: nn.Module, sentences: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
        """Return unit rows (S, 64) of each class's sentences."""
        return {c: F.normalize(text(token_ids(self.tokenizer, sentences[c])), dim=-1) for c in CLASSES}

    @torch.no_grad()
    def package(self) -> None:
        """Fit logit scale and threshold and write the package."""
        embedded, images, text = self._joint()
        prompts = yaml.safe_load((self.out / "prompts.yaml").read_text(encoding="utf-8"))
        rows = _means(self._said(text, prompts))
        cosines = (embedded[torch.from_numpy(self.held)] @ rows.T).numpy()
        shares = np.eye(len(CLASSES), dtype=np.float32)[self.faces.labels[self.held]]
        config = DESCRIPTION.config(
            width=WIDTH,
            logit_scale=round(fit_scale(cosines, shares), 4),
            temporal="mean",
            precision="fp32",
            rejection=rejection(rejection_threshold(cosines)),
        )
        reached = self._reached(embedded, text, _pool(), prompts)
        counts = np.bincount(self.faces.labels[self.held], minlength=len(CLASSES))
        notes = CARD.format(
            count=f"{counts.sum():,}",
            rows="\n".join(f"| {what} | {war:.3f} | {uar:.3f} |" for what, (war, uar) in reached.items()),
            rarest=CLASSES[counts.argmin()],
            fewest=counts.min(),
        )
        pixels = torch.from_numpy(self.faces.images[:2])[:, None].float() / 255
        tokens = token_ids(self.tokenizer, ["raised brows", "a closed mouth"])
        with new_package(self.out / "package", force=True) as part:
            save_graph(images, pixels, part / "image.onnx", {0: (1, None)}, "fp32")
            save_graph(text, tokens, part / "text.onnx", {0: (1, None)}, "fp32")
            write_text(part / "tokenizer.json", self.tokenizer.to_str(pretty=False))
            shutil.copy(self.out / "prompts.yaml", part / "prompts.yaml")
            seal(part, config, card(replace(DESCRIPTION, notes=notes), config))


def _pool() -> dict[str, list[str]]:
    """Return the sentences written for each class."""
    pool: dict[str, list[str]] = yaml.safe_load(POOL.read_text(encoding="utf-8"))["pool"]
    return pool


def _means(texts: Mapping[str, Tensor]) -> Tensor:
    """Return each class's row (K, 64): the unit mean of its sentences (S, 64)."""
    return F.normalize(torch.stack([rows.mean(0) for rows in texts.values()]), dim=-1)


def main(arguments: list[str] | None = None) -> int:
    """Run one step, or all."""
    return run_steps(LabelFreeRun, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
