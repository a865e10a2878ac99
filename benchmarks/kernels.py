"""What do this processor's 8-bit kernels gain over fp32, and do they compute what the 8-bit graph says?

    python benchmarks/kernels.py --faces DIR [--model mini] [--crops 1000] [--large FOLDER]

DIR holds FER-2013 as `emoclip.training.mini` reads it; only its val part is judged on.  A package of 8 bits: its image
tower with the kernels chosen here, the same graph without any fused kernel (its arithmetic done exactly), and its fp32
form, with widened weights and no steps between.  --large adds a ViT-B/32 at full size, random weights with a trained
CLIP's outliers, made in FOLDER unless it lies there: several minutes.
CPU time on one thread, so that other work on the machine counts little; all take turns in every round, medians.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

AT_ONCE = 8  # crops
Run = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--crops", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--large", type=Path)
    options = parser.parse_args()
    from emoclip.model import load
    from emoclip.model.cpu import processor

    machine = processor()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {machine}, ONNX Runtime {version('onnxruntime')}")
    package = load(options.model)
    if package.precision != "int8":
        raise SystemExit(f"{options.model}: is no package of 8 bits alone, whose fp32 form could be made")
    bundled(package, read_crops(options.faces, "val", options.crops), options.rounds)
    if options.large:
        large(options.large, options.faces, options.rounds)


def bundled(package: Any, crops: list[np.ndarray], rounds: int) -> None:
    from emoclip.files import sha256
    from emoclip.model import Runtime, prepare
    from emoclip.training.export.gate import compare

    runtime = Runtime(package, threads=1)
    print(f"{package.name}: {runtime.execution.engine}, {runtime.execution.kernels}")
    with tempfile.TemporaryDirectory() as scratch:
        widen(package.path / "image.onnx", Path(scratch) / "image.onnx")
        widened = {**package.config, "files": {"image.onnx": sha256(Path(scratch) / "image.onnx")}}
        alike = replace(package, path=Path(scratch), config=widened)
        fp32 = opened(Runtime(alike, threads=1).session("image.onnx"))
        int8 = runtime.tower(runtime.execution.engine, runtime.execution.graph, runtime.execution.precision)
        pixels = prepare(crops, package.pixels)
        print_times({"its fp32 form": fp32, "int8": int8}, pixels[:AT_ONCE], rounds)
        exact = embed(unfused(package.path / "image.onnx"), pixels)
        whole = embed(fp32, pixels)
        for name, others in (("int8 to the exact arithmetic", exact), ("int8 to the fp32 form", whole)):
            print(
                f"  {name}, {len(crops)} val crops: {compare(runtime, others, embed(int8, pixels)).record()}"
            )


def large(home: Path, faces: Path, rounds: int) -> None:
    from emoclip.model import Runtime, load, openvino_lack, prepare

    if not (home / "int8").is_dir():
        make_large(home, faces)
    package = load(str(home / "int8"))
    told = package.config["quantisation"]
    print(f"ViT-B/32, random weights; gate on {told['held_back_crops']} held-back crops: {told['engines']}")
    runtime = Runtime(load(str(home / "fp32")), threads=1, precision="fp32")
    contenders = {"ONNX Runtime fp32": runtime.tower("onnxruntime", "image.onnx", "fp32")}
    if not openvino_lack():
        contenders["OpenVINO fp32"] = runtime.tower("openvino", "image.onnx", "fp32")
    chosen = Runtime(package, threads=1)
    print(f"  auto: {chosen.execution.engine} {chosen.execution.precision}, {chosen.execution.kernels}")
    contenders["ONNX Runtime int8"] = chosen.tower("onnxruntime", package.int8_graph, "int8")
    if not openvino_lack():
        contenders["OpenVINO int8"] = chosen.tower("openvino", package.int8_graph, "int8")
    print_times(contenders, prepare(read_crops(faces, "val", AT_ONCE), package.pixels), rounds)


def make_large(home: Path, faces: Path) -> None:
    import torch
    from runtime import HELD, MEASURED, make_packages, outlier_model

    from emoclip.training.export.calibration import Calibration

    torch.set_num_threads(os.cpu_count() or 1)
    crops = read_crops(faces, "train", MEASURED + HELD)
    make_packages(home, outlier_model(), Calibration(crops[:MEASURED], crops[MEASURED:]))


def print_times(contenders: dict[str, Run], pixels: np.ndarray, rounds: int) -> None:
    """Print CPU milliseconds a crop, and how many times as fast as the first."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 2):
        for name, run in contenders.items():
            before = time.process_time()
            run(pixels)
            if turn > 1:  # the first two fill caches
                seconds[name].append(time.process_time() - before)
    first = median(next(iter(seconds.values())))
    for name, spent in seconds.items():
        each = 1000 * median(spent) / len(pixels)
        print(f"  {name}: {each:.2f} ms a crop, {first / median(spent):.2f} times as fast")


def embed(run: Run, pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([run(pixels[at : at + 32]) for at in range(0, len(pixels), 32)])


def opened(session: Any) -> Run:
    return lambda pixels: session.run(None, {"pixels": pixels})[0]


def unfused(path: Path) -> Run:
    """Open a graph so that every step is computed as it stands, products in fp32."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return opened(ort.InferenceSession(str(path), options, ["CPUExecutionProvider"]))


def widen(path: Path, out: Path) -> None:
    """Write the fp32 form of an 8-bit graph: weights widened, what narrows and widens between the products left out."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    renamed = {}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear"]:
        source = node.input[0]
        if source in constants:
            values, scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input)
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            shape = [-1 if at == axis else 1 for at in range(values.ndim)] if scale.ndim else []
            wide = (values.astype(np.float32) - zero.astype(np.float32).reshape(shape)) * scale.reshape(shape)
            graph.initializer.append(numpy_helper.from_array(wide.astype(np.float32), node.output[0]))
        else:
            assert makers[source].op_type == "QuantizeLinear"
            renamed[node.output[0]] = makers[source].input[0]
        graph.node.remove(node)
    for node in graph.node:
        for at, name in enumerate(node.input):
            while name in renamed:
                name = renamed[name]
            node.input[at] = name
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        graph.node.remove(node)
    onnx.save(model, out)


def read_crops(faces: Path, split: str, count: int) -> list[np.ndarray]:
    """Return crops (48, 48, 3) uint8 RGB, drawn with a fixed seed."""
    from emoclip.training.mini.faces import read_faces

    images = read_faces(faces, split).images
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    return [np.repeat(images[at][..., None], 3, axis=2) for at in chosen]


if __name__ == "__main__":
    main()
