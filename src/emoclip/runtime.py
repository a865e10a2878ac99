"""The towers of one package on ONNX Runtime: pixels, frame embeddings and sentences in, embeddings out."""

import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from emoclip.errors import ConfigError, PackageError
from emoclip.package import Package

IMAGE_BATCH = 32


class Runtime:
    """Sessions are opened on first use, so that a run which needs no text tower never loads it."""

    def __init__(self, package: Package, *, threads: int | None = None, provider: str = "CPU") -> None:
        """threads: cores used per call, all by default.  provider: `CPU`, `CUDA`, ... as ONNX Runtime names them.

        Raises ConfigError for a provider this installation lacks or a thread count below 1.
        """
        available = [name.removesuffix("ExecutionProvider") for name in ort.get_available_providers()]
        if provider not in available:
            raise ConfigError(f"provider={provider!r} is not installed; there is {', '.join(available)}")
        if threads is not None and threads < 1:
            raise ConfigError(f"threads={threads} must be at least 1")
        self.package = package
        self.threads = threads or len(
            os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        )
        self._providers = [f"{provider}ExecutionProvider"]

    def image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed face crops, one vector per frame.

        pixels: (T, C, H, W) float32 as `preprocess.prepare` returns them.  Returns (T, D), not normalised.
        Source: EmoCLIP sec. III-A, CLIP image tower.
        """
        batches = [pixels[at : at + IMAGE_BATCH] for at in range(0, len(pixels), IMAGE_BATCH)]
        outputs = [self._image.run(None, {"pixels": batch})[0] for batch in batches]
        return np.concatenate(outputs) if outputs else np.empty((0, self.package.width), np.float32)

    def temporal(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed clips of frame embeddings.

        frames: (B, T, D) float32 as `image` returns them.  Returns (B, D), not normalised.
        Source: EmoCLIP sec. III-A, temporal transformer; kind "mean" is the mean of unit frame embeddings.
        """
        if self.package.temporal == "mean":
            return np.asarray(unit(frames).mean(axis=1), np.float32)
        output: NDArray[np.float32] = self._temporal.run(None, {"frames": frames})[0]
        return output

    def text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Embed sentences; overlong ones are truncated.  Returns (N, D) float32, not normalised."""
        tokens = np.array(
            [encoding.ids for encoding in self._tokenizer.encode_batch(list(sentences))], np.int64
        )
        output: NDArray[np.float32] = self._text.run(None, {"tokens": tokens})[0]
        return output

    @cached_property
    def _image(self) -> ort.InferenceSession:
        return self.session("image.onnx")

    @cached_property
    def _temporal(self) -> ort.InferenceSession:
        return self.session("temporal.onnx")

    @cached_property
    def _text(self) -> ort.InferenceSession:
        return self.session("text.onnx")

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.from_file(str(self.package.path / "tokenizer.json"))

    def session(self, name: str) -> ort.InferenceSession:
        """Open one graph of the package by its file name.  Raises PackageError if it cannot be loaded."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        # Decoding and following use the same cores: threads that spin between batches would only be in their way.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = self.package.path / name
        try:
            return ort.InferenceSession(str(path), options, providers=self._providers)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated kinds
            reason = str(error).splitlines()[0]
            raise PackageError(
                f"{path}: ONNX Runtime cannot load it ({reason}); export the package again"
            ) from None


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale vectors (..., D) to length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
