"""The 8-bit image tower: exact where it is algebra, of fixed ranges, alike on both engines, judged before it ships."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("onnxscript")

import onnxruntime as ort  # noqa: E402

from emoclip.errors import ConfigError, InputError, PackageError  # noqa: E402
from emoclip.model import (  # noqa: E402
    Description,
    Runtime,
    hub,
    unit,
)
from emoclip.model.pixels import prepare  # noqa: E402
from emoclip.training.export import gate  # noqa: E402
from emoclip.training.export.calibration import Calibration, read_calibration  # noqa: E402
from emoclip.training.export.export import Towers, export_package  # noqa: E402
from emoclip.training.export.quantisation import measure, smooth  # noqa: E402
from emoclip.training.nets.model import ClipSizes, VideoTextModel, image_settings  # noqa: E402
from emoclip.training.nets.tokenizer import clip_tokenizer  # noqa: E402
from emoclip.training.nets.vision import lean  # noqa: E402


@pytest.fixture(scope="module")
def model():
    """A small CLIP with outliers: gains of 10, and a channel of the residual stream far above the others."""
    torch.manual_seed(0)
    model = VideoTextModel(ClipSizes(32, 32, 3, 64, 8, 77, 49408, 32, 2, 1, 2).build()).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
        if name.endswith(("ln_1.weight", "ln_2.weight")):
            parameter.data[::16] *= 10
    model.backbone.visual.transformer.resblocks[0].mlp.c_proj.bias.data[5] += 30
    return model


@pytest.fixture(scope="module")
def crops():
    """Smooth pictures, as faces are."""
    import cv2

    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (160, 5, 5, 3), dtype=np.uint8)
    return [cv2.resize(picture, (40, 40), interpolation=cv2.INTER_CUBIC) for picture in small]


@pytest.fixture(scope="module")
def spec(model):
    return image_settings(model.backbone)


def export(folder, model, crops, **options):
    calibration = Calibration(crops[:64], crops[64:])
    description = Description("tiny", "MIT", "tests", "none", image_settings(model.backbone), 8)
    return export_package(
        folder, Towers.of(model), clip_tokenizer(), description, calibration=calibration, **options
    )


@pytest.fixture(scope="module")
def folder(model, crops, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages") / "int8"
    export(folder, model, crops, precision="int8")
    return folder


def session(folder, name="image.int8.onnx", threads=1, optimise=True):
    options = ort.SessionOptions()
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    opened = ort.InferenceSession(str(folder / name), options, ["CPUExecutionProvider"])
    return lambda pixels: opened.run(None, {"pixels": pixels})[0]


# What is algebra


def test_lean_form_is_the_official_tower(model, crops, spec):
    pixels = torch.from_numpy(prepare(crops[:9], spec))
    tower = lean(model.backbone.visual)
    with torch.inference_mode():
        assert torch.allclose(tower(pixels), model.backbone.encode_image(pixels), rtol=0, atol=2e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_lean_form_with_exact_gelu_and_any_depth(layers):
    visual = ClipSizes(16, 32, layers, 64, 8, 77, 49408, 32, 1, 1, 4, quick_gelu=False).build().visual.eval()
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(lean(visual)(pixels), visual(pixels), rtol=0, atol=2e-5)


def test_narrowed_before_laid_out_anew(folder):
    """OpenVINO narrows in passing only what is narrowed where it is computed."""
    import onnx

    nodes = onnx.load(folder / "image.int8.onnx", load_external_data=False).graph.node
    maker = {output: node.op_type for node in nodes for output in node.output}
    narrowed = [maker.get(node.input[0], "input") for node in nodes if node.op_type == "QuantizeLinear"]
    assert len(narrowed) > 5
    assert not {"Reshape", "Transpose"} & set(narrowed)


def test_smoothing_is_exact_and_takes_the_outliers(model, crops, spec):
    pixels = torch.from_numpy(prepare(crops[:32], spec))
    tower = lean(model.backbone.visual).double()
    with torch.inference_mode():
        before = tower(pixels.double())
    mean, ranges = measure(tower, pixels.double())
    assert np.allclose(mean, before.mean(0).numpy(), atol=1e-9)
    peaks = {name: torch.maximum(-low, high) for name, (low, high) in ranges.items()}
    smooth(tower, ranges)
    with torch.inference_mode():
        assert torch.allclose(tower(pixels.double()), before, rtol=0, atol=1e-9)
    _, now = measure(tower, pixels.double())
    for name, (low, high) in now.items():
        assert torch.allclose(low, ranges[name][0])
        assert torch.allclose(high, ranges[name][1])
        if name.endswith(("query", "key", "value", "wide", "out")):
            peak = torch.maximum(-low, high)
            assert peak.max() / peak.median() < 0.7 * peaks[name].max() / peaks[name].median()


# The same from any machine

OTHER_MACHINE = """
import sys
import numpy as np, torch
torch.backends.mkldnn.enabled = False
torch.set_num_threads(1)
from emoclip.training.export import quantisation
from emoclip.training.export.graphs import save
quantisation.BATCH = 5
visual, pixels, out = sys.argv[1:]
save(quantisation.quantise(torch.load(visual, weights_only=False), torch.from_numpy(np.load(pixels))), out)
"""


def test_other_kernels_make_the_same_file(folder, model, crops, spec, tmp_path):
    """Kernels without vector instructions and of another library, other batches and threads: all add up otherwise."""
    from pathlib import Path

    import emoclip

    torch.save(model.backbone.visual, tmp_path / "visual.pt")
    np.save(tmp_path / "pixels.npy", prepare(crops[:64], spec))
    paths = [tmp_path / name for name in ("visual.pt", "pixels.npy", "image.int8.onnx")]
    done = subprocess.run(
        [sys.executable, "-c", OTHER_MACHINE, *map(str, paths)],
        env=os.environ
        | {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"}
        | {"PYTHONPATH": str(Path(emoclip.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert paths[-1].read_bytes() == (folder / "image.int8.onnx").read_bytes()


@pytest.mark.parametrize("optimise", [True, False])
def test_engine_computes_what_was_measured(folder, model, crops, spec, optimise):
    """Fused 8-bit kernels or none: the calibration crops' mean is the fp32 tower's, as measured without an engine."""
    pixels = prepare(crops[:64], spec)
    with torch.inference_mode():
        exact = model.double().encode_frames(torch.from_numpy(pixels).double()).mean(0).numpy()
        model.float()
    found = session(folder, threads=2, optimise=optimise)(pixels)
    assert np.abs(found.mean(axis=0) - exact).max() < 0.002 * found.std(axis=0).mean()


# What the package carries


def test_package_carries_both_and_says_how_equal_they_are(folder):
    loaded = hub.load(str(folder))
    assert loaded.precisions == ("fp32", "bf16", "int8")
    told = loaded.config["quantisation"]
    assert (told["form"], told["calibration_crops"], told["held_back_crops"]) == (1, 64, 96)
    figures = told["engines"]["onnxruntime"]
    assert figures["centred_cosine"] >= gate.LEAST_CENTRED_COSINE
    assert set(figures["labels"]) >= {"seven", "eight", "mafw11"}
    card = (folder / "README.md").read_text()
    assert f"centred cosine {figures['centred_cosine']:.4f}" in card


def test_figures_of_the_gate_are_those_of_the_held_back_crops(folder, model, crops, spec):
    held = prepare(crops[64:], spec)
    with torch.inference_mode():
        exact = model.encode_frames(torch.from_numpy(held)).numpy()
    got = session(folder)(held)
    centre = exact.mean(axis=0)
    centred = (unit(got - centre) * unit(exact - centre)).sum(axis=1).mean()
    told = json.loads((folder / "config.json").read_text())["quantisation"]["engines"]["onnxruntime"]
    assert told["centred_cosine"] == pytest.approx(centred, abs=2e-4)


def test_int8_products_are_int8_in_the_file(folder):
    import onnx

    graph = onnx.load(folder / "image.int8.onnx").graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert kinds["blocks.0.wide.int8"] == onnx.TensorProto.INT8
    assert kinds["project.weight"] == onnx.TensorProto.FLOAT  # runs once per frame
    # Small enough for pairs of products to fit 16 bits: no processor's kernels overflow, and all compute the same.
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer if kinds[tensor.name] == 3]
    assert max(np.abs(matrix.astype(int)).max() for matrix in weights) == 64
    assert hub.load(str(folder)).narrow
    opsets = onnx.load(folder / "image.int8.onnx").opset_import
    assert {opset.domain for opset in opsets} == {""}  # plain ONNX, which every engine reads


def test_onnx_runtime_multiplies_in_int8(folder, tmp_path):
    """It widens the weights and multiplies in fp32, four times as slow, where it does not know the pattern."""
    import onnx

    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(str(folder / "image.int8.onnx"), options, ["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    # Patches; queries, keys, values, out and two of the MLP in two blocks; keys and values in the last.
    assert kinds.count("QGemm") == 1 + 6 * 2 + 2
    assert kinds.count("Gemm") + kinds.count("MatMul") == 5 + 2 * 3


def test_a_crop_does_not_depend_on_its_batch(folder, crops, spec):
    pixels = prepare(crops[:8], spec)
    pixels[7] *= 50  # a batch-mate far out of range
    run = session(folder)
    together = run(pixels)
    alone = np.concatenate([run(crop[None]) for crop in pixels])
    assert np.abs(together - alone).max() < 1e-5


def test_threads_do_not_change_the_answer(folder, crops, spec):
    pixels = prepare(crops[:8], spec)
    assert np.abs(session(folder)(pixels) - session(folder, threads=2)(pixels)).max() < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_engines_agree(folder, crops, spec, precision):
    pytest.importorskip("openvino")
    loaded = hub.load(str(folder))
    pixels = prepare(crops[64:], spec)
    runs = [
        Runtime(loaded, threads=1, engine=engine).tower(
            engine, "image.int8.onnx" if precision == "int8" else "image.onnx", precision
        )(pixels)
        for engine in ("onnxruntime", "openvino")
    ]
    centre = runs[0].mean(axis=0)
    centred = (unit(runs[0] - centre) * unit(runs[1] - centre)).sum(axis=1)
    assert centred.mean() >= {"fp32": 0.99999, "int8": gate.LEAST_CENTRED_COSINE}[precision]
    one = Runtime(loaded, threads=1, engine="openvino", precision="fp32")
    assert one.image(pixels[:1]).shape == (1, 32)
    assert one.image(pixels[:0]).shape == (0, 32)


def test_bf16_runs_where_the_processor_has_it(folder, crops, spec):
    pytest.importorskip("openvino")
    from emoclip.model.cpu import processor

    if not processor().bf16:
        pytest.skip("this processor has no bf16")
    loaded = hub.load(str(folder))
    pixels = prepare(crops[64:], spec)
    exact, half = (
        Runtime(loaded, threads=1, engine="openvino", precision=kind).image(pixels)
        for kind in ("fp32", "bf16")
    )
    assert np.abs(exact - half).max() > 1e-5
    assert (unit(exact) * unit(half)).sum(axis=1).min() > 0.999


# The gate


def test_tower_that_strays_is_refused_with_its_figures(folder, model, crops, spec):
    held = prepare(crops[64:], spec)
    with torch.inference_mode():
        exact = model.encode_frames(torch.from_numpy(held)).numpy()
    runtime = Runtime(hub.load(str(folder)), threads=1, precision="fp32")
    assert gate.judge(runtime, "image.int8.onnx", held, exact)["onnxruntime"].centred_cosine > 0.98
    other = exact + 0.3 * exact.std(axis=0) * np.random.default_rng(0).normal(size=exact.shape)
    with pytest.raises(
        PackageError, match=r"centred cosine 0\.\d+ \(at least 0.98\).*96 held-back"
    ) as caught:
        gate.judge(runtime, "image.int8.onnx", held, other.astype(np.float32))
    assert "\n" not in str(caught.value)
    with pytest.raises(PackageError, match="centred cosine nan"):
        gate.judge(runtime, "image.int8.onnx", held, np.full_like(exact, np.nan))


def test_agreement_counts_labels_and_centres():
    class Still:
        class package:  # noqa: N801
            frames_per_clip, width = 2, 8

        def temporal(self, frames):
            return frames.mean(axis=1)

        def text(self, sentences):
            return np.stack([np.random.default_rng(len(s)).normal(size=8) for s in sentences]).astype(
                np.float32
            )

    rng = np.random.default_rng(0)
    exact = (5 + rng.normal(size=(50, 8))).astype(np.float32)
    same = gate.compare(Still(), exact, exact)
    assert (same.centred_cosine, same.label_agreement) == (pytest.approx(1), 1)
    noise = gate.compare(Still(), exact, (exact + rng.normal(size=exact.shape)).astype(np.float32))
    assert noise.cosine > 0.9  # flattered by what all have in common
    assert noise.centred_cosine < 0.8


def test_int8_needs_crops_and_a_vision_transformer(model, crops, tmp_path):
    towers, about = Towers.of(model), Description("x", "MIT", "tests", "none", image_settings(model.backbone))
    with pytest.raises(ConfigError, match="needs calibration"):
        export_package(tmp_path / "x", towers, clip_tokenizer(), about, precision="int8")
    other = Towers(torch.nn.Conv2d(3, 3, 3), None, towers.text, 1.0)
    with pytest.raises(ConfigError, match="CLIP's vision transformers"):
        export_package(
            tmp_path / "x",
            other,
            clip_tokenizer(),
            about,
            precision="int8",
            calibration=Calibration(crops, crops),
        )


# Crops for it


def test_calibration_reads_a_folder_and_holds_half_back(crops, tmp_path):
    import cv2

    for at, crop in enumerate(crops[:70]):
        (tmp_path / f"s{at % 7}").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"s{at % 7}" / f"{at}.png"), crop[..., ::-1])
    (tmp_path / "broken.png").write_text("no picture")
    found = read_calibration(tmp_path)
    assert (len(found.measured), len(found.held)) == (35, 35)
    given = {crop.tobytes() for crop in crops[:70]}
    assert {crop.tobytes() for crop in [*found.measured, *found.held]} == given
    (tmp_path / "list.csv").write_text(
        "path,label\n" + "\n".join(f"s{at % 7}/{at}.png,x" for at in range(70)) + "\n"
    )
    listed = read_calibration(tmp_path / "list.csv")
    assert {crop.tobytes() for crop in [*listed.measured, *listed.held]} == given


def test_too_few_crops_are_refused(crops, tmp_path):
    import cv2

    for at, crop in enumerate(crops[:10]):
        cv2.imwrite(str(tmp_path / f"{at}.png"), crop)
    with pytest.raises(InputError, match="has 10 face crops that can be read, calibration needs at least 64"):
        read_calibration(tmp_path)
