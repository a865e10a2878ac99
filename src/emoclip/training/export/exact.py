"""A graph computed in float64, the same on every machine far beyond the last bit that a package keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


class ExactGraph:
    """ONNX's own reference for what a graph means, with every fp32 number of it as float64.

    ONNX Runtime has no such form: its convolutions are fp32, and add up as the processor's kernels do.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        wide = onnx.ModelProto()
        wide.CopyFrom(model)
        for tensor in wide.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                numbers = numpy_helper.to_array(tensor).astype(np.float64)
                tensor.CopyFrom(numpy_helper.from_array(numbers, tensor.name))
        for value in [*wide.graph.input, *wide.graph.output, *wide.graph.value_info]:
            if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                value.type.tensor_type.elem_type = TensorProto.DOUBLE
        for node in wide.graph.node:
            for attribute in node.attribute:
                if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.DOUBLE
        self._evaluator = ReferenceEvaluator(wide, new_ops=[Conv, AveragePool])
        self._given = model.graph.input[0].name
        self._made = [name for node in model.graph.node for name in node.output]

    def __call__(self, given: NDArray[np.generic]) -> dict[str, NDArray[np.float64]]:
        """Return every floating value that the graph computes from its input, and the input, by name."""
        if given.dtype == np.float32:
            given = given.astype(np.float64)
        found = self._evaluator.run(None, {self._given: given}, intermediate=True)
        assert isinstance(found, dict)
        names = [self._given, *self._made]
        return {name: found[name] for name in names if found[name].dtype == np.float64}


# The reference's own convolutions and pools are loops in Python: minutes, where these take seconds.


class Conv(OpRun):
    """2-d, padded alike on both sides."""

    def _run(
        self, x: NDArray[np.float64], w: NDArray[np.float64], b: NDArray[np.float64], **told: Any
    ) -> tuple[NDArray[np.float64]]:
        top, left, bottom, right = told["pads"] or (0, 0, 0, 0)
        if (top, left) != (bottom, right):
            raise NotImplementedError(f"a convolution padded by {told['pads']}")
        step, spread, groups = told["strides"] or 1, told["dilations"] or 1, told["group"] or 1
        made = F.conv2d(torch.tensor(x), torch.tensor(w), torch.tensor(b), step, (top, left), spread, groups)
        return (made.numpy(),)


class AveragePool(OpRun):
    """2-d, not padded."""

    def _run(self, x: NDArray[np.float64], **told: Any) -> tuple[NDArray[np.float64]]:
        if any(told["pads"] or ()):
            raise NotImplementedError(f"a pool padded by {told['pads']}")
        whole = bool(told["ceil_mode"])
        made = F.avg_pool2d(torch.tensor(x), told["kernel_shape"], told["strides"] or 1, ceil_mode=whole)
        return (made.numpy(),)
