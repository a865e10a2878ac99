"""Make exported graphs small: 8-bit weights with a scale per column, half floats, 8-bit image towers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from emoclip.errors import PackageError
from emoclip.training.export.exact import ExactGraph
from emoclip.training.export.quantisation import RANGE_BITS, coarse
from emoclip.training.nets.compact import ImageTower, ImageTowerConfig, ResidualBlock

LEAST = 4096  # weights with fewer numbers stay as they are
BATCH = 32  # crops at once
_OUTLIERS = 5e-6  # share of an activation's values that may lie beyond either end of its range


def folded(tower: ImageTower) -> ImageTower:
    """Return a copy in evaluation mode whose batch norms are part of the convolutions before them."""
    tower = copy.deepcopy(tower).eval().double()  # so that it is rounded once, and alike everywhere
    for at, layer in enumerate(tower.stem):
        if isinstance(layer, nn.Conv2d):
            tower.stem[at] = fuse_conv_bn_eval(layer, tower.stem[at + 1])  # type: ignore[type-var, arg-type]
            tower.stem[at + 1] = nn.Identity()
    for block in tower.stages:
        assert isinstance(block, ResidualBlock)
        block.conv1, block.norm1 = fuse_conv_bn_eval(block.conv1, block.norm1), nn.Identity()  # type: ignore[assignment]
        block.conv2, block.norm2 = fuse_conv_bn_eval(block.conv2, block.norm2), nn.Identity()  # type: ignore[assignment]
        if isinstance(block.shortcut, nn.Sequential):
            conv, norm = block.shortcut[1], block.shortcut[2]
            block.shortcut[1] = fuse_conv_bn_eval(conv, norm)  # type: ignore[type-var, arg-type]
            block.shortcut[2] = nn.Identity()
    return tower.float()


def unpacked(path: Path, config: ImageTowerConfig) -> ImageTower:
    """Read a tower back from what `quantise_image` wrote, as `folded` returns it: the weights that its 8 bits say.

    Raises PackageError for a graph of another tower.
    """
    numbers = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    tower = folded(ImageTower(config))
    weights = {}
    for name, expected in tower.state_dict().items():
        whole = f"tower.{name}_quantized"
        scale = numbers.get(f"{whole}_scale" if name.endswith("bias") else f"tower.{name}_scale")
        if whole not in numbers or scale is None or numbers[whole].shape != expected.shape:
            raise PackageError(f"{path}: is not of the recipe's image tower ({name}); name another package")
        weights[name] = torch.from_numpy(
            numbers[whole] * scale.reshape(-1, *[1] * (expected.ndim - 1))
        ).float()
    tower.load_state_dict(weights)
    return tower


def store_int8(path: Path) -> None:
    """Store the matrices of a graph as int8 with one scale per column; arithmetic stays fp32.

    The scale makes each column's largest weight 127, so the error is at most 1/254 of it.  A table that is looked
    up (Gather) is widened after the look-up.
    """
    model = onnx.load(path)
    graph = model.graph
    initial = {tensor.name: tensor for tensor in graph.initializer}
    for name, tensor in list(initial.items()):
        users = [node for node in graph.node if name in node.input]
        if (
            tensor.data_type != onnx.TensorProto.FLOAT
            or len(tensor.dims) != 2
            or np.prod(tensor.dims) < LEAST
        ):
            continue
        quantised, scale = _columns_to_int8(numpy_helper.to_array(tensor))
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(quantised, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        gather = users[0] if len(users) == 1 and users[0].op_type == "Gather" else None
        if gather is not None:
            wide, narrow = gather.output[0], f"{gather.output[0]}_int8"
            gather.input[0], gather.output[0] = f"{name}_int8", narrow
            rank = 3  # (N, L, columns)
            widen = helper.make_node("DequantizeLinear", [narrow, f"{name}_scale"], [wide], axis=rank - 1)
            graph.node.insert(list(graph.node).index(gather) + 1, widen)
        else:
            widen = helper.make_node("DequantizeLinear", [f"{name}_int8", f"{name}_scale"], [name], axis=1)
            graph.node.insert(0, widen)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def store_fp16(path: Path) -> None:
    """Store large weights as half floats, widened once when the graph is loaded."""
    model = onnx.load(path)
    graph = model.graph
    for tensor in list(graph.initializer):
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= LEAST:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            name = tensor.name
            graph.initializer.remove(tensor)
            graph.initializer.append(numpy_helper.from_array(half, f"{name}_fp16"))
            graph.node.insert(
                0, helper.make_node("Cast", [f"{name}_fp16"], [name], to=onnx.TensorProto.FLOAT)
            )
    onnx.checker.check_model(model)
    onnx.save(model, path)


def quantise_image(path: Path, crops: NDArray[np.float32]) -> None:
    """Make an image tower 8-bit with fixed scales, so a crop's embedding never depends on its batch-mates.

    crops: (N, 1, S, S) real crops in [0, 1].  The normalisation in front stays fp32.  Weights are at most
    `GREATEST_WEIGHT`, so that every processor's fast kernels are exact.  The same crops make the same file on every
    machine: ranges are measured in float64 and kept to 12 bits.
    """
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    ranges: dict[str, Any] = {
        # Of the type that they get in the file.
        name: tuple(np.array(end, np.float32) for end in ends)
        for name, ends in measured_ranges(model, crops).items()
    }
    quantiser = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=True,
        activation_qType=QuantType.QUInt8,
        weight_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=_before_convolutions(model),
        op_types_to_quantize=["Conv", "Add", "AveragePool", "Gemm"],
        extra_options={},
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    onnx.save(quantiser.model.model, path)


def measured_ranges(model: onnx.ModelProto, crops: NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    """Return between which two numbers nearly all values of each activation lie, by name.

    The few largest would make all others coarse: without `_OUTLIERS` there is a third less error.
    """
    graph = ExactGraph(model)
    lowest: dict[str, NDArray[np.float64]] = {}
    highest: dict[str, NDArray[np.float64]] = {}
    for at in range(0, len(crops), BATCH):
        batch = crops[at : at + BATCH]
        for name, values in graph(batch).items():
            flat = values.reshape(-1)
            # One more than are left out in the end, which is the range's end.
            kept = int(_OUTLIERS * len(flat) * len(crops) / len(batch)) + 1
            lowest[name] = np.partition(np.append(lowest.get(name, []), flat), kept - 1)[:kept]
            highest[name] = np.partition(np.append(highest.get(name, []), flat), -kept)[-kept:]
    ends = {name: torch.tensor([lowest[name].max(), highest[name].min()]) for name in lowest}
    return {name: tuple(coarse(pair, RANGE_BITS).tolist()) for name, pair in ends.items()}


def _before_convolutions(model: onnx.ModelProto) -> list[str]:
    """Name the nodes that no convolution comes before: a crop's contrast would be lost in 255 steps, if it is dim."""
    after: set[str] = set()
    before = []
    for node in model.graph.node:  # in the order of computation
        if node.op_type == "Conv" or after.intersection(node.input):
            after.update(node.output)
        else:
            before.append(node.name)
    return before


def _columns_to_int8(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    scale = np.maximum(np.abs(weights).max(axis=0), 1e-8) / 127
    return np.rint(weights / scale).astype(np.int8), scale.astype(np.float32)
