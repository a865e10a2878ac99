"""A package's temporal graph back to a torch module, to go on training from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from emoclip.model import Package, Runtime
from emoclip.training.nets.folding import unfold
from emoclip.training.nets.temporal import TemporalConfig, TemporalTransformer

AGREEMENT = 1e-3  # largest difference between graph and module, over the size of an embedding


def read_temporal(package: Package) -> TemporalTransformer | None:
    """Return the temporal transformer of a package that our exporter wrote, whichever its sizes.

    It is taken only if it computes what the graph computes.  None for another kind of temporal part, or another graph.
    """
    if package.temporal != "transformer":
        return None
    try:
        states = _states(onnx.load(str(package.checked("temporal.onnx"))).graph)
    except (ValueError, IndexError, StopIteration):
        return None
    frames = (
        np.random.default_rng(0).normal(size=(2, package.frames_per_clip, package.width)).astype(np.float32)
    )
    expected = Runtime(package, threads=1).temporal(frames)
    for config, state in states:
        model = TemporalTransformer(config)
        try:
            model.load_state_dict(state)
        except RuntimeError:
            continue
        with torch.inference_mode():
            found = model(torch.from_numpy(frames)).numpy()
        if np.abs(found - expected).max() <= AGREEMENT * np.abs(expected).max():
            return model
    return None


def _states(graph: onnx.GraphProto) -> list[tuple[TemporalConfig, dict[str, torch.Tensor]]]:
    """Weights under the module's names, by their order in the graph; with every number of heads it may have."""
    constants = {item.name: numpy_helper.to_array(item).astype(np.float32) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in constants:  # weights that are stored as half floats
            constants[node.output[0]] = constants[node.input[0]]
    norms, matrices, biases = [], [], []
    for node in graph.node:
        given: list[NDArray[Any]] = [constants[name] for name in node.input if name in constants]
        if node.op_type == "LayerNormalization":
            norms.append((given[0], given[1]))
        elif node.op_type == "MatMul" and given:
            matrices.append(given[0].T)
        elif node.op_type == "Add" and given and given[0].ndim == 1:
            biases.append(given[0])
    tables = [array for array in constants.values() if array.ndim == 3 and array.shape[0] == 1]
    state = {
        "cls_token": next(table for table in tables if table.shape[1] == 1),
        "pos_embedding": next(table for table in tables if table.shape[1] > 1),
    }
    depth = len(norms) // 2
    if not depth or len(norms) != 2 * depth or len(matrices) != 4 * depth or len(biases) != 3 * depth:
        raise ValueError("another graph")
    width, mlp_width = len(matrices[0].T), matrices[2].shape[0]
    # Else there are queries, keys and values: three times as many.
    folded = matrices[0].shape[0] == matrices[1].shape[1]
    if folded:
        for at in range(0, len(matrices), 4):
            pair = [torch.from_numpy(np.ascontiguousarray(part.T)) for part in matrices[at : at + 2]]
            matrices[at : at + 2] = [part.numpy() for part in unfold(*pair)]
    for layer in range(depth):
        norm, matrix, bias = norms[2 * layer :], matrices[4 * layer :], biases[3 * layer :]
        attention, mlp = (f"temporal_transformer.layers.{layer}.{part}.fn" for part in (0, 1))
        state |= {
            f"{attention}.norm.weight": norm[0][0],
            f"{attention}.norm.bias": norm[0][1],
            f"{attention}.fn.to_qkv.weight": matrix[0],
            f"{attention}.fn.to_out.0.weight": matrix[1],
            f"{attention}.fn.to_out.0.bias": bias[0],
            f"{mlp}.norm.weight": norm[1][0],
            f"{mlp}.norm.bias": norm[1][1],
            f"{mlp}.fn.net.0.weight": matrix[2],
            f"{mlp}.fn.net.0.bias": bias[1],
            f"{mlp}.fn.net.3.weight": matrix[3],
            f"{mlp}.fn.net.3.bias": bias[2],
        }
    inner = matrices[0].shape[0] // 3
    tensors = {name: torch.tensor(np.ascontiguousarray(array)) for name, array in state.items()}
    return [
        (
            TemporalConfig(width, depth, heads, inner // heads, mlp_width, state["pos_embedding"].shape[1]),
            tensors,
        )
        for heads in ([inner // width] if folded else range(1, 33))
        if inner % heads == 0
    ]
