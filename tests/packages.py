"""Tiny model packages with random weights, for tests that need a model but not a good one."""

import json
from pathlib import Path
from string import printable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from emoclip.files import sha256

TOKENS = 160  # characters: the longest of the class sentences has 114


def tiny_package(
    folder: Path,
    *,
    name: str = "tiny",
    size: int = 16,
    colour: str = "rgb",
    width: int = 16,
    temporal: str = "transformer",
    frames_per_clip: int = 4,
    sample_fps: float = 8.0,
    logit_scale: float = 20.0,
    margin: float = 0.0,
    calibrated: bool = True,
    seed: int = 0,
) -> Path:
    """Write a whole, valid package into `folder` (made if absent) and return `folder`.

    The image tower pools the picture into 4 x 4 cells and mixes them; the temporal part adds the
    frames' spread to their mean; the text tower averages one vector per character.  All weights come from `seed`.
    calibrated: with a curve for scores and a usual resting face.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    channels = 1 if colour == "grey" else 3
    _save(folder / "image.onnx", _image(rng, channels, size, width))
    if temporal == "transformer":
        _save(folder / "temporal.onnx", _temporal(rng, width))
    vocabulary = {token: index for index, token in enumerate(["[UNK]", "[PAD]", *printable])}
    _save(folder / "text.onnx", _text(rng, len(vocabulary), width))
    _tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    (folder / "README.md").write_text(f"# {name}\n\nRandom weights for tests.\n")
    config = {
        "format": 1,
        "name": name,
        "licence": "Apache-2.0",
        "source": "tests",
        "training_data": "none: random weights",
        "image": {
            "size": size,
            "colour": colour,
            "mean": [0.5] * channels,
            "std": [0.25] * channels,
            "resize": "bilinear-antialias",
            "margin": margin,
        },
        "frames_per_clip": frames_per_clip,
        "sample_fps": sample_fps,
        "width": width,
        "logit_scale": logit_scale,
        "temporal": temporal,
        "precision": "fp32",
        **({"intensity": {"slope": 4.0, "offset": -1.0}, "resting": [0.25] * width} if calibrated else {}),
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != "config.json"},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def _image(rng: np.random.Generator, channels: int, size: int, width: int) -> onnx.GraphProto:
    cell = [size // 4, size // 4]
    mix = rng.normal(size=(channels * 16, width)).astype(np.float32)
    return _graph(
        [
            helper.make_node("AveragePool", ["pixels"], ["cells"], kernel_shape=cell, strides=cell),
            helper.make_node("Flatten", ["cells"], ["flat"]),
            helper.make_node("MatMul", ["flat", "mix"], ["mixed"]),
            helper.make_node("Tanh", ["mixed"], ["embedding"]),
        ],
        _value("pixels", ["N", channels, size, size]),
        _value("embedding", ["N", width]),
        {"mix": mix},
    )


def _temporal(rng: np.random.Generator, width: int) -> onnx.GraphProto:
    # The spread makes a clip more than the mean of its frames.
    return _graph(
        [
            helper.make_node("ReduceMean", ["frames"], ["centre"], axes=[1], keepdims=1),
            helper.make_node("Sub", ["frames", "centre"], ["change"]),
            helper.make_node("Mul", ["change", "change"], ["energy"]),
            helper.make_node("ReduceMean", ["energy"], ["spread"], axes=[1], keepdims=0),
            helper.make_node("ReduceMean", ["frames"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["spread", "mix"], ["moved"]),
            helper.make_node("Add", ["mean", "moved"], ["embedding"]),
        ],
        _value("frames", ["B", "T", width]),
        _value("embedding", ["B", width]),
        {"mix": (0.1 * rng.normal(size=(width, width))).astype(np.float32)},
    )


def _text(rng: np.random.Generator, tokens: int, width: int) -> onnx.GraphProto:
    table = rng.normal(size=(tokens, width)).astype(np.float32)
    table[1] = 0.0  # padding says nothing
    return _graph(
        [
            helper.make_node("Gather", ["table", "tokens"], ["vectors"]),
            helper.make_node("ReduceMean", ["vectors"], ["embedding"], axes=[1], keepdims=0),
        ],
        helper.make_tensor_value_info("tokens", TensorProto.INT64, ["N", "L"]),
        _value("embedding", ["N", width]),
        {"table": table},
    )


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.enable_padding(length=TOKENS, pad_id=1, pad_token="[PAD]")
    tokenizer.enable_truncation(TOKENS)
    return tokenizer


def _value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _graph(
    nodes: list[onnx.NodeProto],
    source: onnx.ValueInfoProto,
    target: onnx.ValueInfoProto,
    weights: dict[str, np.ndarray],
) -> onnx.GraphProto:
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    return helper.make_graph(nodes, "tiny", [source], [target], constants)


def _save(path: Path, graph: onnx.GraphProto) -> None:
    # Opset 17 and IR 8 are read by every ONNX Runtime this project allows.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
