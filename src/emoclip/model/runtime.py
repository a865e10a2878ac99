"""The towers of one package: pixels, frame embeddings and sentences in, embeddings out."""

import math
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from emoclip.characters import is_encodable
from emoclip.errors import ConfigError, PackageError, out_of_memory, reason, shown, warn_caller
from emoclip.model.cpu import Processor, processor
from emoclip.model.execution import Engine, Precision, choose
from emoclip.model.package import Package
from emoclip.model.rules import unit
from emoclip.model.tokens import encoded, open_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IMAGE_BATCH = 32
TOKENS_AT_ONCE = 512  # through the text tower: more are no quicker, and each takes some 70 kB
STREAMS = 4  # shares of a batch that OpenVINO computes side by side, each with buffers of its own
# Crops computed at once.  A ViT's activations for eight stay in the cache: worth a tenth, and OpenVINO does not care.
_AT_ONCE = {"onnxruntime": 8, "openvino": IMAGE_BATCH}
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
Tower = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Runtime:
    """Graphs are opened on first use, so that a run which needs no text tower never loads it."""

    def __init__(
        self,
        package: Package,
        *,
        threads: int | None = None,
        provider: str = "CPU",
        precision: Precision = "auto",
        engine: Engine | None = None,
        machine: Processor | None = None,
    ) -> None:
        """threads: cores used per call, all by default.  provider: `CPU`, `CUDA`, ... as ONNX Runtime names them.

        precision, engine: of the image tower, see `execution.choose`; `execution` says what was chosen and why, and a
        RuntimeWarning what is not to be had here.  machine: the processor to choose for, this one if None.
        Raises ConfigError for a provider this installation lacks, a thread count below 1, an unknown precision.
        """
        found = [name.removesuffix("ExecutionProvider") for name in ort.get_available_providers()]
        available = [name for name in found if name != "Azure"]  # which asks servers, no graph of ours
        if not isinstance(provider, str) or provider not in available:
            raise ConfigError(f"provider={shown(provider)} is not installed; there is {', '.join(available)}")
        self.package = package
        # What makes another like it in another process, where sessions cannot go.
        self._again = partial(
            Runtime, threads=threads, provider=provider, precision=precision, engine=engine, machine=machine
        )
        self.machine = machine or processor()
        self.execution = choose(
            package,
            precision=precision,
            threads=threads,
            provider=provider,
            engine=engine,
            machine=self.machine,
        )
        self.threads = self.execution.threads
        self._providers = [f"{provider}ExecutionProvider"]
        for warning in self.execution.warnings:
            warn_caller(warning, RuntimeWarning)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._again, (self.package,)

    @property
    def form(self) -> str:
        """Precision and engine of the image tower: kept embeddings are good only for the form they were made with."""
        return f"{self.execution.precision}/{self.execution.engine}"

    def image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed face crops, one vector per frame.

        pixels: (T, C, H, W) float32 as `preprocess.prepare` returns them.  Returns (T, D), not normalised.
        Source: EmoCLIP sec. III-A, CLIP image tower.
        """
        size = _AT_ONCE[self.execution.engine]
        batches = [pixels[at : at + size] for at in range(0, len(pixels), size)]
        graph, engine = self.execution.graph, self.execution.engine
        outputs = [
            self.computed(graph, lambda batch=batch: self._image(batch), len(batch), engine=engine)  # type: ignore[misc]
            for batch in batches
        ]
        return np.concatenate(outputs) if outputs else np.empty((0, self.package.width), np.float32)

    def temporal(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed clips of frame embeddings.

        frames: (B, T, D) float32 as `image` returns them.  Returns (B, D), not normalised.
        Source: EmoCLIP sec. III-A, temporal transformer; kind "mean" is the mean of unit frame embeddings.
        """
        if self.package.temporal == "mean":
            return np.asarray(unit(frames).mean(axis=1), np.float32)
        return self.computed(
            "temporal.onnx", lambda: self._temporal.run(None, {"frames": frames})[0], len(frames)
        )

    def text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Embed sentences; overlong ones are truncated.  Returns (N, D) float32, not normalised."""
        return self.read(sentences)[:, : self.package.width]

    def read(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Embed sentences as `text` does, and say which were read in part only.

        Returns (N, D + 2) float32: the embedding, then 1 where the tokenizer knows no word of the sentence (else 0),
        then 1 where it cut the sentence off.
        """
        output = np.zeros((len(sentences), self.package.width + 2), np.float32)
        tokens, lengths, unknown, cut = encoded(
            self._tokenizer, sentences, self.package.path / "tokenizer.json"
        )
        output[:, -2], output[:, -1] = unknown, cut
        if not self._trims:
            lengths[:] = tokens.shape[1]
        # Only sentences of one length go together: none pays for another's padding, nor can it depend on its mates.
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length)
            for batch in np.array_split(places, math.ceil(len(places) * length / TOKENS_AT_ONCE)):
                output[batch, :-2] = self._embed(tokens[batch, :length])
        return output

    def _embed(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.computed("text.onnx", lambda: self._text.run(None, {"tokens": tokens})[0], len(tokens))

    def computed(
        self,
        name: str,
        run: Callable[[], Any],
        rows: int,
        *,
        width: int | None = None,
        engine: Engine = "onnxruntime",
    ) -> NDArray[np.float32]:
        """Return what `run` computes with a graph, (rows, width) float32; the width is D unless given.

        Raises PackageError if the engine fails, or gives another size or what is no number; MemoryError if it has too
        little memory.
        """
        place = self.package.path / name
        try:
            output = np.asarray(run())
        except (PackageError, MemoryError):
            raise
        except Exception as error:
            raise _unloadable(place, f"{NAMES[engine]} cannot run it", error) from None
        expected = (rows, width or self.package.width)
        if output.shape != expected or output.dtype != np.float32:
            raise PackageError(
                f"{place}: gives {output.dtype} of size {output.shape} where float32 of size {expected} belongs; "
                "export the package again"
            )
        if not np.isfinite(output).all():
            raise PackageError(
                f"{place}: gives numbers that are infinite or undefined; export the package again"
            )
        return output

    def close_text(self) -> None:
        """Let go of the text tower, which a long run needs no more; it is opened again when asked."""
        vars(self).pop("_text", None)
        vars(self).pop("_tokenizer", None)

    @cached_property
    def _image(self) -> Tower:
        return self.tower(self.execution.engine, self.execution.graph, self.execution.precision)

    @cached_property
    def _temporal(self) -> ort.InferenceSession:
        return self.session("temporal.onnx")

    @cached_property
    def _text(self) -> ort.InferenceSession:
        return self.session("text.onnx")

    @cached_property
    def _trims(self) -> bool:
        """Whether padding can be left away: the graph takes any length, and padding makes no difference to it."""
        if isinstance(self._text.get_inputs()[0].shape[1], int):
            return False
        path = self.package.path / "tokenizer.json"
        tokens, (length,), _, _ = encoded(self._tokenizer, ["a face"], path)
        padded, trimmed = unit(self._embed(tokens)), unit(self._embed(tokens[:, :length]))
        return bool((padded * trimmed).sum() > 0.9999)

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        return open_tokenizer(self.package.checked("tokenizer.json"))

    def tower(self, engine: Engine, name: str, precision: Precision) -> Tower:
        """Open an image graph of the package on an engine, whatever `execution` chose.

        Returns a function from pixels (N, C, H, W) to embeddings (N, D).  Raises PackageError if it cannot be loaded.
        """
        if engine == "openvino":
            return self._openvino(name, precision)
        session = self.session(name, eight_bits=precision == "int8")
        return lambda pixels: session.run(None, {"pixels": pixels})[0]  # type: ignore[no-any-return]

    def session(self, name: str, *, eight_bits: bool = False) -> ort.InferenceSession:
        """Open one graph of the package by its file name.  Raises PackageError if it was changed or cannot be loaded.

        eight_bits: whether activations are 8-bit too, as in an int8 image tower, and not weights alone.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 4  # errors are raised
        # A plan per size of batch, and weights among what is computed, are 2 MB more, and no quicker.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        # Decoding and following use the same cores: threads that spin between batches would only be in their way.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not eight_bits:
            # Weights stored in 8 bits are unpacked once, at loading: left packed, newer versions of ONNX Runtime round
            # activations to 8 bits too where their kernels like it, and older ones unpack at every run.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        elif not self.package.narrow:
            # On x86 without VNNI, where alone it does anything, the fast kernels add in 16 bits, which overflow.
            # Weights that are 8-bit alone, in the other towers, it rewrites into graphs that fail at run time.
            options.add_session_config_entry("session.x64quantprecision", "1")
        path = self.package.checked(name)
        try:
            return ort.InferenceSession(_readable(path), options, providers=self._providers)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated kinds
            raise _unloadable(path, "ONNX Runtime cannot load it", error) from None

    def _openvino(self, name: str, precision: Precision) -> Tower:
        """Open one graph with OpenVINO, which picks a precision of its own unless told."""
        openvino = _import_openvino()
        # A batch in shares side by side takes 2 to 8 % less time than all cores on one share after the other.
        streams = min(self.threads, STREAMS)
        settings = {
            # What 8 bits leave between the products may be bf16: the int8 products are what costs exactness.
            "INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" or not self.machine.bf16 else "bf16",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,  # the cores are shared with decoding, and taskset's word counts
        }
        path = self.package.checked(name)
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(_readable(path)), "CPU", settings)
            requests = [compiled.create_infer_request() for _ in range(streams)]
        except Exception as error:
            raise _unloadable(path, "OpenVINO cannot load it", error) from None
        lock = Lock()  # a request holds one share at a time

        def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
            shares = np.array_split(np.ascontiguousarray(pixels), min(streams, max(1, len(pixels))))
            with lock:
                busy = list(zip(requests, shares, strict=False))
                for request, share in busy:
                    request.start_async({"pixels": share}, share_inputs=True)
                for request, _ in busy:
                    request.wait()
                return np.concatenate([request.get_output_tensor(0).data for request, _ in busy])

        return run


def _import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would otherwise report the import over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it does without where it is absent
    import openvino

    return openvino


def _readable(path: Path) -> str | bytes:
    """A graph's name, or what is in it where the engines could not take its name."""
    return str(path) if is_encodable(str(path)) else path.read_bytes()


def _unloadable(path: Path, what: str, error: Exception) -> Exception:
    if out_of_memory(error):
        return MemoryError(f"{path}: {what} ({reason(error)})")
    remedy = "export the package again" if is_encodable(str(path)) else "give its folder a name in UTF-8"
    return PackageError(f"{path}: {what} ({reason(error)}); {remedy}")
