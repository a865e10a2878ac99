"""The bundled model, step by step: `python -m emoclip.training.mini STEP --root FACES --out RUN`.

Steps in order (each resumes where it was cut off, and `all` runs them in turn):
captions   descriptions, class captions and their sentence vectors        -> captions.safetensors
images     the image tower: people's votes, descriptions and geometry     -> images/
sturdy     the same tower, on crops as bad as videos make them            -> sturdy/
distil     again, towards its own readings and those of a second tower    -> distil/
tiny       from there, on crops of 14 to 19 pixels alone                  -> tiny/
dim        from there, on dark crops alone                                -> dim/
worn       from distil, towards what those two and itself read, each its own kind of crop -> worn/
text       the small text tower, distilled over dictionary text           -> text/
clips      the temporal part, on pseudo-clips                             -> clips/
package    calibration on unseen crops, ONNX graphs, config               -> package/
Beside them, not part of `all`, for the label-free variant and the card's ablations:
geometry   a smaller tower learns face-mesh geometry alone, no labels     -> geometry/
and, after `package`, or from another package:
again      its image tower, trained on with its words as they are         -> again/, again/package/
Nothing here reads the val split.  A GPU is used where there is one, but by `again`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from emoclip.errors import InputError
from emoclip.files import write_text
from emoclip.model import Runtime, unit
from emoclip.model import package as packages
from emoclip.training.export.packing import unpacked
from emoclip.training.mini.again import class_rows, lift, look, pixels_of, train_again
from emoclip.training.mini.batches import Captions, ImageRecipe
from emoclip.training.mini.captions import make_captions, read_captions
from emoclip.training.mini.clips import ClipModel, FrameBank, PseudoClipRecipe, frame_bank, train_clips
from emoclip.training.mini.command import FaceRun, check_same, run_steps
from emoclip.training.mini.faces import held_out
from emoclip.training.mini.fitting import (
    Fitted,
    fit_intensity,
    fit_scale,
    fit_text_head,
    lifted,
    rejection_threshold,
    small_sentences,
)
from emoclip.training.mini.images import DEVICE, ImageModel, Teachers, on_the_way, read_model, train_images
from emoclip.training.mini.pack import FittedTowers, write_again, write_package
from emoclip.training.mini.sentences import SentenceEncoder
from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT, class_captions, lexicon
from emoclip.training.mini.votes import Votes, read_leaks, read_votes
from emoclip.training.mini.words import (
    TextRecipe,
    dictionary_texts,
    distil_text,
    feeling_texts,
    packed_tower,
    small_tokenizer,
    start_tower,
)
from emoclip.training.nets.compact import BothWays, TextTower
from emoclip.training.nets.state import load_weights, save_weights
from emoclip.training.nets.tokenizer import token_ids
from emoclip.training.tables import Count, Share, Within

STEPS = ("captions", "images", "sturdy", "distil", "tiny", "dim", "worn", "text", "clips", "package")


@dataclass(frozen=True)
class MiniRecipe:
    """All steps of the bundled model."""

    held_out: Share = 0.1  # share of train that the step geometry does not see
    unseen: Share = 0.04  # share of train that no step sees, among those: for selection and calibration
    descriptions_per_crop: Count = 1
    threads: Count = 2
    way: Share = 1.0  # how far from the weights of distil to those of worn
    rare: Share = 0.06  # classes with a smaller share of votes are said as if they had this one; 0 lifts none
    bank_crops: Count = 9000  # crops whose frame embeddings pseudo-clips are made of
    geometry: ImageRecipe = field(default_factory=ImageRecipe)
    images: ImageRecipe = field(default_factory=ImageRecipe)
    sturdy: ImageRecipe = field(default_factory=ImageRecipe)  # its tower is that of `images`
    distil: ImageRecipe = field(default_factory=ImageRecipe)  # so is this one's, and that of the next three
    tiny: ImageRecipe = field(default_factory=ImageRecipe)
    dim: ImageRecipe = field(default_factory=ImageRecipe)
    worn: ImageRecipe = field(default_factory=ImageRecipe)
    text: TextRecipe = field(default_factory=TextRecipe)
    clips: PseudoClipRecipe = field(default_factory=PseudoClipRecipe)
    again: ImageRecipe = field(default_factory=ImageRecipe)
    again_runs: Count = 1  # with seeds one after the other; their weights are averaged
    again_stop: Annotated[int, Within(0, 10**9)] = 0  # over 0: after so many epochs each ends
    again_way: Share = 1.0  # how far from the weights of the package to those of again
    again_lift: Share = 0.0  # share of how rare a class is in the votes that is given back to it


class MiniRun(FaceRun):
    """One run's votes and steps."""

    name, kind, steps, beside = "mini", MiniRecipe, STEPS, ("geometry", "again")
    paths: ClassVar = {
        "encoder": {"help": "folder of all-mpnet-base-v2; that of the pip packages by default"},
        "layers": {"help": "folder of all-MiniLM-L6-v2; that of the pip package by default"},
        "teacher": {"help": "folder of a run up to sturdy, with another recipe: its tower teaches too"},
        "text_from": {"help": "a package whose text tower is taken over"},
        "again_from": {"help": "the package that `again` goes on from; that of this run by default"},
    }

    def __init__(
        self,
        recipe: MiniRecipe,
        root: Path,
        out: Path,
        encoder: Path | None = None,
        layers: Path | None = None,
        teacher: Path | None = None,
        text_from: Path | None = None,
        again_from: Path | None = None,
    ) -> None:
        super().__init__(root, out, recipe.threads)
        self.recipe, self.teacher, self.text_from = recipe, teacher, text_from
        self.encoder, self.layers, self.again_from = encoder, layers, again_from
        self.votes = read_votes(root, self.faces.paths)
        check_same(out / "votes.sha256", self.votes.counts.tobytes())
        leaks = read_leaks(root)
        check_same(out / "leaks.sha256", json.dumps(sorted(leaks)).encode())
        usable = self.usable & np.array([path not in leaks for path in self.faces.paths])
        seen_as = self.votes.shares.argmax(1)
        self.held = held_out(seen_as, self.groups, recipe.held_out) & usable
        self.unseen = held_out(seen_as, self.groups, recipe.unseen) & self.held & self.votes.told
        self.train, self.most = usable & ~self.held, usable & self.votes.told & ~self.unseen

    def folder(self, name: str) -> Path:
        """Return the folder of a step's results, made if need be."""
        (self.out / name).mkdir(exist_ok=True)
        return self.out / name

    def captions(self) -> None:
        """Describe every crop and embed all captions."""
        target = self.out / "captions.safetensors"
        if not target.is_file():
            encoder = SentenceEncoder(self.encoder, self.out)
            make_captions(self.faces, self.votes, encoder, target, self.recipe.descriptions_per_crop)

    def geometry(self) -> None:
        """Train an image tower on face-mesh geometry alone."""
        self._train_images("geometry", self.recipe.geometry, self.train, self.held, words=False)

    def images(self) -> None:
        """Train the image tower on what people said, in class sentences and descriptions."""
        self._train_images("images", self.recipe.images, self.most, self.unseen)

    def sturdy(self) -> None:
        """Go on from there on crops that are changed more; what the tower made of them before is kept."""
        recipe = replace(self.recipe.sturdy, tower=self.recipe.images.tower)
        first = self.out / "images" / "model.safetensors"
        self._train_images("sturdy", recipe, self.most, self.unseen, initial=first)

    def distil(self) -> None:
        """Go on from there towards what this run's tower and a teacher's, on average, read in the same crops."""
        recipe = replace(self.recipe.distil, tower=self.recipe.images.tower)
        teachers = [read_model(run / "sturdy") for run in (self.out, self.teacher) if run]
        weights = [(self.teacher / "sturdy" / "model.safetensors").read_bytes()] if self.teacher else []
        check_same(self.out / "teacher.sha256", *weights)
        first = self.out / "sturdy" / "model.safetensors"
        self._train_images("distil", recipe, self.most, self.unseen, initial=first, teachers=[teachers])

    def tiny(self) -> None:
        """Go on from there on tiny crops alone: a specialist, which reads others worse."""
        self._go_on("tiny", self.recipe.tiny)

    def dim(self) -> None:
        """Go on from there on dark crops alone: a specialist, too."""
        self._go_on("dim", self.recipe.dim)

    def worn(self) -> None:
        """Go on from `distil` towards what it and the specialists read, each in its own kind of crop."""
        teachers = [[read_model(self.out / name)] for name in ("distil", "tiny", "dim")]
        self._go_on("worn", self.recipe.worn, teachers)

    def _go_on(self, name: str, recipe: ImageRecipe, teachers: Teachers = ()) -> None:
        recipe = replace(recipe, tower=self.recipe.images.tower)
        first = self.out / "distil" / "model.safetensors"
        self._train_images(name, recipe, self.most, self.unseen, initial=first, teachers=teachers)

    def _train_images(
        self,
        name: str,
        recipe: ImageRecipe,
        train: NDArray[np.bool_],
        held: NDArray[np.bool_],
        words: bool = True,
        initial: Path | None = None,
        teachers: Teachers = (),
    ) -> None:
        seen, unseen = ((self.faces.take(rows), self.votes.take(rows)) for rows in (train, held))
        captions = read_captions(self.out / "captions.safetensors", train, DEVICE) if words else None
        train_images(recipe, *seen, unseen, captions, self.folder(name), initial, teachers)

    def _captions(self, keep: NDArray[np.bool_]) -> Captions:
        return read_captions(self.out / "captions.safetensors", keep)

    def text(self) -> None:
        """Distil the text tower: over dictionary text and, twice as often, words of feelings.

        With `text_from` it is an earlier package's: what it knows of words does not depend on faces.
        """
        recipe, folder = self.recipe.text, self.folder("text")
        if self.text_from is not None:
            shutil.copyfile(self.text_from / "tokenizer.json", folder / "tokenizer.json")
            save_weights(folder / "text.safetensors", packed_tower(self.text_from, recipe).state_dict())
            return
        texts, feelings = self._texts(), feeling_texts()
        sentences, felt = self._encoded("sentences", texts), self._encoded("feelings", feelings)
        tokenizer, kept = small_tokenizer(texts + feelings, recipe, self.layers)
        write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=False), force=True)
        distil_text(
            recipe,
            start_tower(kept, recipe, self.layers),
            tokenizer,
            texts + 2 * feelings,
            torch.cat([sentences, felt, felt]),
            folder,
        )

    def _texts(self) -> list[str]:
        path = self.folder("text") / "texts.json"
        if not path.is_file():
            path.write_text(json.dumps(dictionary_texts(self.faces, self.recipe.text)), encoding="utf-8")
        texts: list[str] = json.loads(path.read_text(encoding="utf-8"))
        return texts

    def _encoded(self, name: str, texts: list[str]) -> Tensor:
        """Return the encoder's vectors of the texts, kept under this name for the next time."""
        path = self.folder("text") / f"{name}.safetensors"
        if not path.is_file():
            sentences = SentenceEncoder(self.encoder, self.out).encode(texts)
            save_weights(path, {"sentences": sentences.half()})
        return _of(texts, load_weights(path)["sentences"], path)

    def image_model(self) -> ImageModel:
        """Return the trained image model, `recipe.way` from what `distil` left to what `worn` made of it."""
        return on_the_way(read_model(self.out / "distil"), read_model(self.out / "worn"), self.recipe.way)

    def text_tower(self, model: ImageModel, faces: Tensor) -> tuple[TextTower, Tokenizer]:
        """Return the distilled text tower with a head into the image model's joint space.

        faces: (M, D) unit clip embeddings, towards which the sentences of rare classes are lifted.
        """
        folder = self.out / "text"
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tower = self.recipe.text.tower(tokenizer.get_vocab_size())
        tower.load_state_dict(load_weights(folder / "text.safetensors"))
        texts = feeling_texts()
        banks = self._captions(np.zeros(len(self.faces.labels), bool)).classes
        names = lexicon().words

        def read(sentences: list[str]) -> Tensor:
            return small_sentences(tower, token_ids(tokenizer, sentences))

        words = []
        for name, bank in zip(CLASSES_WITH_CONTEMPT, banks, strict=True):
            with torch.no_grad():
                wanted = F.normalize(model.text_head(bank), dim=-1)
            said = class_captions(name, names[name])
            words.append((_of(said, wanted, self.out / "captions.safetensors"), read(said)))
        share = torch.from_numpy(self.votes.raw[self.most].mean(axis=0))
        with torch.no_grad():
            amounts = (self.recipe.rare / share.clamp(min=1e-3)).clamp(min=1).log() / model.class_scale()
            sentences = torch.stack([wanted[0] for wanted, _ in words])

        def lift(wanted: Tensor) -> Tensor:
            return lifted(wanted, sentences, amounts, faces)

        feelings, small = self._encoded("feelings", texts).float(), folder / "small.safetensors"
        if not small.is_file():
            save_weights(small, {"sentences": read(texts)})
        tower.head = fit_text_head(
            model.text_head, feelings, _of(texts, load_weights(small)["sentences"], small), words, lift
        )
        return tower.eval(), tokenizer

    def bank(self, model: ImageModel, keep: NDArray[np.bool_], limit: int, seed: int = 0) -> FrameBank:
        """Return frame embeddings of up to `limit` of the kept crops."""
        rows = np.nonzero(keep)[0]
        rows = np.random.default_rng(seed).permutation(rows)[:limit]
        images, shares = torch.from_numpy(self.faces.images[rows]), torch.from_numpy(self.votes.shares[rows])
        return frame_bank(model.tower, images, shares, self.recipe.clips.views, seed)

    def clips(self) -> None:
        """Train the temporal part on frames of the finished image tower."""
        model = self.image_model()
        bank = self.bank(model, self.most, self.recipe.bank_crops)
        train_clips(
            self.recipe.clips,
            bank,
            self._class_text(model),
            float(model.class_scale().detach()),
            self.folder("clips"),
        )

    def _class_text(self, model: ImageModel) -> Tensor:
        banks = self._captions(np.zeros(len(self.faces.labels), bool)).classes
        with torch.no_grad():
            return F.normalize(model.text_head(torch.stack([bank[0] for bank in banks])), dim=-1)

    def temporal(self) -> ClipModel:
        """Return the trained temporal part."""
        model = ClipModel(self.recipe.images.tower.width, self.recipe.clips.depth)
        model.load_state_dict(load_weights(self.out / "clips" / "temporal.safetensors"))
        return model.eval()

    @torch.no_grad()
    def package(self) -> None:
        """Calibrate on crops that no step has seen and write the package."""
        model, temporal = self.image_model(), self.temporal()
        unseen, votes = self.faces.take(self.unseen), self.votes.take(self.unseen)
        pixels = torch.from_numpy(unseen.images)[:, None].float() / 255
        look = BothWays(model.tower)
        clips = temporal(torch.cat([look(batch) for batch in pixels.split(256)])[:, None])
        clips = F.normalize(clips, dim=-1)
        with torch.enable_grad():
            tower, tokenizer = self.text_tower(model, clips)
        clips = clips.numpy()
        sentences = [class_captions(name, [])[0] for name in CLASSES_WITH_CONTEMPT]
        text = F.normalize(tower(token_ids(tokenizer, sentences)), dim=-1)
        fitted = _fitted(clips, text.numpy(), votes)
        write_package(
            self.out / "package",
            FittedTowers(model.tower, temporal, tower, tokenizer),
            fitted,
            pixels.numpy(),
        )

    def again(self) -> None:
        """Train a package's image tower on, and write the package anew with it."""
        package = packages.read(self.again_from or self.out / "package")
        runtime, graph = Runtime(package, threads=self.recipe.threads), package.path / "image.onnx"
        check_same(self.folder("again") / "package.sha256", graph.read_bytes())
        seen, unseen = ((self.faces.take(rows), self.votes.take(rows)) for rows in (self.most, self.unseen))
        ended = []
        for run in range(self.recipe.again_runs):
            tower, recipe = unpacked(graph, self.recipe.images.tower), self.recipe.again
            folder = self.folder(f"again/{run}")
            recipe = replace(recipe, seed=recipe.seed + run)
            train_again(recipe, runtime, tower, seen, unseen, folder, self.recipe.again_stop)
            ended.append(load_weights(folder / "tower.safetensors"))
        tower = unpacked(graph, self.recipe.images.tower)
        begun, way = tower.state_dict(), self.recipe.again_way
        tower.load_state_dict(
            {name: begun[name].lerp(sum(one[name] for one in ended) / len(ended), way) for name in begun}
        )
        lift(tower, runtime, seen[1], look(tower.eval(), unseen[0]), self.recipe.again_lift)
        clips = unit(runtime.temporal(look(tower.eval(), unseen[0]).numpy()[:, None]))
        fitted = _fitted(clips, class_rows(runtime), unseen[1])
        write_again(self.out / "again" / "package", package, tower, fitted, pixels_of(unseen[0]))


def _fitted(clips: NDArray[np.float32], text: NDArray[np.float32], votes: Votes) -> Fitted:
    """Read off held-out crops, (N, D) unit clips, what a package says of its classes, (8, D) unit rows."""
    cosines = clips @ text.T
    resting = votes.majority & (votes.shares.argmax(1) == CLASSES_WITH_CONTEMPT.index("neutral"))
    return Fitted(
        scale=fit_scale(cosines, votes.raw),
        threshold=rejection_threshold(cosines),
        intensity=fit_intensity(cosines, votes.raw),
        resting=clips[resting].mean(axis=0),
        held=len(cosines),
    )


def _of(texts: list[str], vectors: Tensor, path: Path) -> Tensor:
    """Return vectors that were kept, if they are of so many texts: templates and words change between versions."""
    if len(vectors) != len(texts):
        raise InputError(
            f"{path}: was made of other texts; delete it, and the step that made it does so again"
        )
    return vectors


def main(arguments: list[str] | None = None) -> int:
    """Run one step, or all."""
    return run_steps(MiniRun, __doc__, arguments)
