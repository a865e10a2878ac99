"""Make exported graphs small: 8-bit weights with a scale per column, half floats, 8-bit image towers."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from emoclip.training.nets.compact import ImageTower, ResidualBlock

LEAST = 4096  # weights with fewer numbers stay as they are


def folded(tower: ImageTower) -> ImageTower:
    """Return a copy in evaluation mode whose batch norms are part of the convolutions before them."""
    tower = copy.deepcopy(tower).eval()
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


class _Crops:
    """Calibration crops, a batch at a time, as ONNX Runtime's quantiser reads them."""

    def __init__(self, crops: NDArray[np.float32]) -> None:
        self._batches = iter([crops[at : at + 64] for at in range(0, len(crops), 64)])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


def quantise_image(path: Path, crops: NDArray[np.float32]) -> None:
    """Make an image tower 8-bit with fixed scales, so a crop's embedding never depends on its batch-mates.

    crops: (N, 1, S, S) real crops in [0, 1].  The normalisation in front stays fp32.  Weights are at most
    `GREATEST_WEIGHT`, so that every processor's fast kernels are exact.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = path.with_name("prepared.onnx")
    # The quantiser's first step loses weights that lie in a file beside the graph.
    onnx.save(onnx.load(path), path)
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(path),
        _Crops(crops),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Add", "AveragePool", "Gemm"],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        # The few largest activations would make all others coarse: a third less error than with their full range.
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"CalibPercentile": 99.999},
    )
    prepared.unlink()


def _columns_to_int8(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    scale = np.maximum(np.abs(weights).max(axis=0), 1e-8) / 127
    return np.rint(weights / scale).astype(np.int8), scale.astype(np.float32)
