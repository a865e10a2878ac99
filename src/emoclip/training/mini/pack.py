"""Write the bundled model's package: graphs, tokenizer, config; checked against torch before it counts."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from emoclip.errors import PackageError
from emoclip.files import write_text
from emoclip.model import CARD, Description, Package, PixelSpec, new_package, seal
from emoclip.model import package as packages
from emoclip.training.export.exact import ExactGraph
from emoclip.training.export.export import card
from emoclip.training.export.graphs import save_graph
from emoclip.training.export.packing import folded, quantise_image, store_fp16, store_int8
from emoclip.training.mini.fitting import Fitted
from emoclip.training.nets.compact import BothWays, ImageTower, TextTower
from emoclip.training.nets.tokenizer import token_ids

# Least cosine of a packed tower to its torch original.
AGREEMENT = {"image": 0.98, "temporal": 0.999, "text": 0.99}
KEEP = 0.95  # share of held-out faces that the rejection threshold lets pass
# As FER-2013's crops lie, 8 % tighter: chosen by benchmarks/geometry.py on train; see the card.
PIXELS = PixelSpec(48, "grey", (0.0,), (1.0,), "bilinear-antialias", margin=-0.04, geometry="five_point")
DESCRIPTION = Description(
    name="mini",
    licence="Apache-2.0 for our part; trained on web pictures whose rights are unresolved, see README.md",
    source="python -m emoclip.training.mini",
    training_data="FER-2013 train split: grey 48-pixel web faces, votes of ten people for each (FER+), sentences made "
    "from the votes, class sentences, our lexicon; words from all-mpnet-base-v2 and all-MiniLM-L6-v2 (Apache-2.0) over "
    "WordNet",
    pixels=PIXELS,
    sample_fps=8.0,
)


@dataclass(frozen=True)
class FittedTowers:
    """What goes into the package."""

    image: ImageTower
    temporal: nn.Module
    text: TextTower
    tokenizer: Tokenizer


def write_package(
    folder: Path, towers: FittedTowers, fitted: Fitted, crops: NDArray[np.float32]
) -> dict[str, float]:
    """Write a package folder, in place of one that is there, and return the least cosine per tower to torch.

    The same towers, figures and crops make the same bytes on every machine.
    fitted: what was read off held-out crops.
    crops: (N, 1, 48, 48), N at least 16, real crops in [0, 1], which the 8-bit image tower is calibrated and checked
    on.
    Raises PackageError if a packed tower strays from its original; the package before stays.
    """
    clips = min(len(crops), 256) // 16
    pixels = torch.from_numpy(crops[-16 * clips :])
    tokens = token_ids(towers.tokenizer, ["a happy face", "about to cry", "furious"])
    with torch.no_grad():
        frames = BothWays(towers.image.eval())(pixels).reshape(clips, 16, -1)
    with new_package(folder, force=True) as part:
        save_graph(BothWays(folded(towers.image)), pixels[:2], part / "image.onnx", {0: (1, None)}, "fp32")
        quantise_image(part / "image.onnx", crops[:512])
        save_graph(towers.temporal, frames, part / "temporal.onnx", {0: (1, None), 1: (1, 1023)}, "fp32")
        store_int8(part / "temporal.onnx")
        store_fp16(part / "temporal.onnx")  # the table of positions
        # Of any length up to the longest: short sentences, as most labels are, then cost a fifth.
        lengths = {0: (1, None), 1: (1, towers.text.config.length)}
        save_graph(towers.text, tokens, part / "text.onnx", lengths, "fp32")
        store_int8(part / "text.onnx")
        for stray in part.glob("*.data"):  # large weights lay outside the graph before they were packed
            stray.unlink()
        write_text(part / "tokenizer.json", towers.tokenizer.to_str(pretty=False))
        figures = {
            "image": _cosine(part / "image.onnx", "pixels", pixels, BothWays(towers.image)),
            "temporal": _cosine(part / "temporal.onnx", "frames", frames, towers.temporal),
            "text": _cosine(part / "text.onnx", "tokens", tokens, towers.text),
        }
        for name, cosine in figures.items():
            if not cosine >= AGREEMENT[name]:
                raise PackageError(
                    f"{folder}: the packed {name} tower differs from torch (cosine {cosine:.4f})"
                )
        config = DESCRIPTION.config(
            width=int(frames.shape[-1]),
            temporal="transformer",
            precision="int8",
            **_said(fitted),
            quantisation={
                "greatest_weight": packages.GREATEST_WEIGHT,
                "least_cosine_to_fp32": {name: round(value, 5) for name, value in figures.items()},
            },
        )
        seal(part, config, card(DESCRIPTION, config))
    return figures


def write_again(
    folder: Path, package: Package, image: ImageTower, fitted: Fitted, crops: NDArray[np.float32]
) -> float:
    """Write a package with another image tower, all else as it was, and return that tower's least cosine to torch.

    The logit scale stays too: fitted to the classes that it was trained towards, it would flatten all other words.
    image: with its batch norms folded.  The rest as `write_package`.
    """
    pixels = torch.from_numpy(crops[-256:])
    with new_package(folder, force=True) as part:
        for name in package.config["files"].keys() - {"image.onnx", CARD}:
            shutil.copyfile(package.checked(name), part / name)
        if (package.path / CARD).is_file():
            shutil.copyfile(package.path / CARD, part / CARD)
        save_graph(BothWays(image.eval()), pixels[:2], part / "image.onnx", {0: (1, None)}, "fp32")
        quantise_image(part / "image.onnx", crops[:512])
        cosine = _cosine(part / "image.onnx", "pixels", pixels, BothWays(image))
        if not cosine >= AGREEMENT["image"]:
            raise PackageError(f"{folder}: the packed image tower differs from torch (cosine {cosine:.4f})")
        about = package.config["quantisation"]
        cosines = {**about["least_cosine_to_fp32"], "image": round(cosine, 5)}
        said = {**_said(fitted), "logit_scale": package.config["logit_scale"]}
        seal(part, {**package.config, **said, "quantisation": {**about, "least_cosine_to_fp32": cosines}})
    return cosine


def _said(fitted: Fitted) -> dict[str, Any]:
    """Return what config.json says of what was fitted."""
    return {
        "logit_scale": round(fitted.scale, 4),
        "rejection": rejection(fitted.threshold),
        "intensity": {"slope": round(fitted.intensity[0], 4), "offset": round(fitted.intensity[1], 4)},
        "resting": [round(float(number), 4) for number in fitted.resting],
        "calibration": {"held_out_crops": fitted.held},
    }


def rejection(threshold: float) -> dict[str, object]:
    """Return what config.json says of a rejection threshold."""
    return {"score": "greatest cosine to a label", "threshold": round(threshold, 4), "keeps": KEEP}


def _cosine(path: Path, name: str, given: Tensor, original: nn.Module) -> float:
    """Return the least cosine of a graph to torch: as computed exactly, or by this machine's engine if that strays."""
    original = copy.deepcopy(original).eval()
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        by_engine = _least(session.run(None, {name: given.numpy()})[0], original(given).numpy())
        if not by_engine >= AGREEMENT[path.stem]:
            return by_engine
        exact = original.double()(given.double() if given.is_floating_point() else given).numpy()
    return _least(ExactGraph(onnx.load(path))(given.numpy())["embedding"], exact)


def _least(found: NDArray[np.floating[Any]], expected: NDArray[np.floating[Any]]) -> float:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())
