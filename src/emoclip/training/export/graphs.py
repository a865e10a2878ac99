"""One torch module to one ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
import onnx_ir.passes.common
import torch
from torch import Tensor, nn

# Above this the weights lie in a file beside the graph, which ONNX Runtime maps instead of copying: loading
# ViT-B/32 peaks at 1.2x the file size and takes half the time, against 1.6x with the weights inside the graph.
EXTERNAL_FROM_BYTES = 16_000_000
INPUTS = {"image.onnx": "pixels", "temporal.onnx": "frames", "text.onnx": "tokens", "symptoms.onnx": "frames"}
OUTPUTS = {"symptoms.onnx": "values"}  # "embedding" of all others


def save_graph(
    tower: nn.Module,
    example: Tensor,
    path: Path,
    dynamic: Mapping[int, tuple[int, int | None]],
    precision: str,
) -> None:
    """Trace a tower and write it as ONNX with one input and one output, named for the file.

    dynamic: dimensions of the input that may vary, with their least and greatest size.
    precision: "fp32", or "fp16" to store matrices as half floats that are widened when they are used.
    Raises OSError, on a full disk for instance.
    """
    model = trace(tower, example, INPUTS[path.name], dynamic, OUTPUTS.get(path.name, "embedding"))
    if precision == "fp16":
        _store_half(model.graph)
    save(model, path)


def trace(
    tower: nn.Module,
    example: Tensor,
    given: str,
    dynamic: Mapping[int, tuple[int, int | None]],
    returned: str = "embedding",
) -> ir.Model:
    """Return a tower as a graph with the input `given` and the output `returned`; `dynamic` as in `save_graph`."""
    dims = {at: torch.export.Dim(f"dim{at}", min=low, max=high) for at, (low, high) in dynamic.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            tower.eval(),
            (example,),
            input_names=[given],
            dynamic_shapes=(dims,),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: ir.Model = program.model
    _name_output(model.graph, returned)
    # The trace notes the source line of every node, with this machine's paths.
    ir.passes.common.ClearMetadataAndDocStringPass()(model)
    return model


def save(model: ir.Model, path: Path) -> None:
    """Write a graph, large weights into a file beside it.  Raises OSError."""
    weights = [value.const_value for value in model.graph.initializers.values()]
    size = sum(weight.nbytes for weight in weights if weight is not None)
    external = f"{path.name}.data" if size > EXTERNAL_FROM_BYTES else None
    ir.save(model, path, external_data=external)


def _name_output(graph: ir.Graph, name: str) -> None:
    # The trace names values after torch's operators, and one of those is "embedding" too.
    for node in graph:
        for value in node.outputs:
            if value.name == "embedding":
                value.name = "token_embedding"
    graph.outputs[0].name = name


def _store_half(graph: ir.Graph) -> None:
    """Keep matrices as fp16 and widen them when they are used: half the file, and half the memory once loaded.

    They are listed as graph inputs with a default value, since ONNX Runtime would otherwise widen constants at once
    and hold them as fp32: 2.6x the file size, for runs that are a tenth faster.
    """
    for value in list(graph.initializers.values()):
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.shape.rank() < 2:
            continue
        half = ir.Value(name=f"{value.name}_fp16", shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT16))
        half.const_value = ir.tensor(torch.from_numpy(tensor.numpy().copy()).half().numpy(), name=half.name)
        for node in dict.fromkeys(use.node for use in value.uses()):
            _widen(graph, node, value, half)
        del graph.initializers[str(value.name)]
        graph.register_initializer(half)
        graph.inputs.append(half)


def _widen(graph: ir.Graph, node: ir.Node, value: ir.Value, half: ir.Value) -> None:
    places = [at for at, given in enumerate(node.inputs) if given is value]
    cast = ir.Node("", "Cast", inputs=[half], attributes=[ir.AttrInt64("to", ir.DataType.FLOAT)])
    wide = cast.outputs[0]
    wide.name, wide.dtype = f"{half.name}_wide_{node.name}", ir.DataType.FLOAT
    if node.op_type == "Gather" and places == [0]:
        # Only the looked-up rows of a table are widened.
        rows = node.outputs[0]
        later = list(rows.uses())
        node.replace_input_with(0, half)
        rows.dtype = ir.DataType.FLOAT16
        cast.replace_input_with(0, rows)
        for use in later:
            use.node.replace_input_with(use.idx, wide)
        graph.insert_after(node, cast)
        return
    for at in places:
        node.replace_input_with(at, wide)
    graph.insert_before(node, cast)
