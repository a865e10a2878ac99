"""The gate: an 8-bit image tower is packed only if it answers as the fp32 one does, on crops it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoclip.errors import PackageError
from emoclip.model import Runtime, label_vectors, openvino_lack, unit
from emoclip.prompts import PromptSet, label_sets, resolve

LEAST_CENTRED_COSINE = 0.98
LEAST_AGREEMENT = 0.98
Array = NDArray[np.float32]


@dataclass(frozen=True)
class TowerAgreement:
    """How equal two towers are on the same crops.

    cosine, centred_cosine: means over crops; centred is after the mean of the exact embeddings is taken off both,
    since embeddings of faces are so alike that the plain cosine flatters.  labels: share of crops with the same top
    label, per label set.
    """

    cosine: float
    least_cosine: float
    centred_cosine: float
    labels: dict[str, float]

    @property
    def label_agreement(self) -> float:
        """Mean over the label sets, in [0, 1]."""
        return float(np.mean(list(self.labels.values())))

    def record(self) -> dict[str, object]:
        """Return the figures as config.json keeps them."""
        figures = {
            name: round(getattr(self, name), 5) for name in ("cosine", "least_cosine", "centred_cosine")
        }
        labels = {name: round(share, 4) for name, share in self.labels.items()}
        return {**figures, "label_agreement": round(self.label_agreement, 4), "labels": labels}


def compare(runtime: Runtime, exact: Array, other: Array) -> TowerAgreement:
    """Compare frame embeddings (M, D) with exact ones, down to the label each crop would get as a still picture."""
    cosines = (unit(exact) * unit(other)).sum(axis=1)
    centre = exact.mean(axis=0)
    centred = (unit(exact - centre) * unit(other - centre)).sum(axis=1)
    clips = [_stills(runtime, frames) for frames in (exact, other)]
    labels = {}
    for name in label_sets():
        text = _labels(runtime, resolve(name))
        tops = [(clip @ text.T).argmax(axis=1) for clip in clips]
        labels[name] = float((tops[0] == tops[1]).mean())
    return TowerAgreement(float(cosines.mean()), float(cosines.min()), float(centred.mean()), labels)


def judge(runtime: Runtime, graph: str, pixels: Array, exact: Array) -> dict[str, TowerAgreement]:
    """Run an 8-bit graph of a package on held-back crops, on every engine that is installed.

    pixels: (M, C, S, S).  exact: (M, D), the fp32 embeddings.  Returns the figures per engine.
    Raises PackageError with the figures if any is below the thresholds.
    """
    figures = {}
    for engine in ("onnxruntime", *(() if openvino_lack() else ("openvino",))):
        tower = runtime.tower(engine, graph, "int8")  # type: ignore[arg-type]
        found = compare(
            runtime,
            exact,
            np.concatenate([tower(part) for part in np.array_split(pixels, -(-len(pixels) // 32))]),
        )
        # NaN fails too.
        if not (found.centred_cosine >= LEAST_CENTRED_COSINE and found.label_agreement >= LEAST_AGREEMENT):
            raise PackageError(
                f"{runtime.package.name}: int8 strays from fp32 on {engine}: centred cosine {found.centred_cosine:.4f} "
                f"(at least {LEAST_CENTRED_COSINE}), same top label {found.label_agreement:.1%} (at least "
                f"{LEAST_AGREEMENT:.0%}) on {len(pixels)} held-back crops; nothing was written, export as fp16, or "
                "calibrate on crops like those it will see"
            )
        figures[engine] = found
    return figures


def _stills(runtime: Runtime, frames: Array) -> Array:
    """Unit clip embeddings (M, D) of M frames, each shown for a whole clip."""
    length = runtime.package.frames_per_clip
    clips = [
        runtime.temporal(np.repeat(part[:, None], length, axis=1))
        for part in np.array_split(frames, -(-len(frames) // 64))
    ]
    return unit(np.concatenate(clips))


def _labels(runtime: Runtime, prompts: PromptSet) -> Array:
    parts = [prompt.parts for prompt in prompts.prompts]
    sentences = list(dict.fromkeys(s for label in parts for part in label for s in part))
    vectors = dict(zip(sentences, unit(runtime.text(sentences)), strict=True))
    return label_vectors(parts, vectors, runtime.package.width)
