"""The image tower in 8 bits: SmoothQuant, ranges measured on face crops, and a graph that both engines run fast.

Activations have one fixed range per product, so that a crop's embedding does not depend on its batch-mates; weights
have a scale per column.  The graph is plain ONNX (QuantizeLinear, DequantizeLinear around Gemm).

Everything is measured in float64 and rounded to a few bits before it counts, so that any processor, on any number of
threads, makes the same file: how its kernels add up is far below the last bit that is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emoclip.errors import ConfigError
from emoclip.model.package import GREATEST_WEIGHT
from emoclip.training.export.graphs import trace
from emoclip.training.nets.vision import LeanBlock, LeanVision, lean

BATCH = 16  # crops at once
# Share of an outlier that moves from activations into weights (SmoothQuant's alpha); 0.5 to 0.65 do equally well on
# towers with outliers, 0.8 is worse.
ALPHA = 0.6
_LEAST = 1e-5
# Significant bits of what is measured: a range within 1/4,096, a smoothing scale, which is exact algebra, within 1/256.
RANGE_BITS, _SCALE_BITS = 12, 8

Progress = Callable[[float], None]


def quantise(visual: nn.Module, pixels: Tensor, progress: Progress = lambda share: None) -> ir.Model:
    """Return the 8-bit graph of one of the published CLIPs' image towers.

    visual: open_clip's vision transformer.  pixels: (N, C, S, S) calibration crops as `preprocess.prepare` gives them.
    Raises ConfigError for another kind of tower.
    """
    tower = lean(visual)
    if not isinstance(tower, LeanVision):
        raise ConfigError(
            f"int8 is made of CLIP's vision transformers, not of {type(visual).__name__}; export as fp32 or fp16"
        )
    tower.double()
    exact, measured = measure(tower, pixels, lambda share: progress(0.45 * share))
    ranges = {
        name: (coarse(low, RANGE_BITS), coarse(high, RANGE_BITS)) for name, (low, high) in measured.items()
    }
    smooth(tower, ranges)
    tower.float()
    products = {
        name: Product.of(linear, *_whole_range(*ranges[name]))
        for name, linear in _linears(tower)
        if linear not in tower.per_frame()
    }
    model = trace(tower, pixels[:2], "pixels", {0: (1, None)})
    _to_int8(model, products)
    progress(0.5)
    found, _ = measure(_rounded(tower, products), pixels, lambda share: progress(0.5 + 0.5 * share))
    missing = exact - found
    _add(model, coarse(torch.from_numpy(missing), RANGE_BITS).numpy().astype(np.float32))
    return model


@dataclass(frozen=True)
class Product:
    """A linear layer in 8 bits, as the graph and its exact double both take it.

    step, nought: of the input, x = step * (whole - nought) with 0 <= whole <= 255.  weights: (out, in) int8.
    columns: (out,) what a weight's unit is worth.  bias: (out,) int32, in units of step * columns.
    """

    step: np.float32
    nought: np.uint8
    weights: NDArray[np.int8]
    columns: NDArray[np.float32]
    bias: NDArray[np.int32]

    @classmethod
    def of(cls, linear: nn.Linear, low: float, high: float) -> Product:
        """Round a layer whose input lies between `low` <= 0 and `high` >= 0."""
        step = np.float32(max(high - low, _LEAST) / 255)
        matrix, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
        columns = np.asarray(np.maximum(np.abs(matrix).max(axis=1), 1e-9) / GREATEST_WEIGHT, np.float32)
        return cls(
            step=step,
            nought=np.uint8(round(-low / float(step))),
            weights=np.rint(matrix / columns[:, None]).astype(np.int8),
            columns=columns,
            bias=np.rint(bias / (columns * step)).astype(np.int32),
        )


class _Exact(nn.Module):
    """What every engine's 8-bit kernels compute of a product: whole numbers in float64, exact in any order."""

    def __init__(self, product: Product) -> None:
        super().__init__()
        self.step, self.nought = float(product.step), float(product.nought)
        self.weights = torch.from_numpy(product.weights).double()
        self.bias = torch.from_numpy(product.bias).double()
        self.units = torch.from_numpy(product.columns * product.step).double()
        self.in_features = self.weights.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in) -> (rows, out)."""
        whole = (x / self.step).round().add(self.nought).clamp(0, 255) - self.nought
        return torch.addmm(self.bias, whole, self.weights.T) * self.units


def _rounded(tower: LeanVision, products: dict[str, Product]) -> nn.Module:
    """Return a copy of a tower that computes as its 8-bit graph does, in float64 between the products."""
    copied = copy.deepcopy(tower).double()
    for name, product in products.items():
        copied.set_submodule(name, _Exact(product))
    return copied


def coarse(values: Tensor, bits: int) -> Tensor:
    """Round to so many significant bits."""
    parts, powers = torch.frexp(values)
    return torch.ldexp((parts * 2**bits).round(), powers - bits)


def measure(
    tower: nn.Module, pixels: Tensor, progress: Progress = lambda share: None
) -> tuple[NDArray[np.float64], dict[str, tuple[Tensor, Tensor]]]:
    """Run crops through a tower of float64 weights.

    Returns the mean embedding (D,) and, per linear layer by name, the least and greatest input per channel (in,).
    """
    ranges: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            low, high = given[0].amin(0), given[0].amax(0)
            if name in ranges:
                low, high = torch.minimum(low, ranges[name][0]), torch.maximum(high, ranges[name][1])
            ranges[name] = low, high

        return hook

    hooks = [linear.register_forward_pre_hook(keep(name)) for name, linear in _linears(tower)]
    total = torch.zeros((), dtype=torch.float64)
    with torch.inference_mode():
        for at in range(0, len(pixels), BATCH):
            total = total + tower(pixels[at : at + BATCH].double()).sum(0)
            progress(min(1.0, (at + BATCH) / len(pixels)))
    for hook in hooks:
        hook.remove()
    return (total / len(pixels)).numpy(), ranges


def smooth(tower: LeanVision, ranges: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Scale channels with outliers down before a product and its weights up, in place: the same function in fp32.

    The scales go into what makes the input: the gains of a layer norm, or the values that attention averages; what
    passes a GELU is not linear in anything and stays.  ranges: of `measure`, changed to fit.
    Source: SmoothQuant (Xiao et al., ICML 2023), eq. 4.
    """
    for at, block in enumerate(cast(list[LeanBlock], list(tower.blocks))):
        inputs = [f"blocks.{at}.{part}" for part in ("query", "key", "value")]
        _shrink(block.norm_1, _move(inputs, [block.query, block.key, block.value], ranges))
        _shrink(block.norm_2, _move([f"blocks.{at}.wide"], [block.wide], ranges))
        scale = _move([f"blocks.{at}.out"], [block.out], ranges)
        block.value.weight.data /= scale[:, None]
        block.value.bias.data /= scale
    _shrink(tower.norm_after, _move(["project"], [tower.project], ranges))


