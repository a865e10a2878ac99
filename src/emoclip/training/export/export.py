"""Towers to a model package: ONNX graphs, tokenizer, card, config; declared good only after a check against torch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from emoclip.characters import markdown
from emoclip.errors import ConfigError, OutputError, PackageError
from emoclip.files import sha256, write_text
from emoclip.model import Description, PixelSpec, Runtime, check_target, new_package, prepare, seal, unit
from emoclip.model import package as packages
from emoclip.training.export.calibration import Calibration
from emoclip.training.export.gate import judge
from emoclip.training.export.graphs import save, save_graph
from emoclip.training.export.quantisation import quantise
from emoclip.training.nets.folding import fold
from emoclip.training.nets.model import VideoTextModel
from emoclip.training.nets.temporal import TemporalTransformer
from emoclip.training.nets.tokenizer import token_ids
from emoclip.training.nets.vision import is_plain, lean

StoredPrecision = Literal["fp32", "fp16", "int8"]
Storage = Literal["fp32", "fp16"]
AGREEMENT = {"fp32": 0.99999, "fp16": 0.999}  # least cosine between runtime and torch
INT8_GRAPH = "image.int8.onnx"
# What graphs hold beside their matrices, as a share of them, and in bytes, with config.json and the card.
_BESIDE_WEIGHTS, _BESIDE = 0.01, 100_000
_SENTENCES = (
    "a face",
    "the brows are drawn together and the lips pressed tight, as if something is about to go wrong.",
)


@dataclass(frozen=True)
class Towers:
    """What a package is made of, as torch modules in evaluation mode on the CPU.

    image: (N, C, S, S) -> (N, D).  temporal: (B, T, D) -> (B, D), None for the mean of unit frame embeddings.
    text: (N, L) int64 -> (N, D).  logit_scale: the multiplier itself, exp already applied.
    longest: frames the temporal part has places for.
    """

    image: nn.Module
    temporal: nn.Module | None
    text: nn.Module
    logit_scale: float
    longest: int = 1023

    @classmethod
    def of(cls, model: VideoTextModel) -> Towers:
        """Take the towers of a video-text model."""
        temporal, visual = model.temporal, cast(nn.Module, model.backbone.visual)
        return cls(
            image=visual if is_plain(visual) else _Method(model, "encode_image"),
            temporal=temporal,
            text=_Method(model, "encode_text"),
            logit_scale=float(model.logit_scale.detach().exp()),
            longest=temporal.config.positions - 1 if temporal else 1023,
        )


def export_package(
    folder: str | Path,
    towers: Towers,
    tokenizer: Tokenizer,
    description: Description,
    *,
    precision: StoredPrecision = "fp32",
    calibration: Calibration | None = None,
    force: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, float]:
    """Write a model package and check it, whole or not at all.

    tokenizer: with padding and truncation set inside.  precision: "fp32" and "fp16" are how weights are stored, their
    arithmetic is fp32; "int8" is fp16 and beside it an image tower that computes in 8 bits, made and judged on the
    face crops of `calibration`.
    progress: called with the share done, 0 to 1.  Returns the least cosine between runtime and torch per tower,
    on random clips and sentences.  Raises OutputError (target exists, disk full), PackageError (the check or the gate
    failed), ConfigError (int8 without calibration, or of a tower that has no 8-bit form).
    """
    if precision not in (*AGREEMENT, "int8"):
        raise ConfigError(f"precision={precision!r} is not one of {', '.join(AGREEMENT)}, int8")
    if precision == "int8" and (calibration is None or not is_plain(towers.image)):
        raise ConfigError(
            "precision='int8' needs calibration: a folder or manifest of face crops"
            if calibration is None
            else "precision='int8' is for CLIP's vision transformers, which this image tower is not; use fp16"
        )
    storage: Storage = "fp32" if precision == "fp32" else "fp16"
    folder = Path(folder)
    check_target(folder, force=force)
    words = tokenizer.to_str(pretty=False)
    _check_room(folder, towers, len(words.encode()), precision)
    examples = _examples(towers, tokenizer, description, seed=0, clips=2, frames=description.frames_per_clip)
    _check_embeddings(towers, examples, description)
    config = partial(
        description.config,
        width=int(examples["frames"].shape[-1]),
        logit_scale=towers.logit_scale,
        temporal="mean" if towers.temporal is None else "transformer",
        precision=storage,
    )
    with new_package(folder, force=force) as part:
        # Shares of the work as they fell on ViT-B/32: tracing and writing each tower, then the checks.
        whole = progress if calibration is None else lambda share: progress(0.4 * share)
        save_graph(lean(towers.image), examples["pixels"], part / "image.onnx", {0: (1, None)}, storage)
        whole(0.45)
        if towers.temporal is not None:
            dynamic = {0: (1, None), 1: (1, towers.longest)}
            temporal = (
                fold(towers.temporal) if isinstance(towers.temporal, TemporalTransformer) else towers.temporal
            )
            save_graph(temporal, examples["frames"], part / "temporal.onnx", dynamic, storage)
        whole(0.55)
        save_graph(towers.text, examples["tokens"], part / "text.onnx", {0: (1, None)}, storage)
        whole(0.85)
        write_text(part / "tokenizer.json", words)
        seal(part, config())
        figures = _check(part, towers, tokenizer, description, storage)
        facts: dict[str, Any] = {"cosine_to_torch": figures}
        whole(0.95)
        if precision == "int8" and calibration is not None:
            facts["quantisation"] = _add_int8(
                part, towers, calibration, description.pixels, lambda share: progress(0.4 + 0.6 * share)
            )
        seal(part, config(**facts), card(description, config(**facts)))
    progress(1.0)
    return figures


class _Method(nn.Module):
    """One tower of an open_clip model as a module of its own."""

    def __init__(self, model: VideoTextModel, method: str) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = getattr(self.backbone, self.method)(x)
        return output


def _check_room(folder: Path, towers: Towers, words: int, precision: StoredPrecision) -> None:
    whole = nn.ModuleList(tower for tower in (towers.image, towers.temporal, towers.text) if tower)
    weights = sum(parameter.numel() for parameter in whole.parameters())
    weights *= {"fp32": 4, "fp16": 2, "int8": 3}[precision]
    need = (1 + _BESIDE_WEIGHTS) * weights + words + _BESIDE
    home = next(parent for parent in folder.absolute().parents if parent.is_dir())
    if (free := shutil.disk_usage(home).free) < need:
        raise OutputError(
            f"{folder}: needs {need / 1e6:.1f} MB, the disk has {free / 1e6:.1f} MB left; make room or export elsewhere"
        )


def _add_int8(
    part: Path,
    towers: Towers,
    calibration: Calibration,
    spec: PixelSpec,
    progress: Callable[[float], None],
) -> dict[str, Any]:
    """Write the 8-bit image tower beside the others, if the gate lets it through.  Returns the figures."""
    measured = torch.from_numpy(prepare(calibration.measured, spec))
    model = quantise(towers.image, measured, lambda share: progress(0.6 * share))
    save(model, part / INT8_GRAPH)
    held = torch.from_numpy(prepare(calibration.held, spec))
    with torch.inference_mode():
        exact = torch.cat([towers.image(crops) for crops in held.split(32)]).numpy()
    progress(0.8)
    about: dict[str, Any] = {
        "form": packages.QUANTISED_FORM,
        "graph": INT8_GRAPH,
        "greatest_weight": packages.GREATEST_WEIGHT,
    }
    # Judged with the kernels that users will meet, which the package's own word decides.
    package = packages.read(part)
    listed = package.config["files"] | {INT8_GRAPH: sha256(part / INT8_GRAPH)}
    package = replace(package, config={**package.config, "quantisation": about, "files": listed})
    found = judge(Runtime(package, precision="fp32"), INT8_GRAPH, held.numpy(), exact)
    return about | {
        "calibration_crops": len(measured),
        "held_back_crops": len(held),
        "engines": {engine: agreement.record() for engine, agreement in found.items()},
    }


def _examples(
    towers: Towers, tokenizer: Tokenizer, description: Description, *, seed: int, clips: int, frames: int
) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    pixels = description.pixels
    images = torch.randn(clips, len(pixels.mean), pixels.size, pixels.size, generator=random)
    with torch.inference_mode():
        embedded = towers.image(images)
    # Frames of one clip are alike: an embedding and small changes of it.
    changes = torch.randn(clips, frames, embedded.shape[-1], generator=random) * embedded.std()
    tokens = token_ids(tokenizer, _SENTENCES)
    return {"pixels": images, "frames": (embedded[:, None] + changes).clone(), "tokens": tokens}


def _check_embeddings(towers: Towers, examples: Mapping[str, Tensor], description: Description) -> None:
    """Raise PackageError, before the work, for a tower whose embeddings have no direction."""
    for name, tower, given in (
        ("image", towers.image, "pixels"),
        ("temporal", towers.temporal, "frames"),
        ("text", towers.text, "tokens"),
    ):
        if tower is None:
            continue
        with torch.inference_mode():
            found = tower(examples[given])
        if not bool(found.isfinite().all()):
            what = "numbers that are infinite or undefined"
        elif not bool(found.norm(dim=-1).all()):
            what = "zeros alone"
        else:
            continue
        raise PackageError(
            f"{description.source}: its {name} tower gives {what} in place of embeddings; take other weights"
        )


def _check(
    part: Path, towers: Towers, tokenizer: Tokenizer, description: Description, storage: Storage
) -> dict[str, float]:
    """Run the written package as users will, on other clips and lengths than it was traced with."""
    runtime = Runtime(packages.read(part), precision="fp32", engine="onnxruntime")
    figures = {}
    examples = _examples(
        towers, tokenizer, description, seed=1, clips=3, frames=max(1, description.frames_per_clip - 3)
    )
    runs: dict[str, tuple[nn.Module | None, str, Callable[[NDArray[Any]], NDArray[np.float32]]]] = {
        "image": (towers.image, "pixels", runtime.image),
        "temporal": (towers.temporal, "frames", runtime.temporal),
        "text": (towers.text, "tokens", lambda _: runtime.text(_SENTENCES)),
    }
    for name, (tower, given, run) in runs.items():
        if tower is None:
            continue
        with torch.inference_mode():
            expected = tower(examples[given]).numpy()
        cosine = float((unit(run(examples[given].numpy())) * unit(expected)).sum(axis=-1).min())
        if not cosine >= AGREEMENT[storage]:  # NaN fails too
            raise PackageError(
                f"{part}: the {name} tower on ONNX Runtime differs from torch (cosine {cosine:.6f}, at least "
                f"{AGREEMENT[storage]} is asked for); nothing was written"
                + (", try --precision fp32" if storage != "fp32" else "")
            )
        figures[name] = round(min(cosine, 1.0), 7)
    return figures


def card(description: Description, config: Mapping[str, Any]) -> str:
    """Return a package's card in Markdown.  config: what its config.json says."""
    kind = "mean of unit frame embeddings" if config["temporal"] == "mean" else "temporal transformer"
    pixels = description.pixels
    cosines = ", ".join(f"{name} {cosine:.6f}" for name, cosine in config.get("cosine_to_torch", {}).items())
    agreement = f"| Cosine to the torch model | {cosines} (least, on random clips and sentences) |\n"
    return f"""# {markdown(description.name)}

A model package for emoclip: `emoclip predict VIDEO --model FOLDER`.

| | |
|---|---|
| Licence | {markdown(description.licence)} |
| Source | {markdown(description.source)} |
| Training data | {markdown(description.training_data)} |
| Input | {pixels.size} x {pixels.size} pixels, {pixels.colour}, {pixels.resize} |
| Clips | {description.frames_per_clip} frames at {description.sample_fps:g} per second, {kind} |
| Embeddings | {config["width"]} numbers, logit scale {config["logit_scale"]:.4g} |
| Weights | stored as {config["precision"]}, computed in fp32 |
{agreement if cosines else ""}{_int8_rows(config)}
{description.notes}

The output says how an expression reads to a viewer, not what a person feels.
"""


def _int8_rows(config: Mapping[str, Any]) -> str:
    """The card's rows on the 8-bit image tower, or nothing."""
    quantisation = config.get("quantisation", {})
    return "".join(
        f"| int8 image tower on {engine} | to fp32 on {quantisation['held_back_crops']} face crops it was not "
        f"calibrated on: centred cosine {figures['centred_cosine']:.4f}, same top label "
        f"{figures['label_agreement']:.1%} |\n"
        for engine, figures in quantisation.get("engines", {}).items()
    )