def _move(
    names: Sequence[str], linears: Sequence[nn.Linear], ranges: dict[str, tuple[Tensor, Tensor]]
) -> Tensor:
    """Scale the weights of products that share an input; returns what that input has to be divided by, (in,)."""
    greatest = torch.stack([torch.maximum(-ranges[name][0], ranges[name][1]) for name in names]).amax(0)
    weights = torch.stack([linear.weight.detach().abs().amax(0) for linear in linears]).amax(0)
    scale = greatest.clamp(min=_LEAST) ** ALPHA / weights.clamp(min=_LEAST) ** (1 - ALPHA)
    scale = coarse(scale / scale.log().mean().exp(), _SCALE_BITS)
    for name, linear in zip(names, linears, strict=True):
        linear.weight.data *= scale
        low, high = ranges[name]
        ranges[name] = low / scale, high / scale
    return scale


def _shrink(norm: nn.Module, scale: Tensor) -> None:
    layer = cast(nn.LayerNorm, norm)
    layer.weight.data /= scale
    layer.bias.data /= scale


def _linears(tower: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    return ((name, module) for name, module in tower.named_modules() if isinstance(module, nn.Linear))


def _whole_range(low: Tensor, high: Tensor) -> tuple[float, float]:
    return min(float(low.min()), 0.0), max(float(high.max()), 0.0)


def _to_int8(model: ir.Model, products: dict[str, Product]) -> None:
    """Put QuantizeLinear and DequantizeLinear around every Gemm that is to be 8-bit, in place."""
    graph = model.graph
    # queries, keys and values share their input
    narrowed: dict[ir.Value, tuple[ir.Value, list[ir.Value]]] = {}
    for node in list(graph):
        weight = node.inputs[1] if node.op_type in ("Gemm", "MatMul") else None
        name = str(weight.name).removesuffix(".weight") if weight is not None else ""
        if name not in products:
            continue
        assert node.op_type == "Gemm", f"{name} was exported as {node.op_type}"
        product = products[name]
        source = node.inputs[0]
        assert source is not None
        new = []
        if source not in narrowed:
            step = [
                _constant(graph, f"{name}.step", np.asarray(product.step)),
                _constant(graph, f"{name}.nought", np.asarray(product.nought)),
            ]
            new += _narrowed(source, step)
            narrowed[source] = new[-1].outputs[0], step
        narrow, step = narrowed[source]
        # The bias as the sums are kept: ONNX Runtime fuses the product only with such a one.
        new += [
            ir.Node("", "DequantizeLinear", [narrow, *step]),
            _widened(graph, f"{name}.int8", product.weights, product.columns),
            _widened(graph, f"{name}.bias32", product.bias, product.columns * product.step),
        ]
        for at, made in enumerate(new):
            made.outputs[0].name = f"{name}.{made.op_type}.{at}"
        graph.insert_before(node, new)
        # Where all biases are nought, the exporter left them out.
        for place in range(len(node.inputs)):
            node.replace_input_with(place, new[place - 3].outputs[0])
    ir.passes.common.RemoveUnusedNodesPass()(model)


def _narrowed(source: ir.Value, step: list[ir.Value]) -> list[ir.Node]:
    """Return the nodes that make `source` 8 bits wide where it arises, before it is only laid out anew.

    OpenVINO then narrows within what computes it, and moves a quarter of the bytes: 6 % of a ViT-B/32's time.
    """
    moves = []
    made = source.producer()
    while made is not None and made.op_type in ("Reshape", "Transpose"):
        moves.append(made)
        source = cast(ir.Value, made.inputs[0])
        made = source.producer()
    nodes = [ir.Node("", "QuantizeLinear", [source, *step])]
    for move in reversed(moves):
        given = [nodes[-1].outputs[0], *move.inputs[1:]]
        nodes.append(ir.Node("", move.op_type, given, attributes=move.attributes.values()))
    return nodes


def _widened(graph: ir.Graph, name: str, values: NDArray[np.generic], scales: NDArray[np.float32]) -> ir.Node:
    # A zero point, though it is nought: without one ONNX Runtime would widen the weights and multiply in fp32.
    zeros = np.zeros(scales.shape, values.dtype)
    given = [
        _constant(graph, name, values),
        _constant(graph, f"{name}.scale", scales),
        _constant(graph, f"{name}.zero", zeros),
    ]
    return ir.Node("", "DequantizeLinear", given, attributes=[ir.AttrInt64("axis", 0)])


def _constant(graph: ir.Graph, name: str, values: NDArray[np.generic]) -> ir.Value:
    dtype = ir.DataType.from_numpy(values.dtype)
    value = ir.Value(name=name, shape=ir.Shape(values.shape), type=ir.TensorType(dtype))
    value.const_value = ir.tensor(values, name=name)
    graph.register_initializer(value)
    return value


def _add(model: ir.Model, missing: NDArray[np.float32]) -> None:
    """Add to every embedding what rounding takes from the calibration crops' mean.

    Most of the error of rounded weights is the same for every face.  Source: bias correction (Nagel et al., ICCV 2019).
    """
    output = model.graph.outputs[0]
    name = str(output.name)
    offset = _constant(model.graph, "mean_correction", missing)
    last = output.producer()
    assert last is not None
    output.name = "uncorrected"
    added = ir.Node("", "Add", [output, offset])
    corrected = added.outputs[0]
    corrected.name, corrected.shape, corrected.type = name, copy.copy(output.shape), output.type
    model.graph.insert_after(last, [added])
    model.graph.outputs[0] = corrected
