"""The bundled model's package: the same bytes from any machine, its image tower in 8 bits within fixed ranges."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import cv2  # noqa: E402
import onnxruntime as ort  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

import emoclip  # noqa: E402
from emoclip.errors import PackageError  # noqa: E402
from emoclip.model import load, unit  # noqa: E402
from emoclip.training.export.exact import ExactGraph  # noqa: E402
from emoclip.training.export.packing import folded, measured_ranges, unpacked  # noqa: E402
from emoclip.training.mini.clips import ClipModel  # noqa: E402
from emoclip.training.mini.fitting import Fitted  # noqa: E402
from emoclip.training.mini.pack import FittedTowers, write_again, write_package  # noqa: E402
from emoclip.training.nets.compact import BothWays, ImageTower, ImageTowerConfig, TextTower, TextTowerConfig  # noqa: E402


@pytest.fixture(scope="module")
def crops():
    """Smooth pictures, as faces are: (64, 1, 48, 48) in [0, 1], some of them dim."""
    rng = np.random.default_rng(0)
    small = rng.random((64, 6, 6), dtype=np.float32)
    large = [cv2.resize(picture, (48, 48), interpolation=cv2.INTER_CUBIC) for picture in small]
    return np.stack(large)[:, None].clip(0, 1) * rng.uniform(0.03, 1, (64, 1, 1, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def parts(crops):
    """Small towers and what is fitted to them, as `write_package` takes them."""
    torch.manual_seed(0)
    image = ImageTower(ImageTowerConfig(channels=(8, 16), blocks=(1, 1), width=64)).train()
    image(torch.from_numpy(crops[:64]))  # gives the batch norms statistics that are not their initial ones
    tokenizer = Tokenizer.from_file(str(load("mini").path / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab_size()
    text = TextTower(TextTowerConfig(vocabulary, 16, 64, 1, 2, 64, width=64)).eval()
    fitted = Fitted(10.0, 0.1, (5.0, -2.0), np.zeros(64, np.float32), 100)
    return {"image": image.eval(), "temporal": ClipModel(64, 1).eval(), "text": text}, tokenizer, fitted


@pytest.fixture(scope="module")
def package(parts, crops, tmp_path_factory):
    towers, tokenizer, fitted = parts
    folder = tmp_path_factory.mktemp("packages") / "here"
    write_package(folder, FittedTowers(**towers, tokenizer=tokenizer), fitted, crops)
    return folder


OTHER_MACHINE = """
import sys
import numpy as np, torch
torch.backends.mkldnn.enabled = False
torch.set_num_threads(1)
from pathlib import Path
from tokenizers import Tokenizer
from emoclip.training.export import packing
from emoclip.training.mini.pack import FittedTowers, write_package
packing.BATCH = 23
towers, fitted = torch.load(sys.argv[1], weights_only=False)
tokenizer = Tokenizer.from_file(sys.argv[3])
write_package(Path(sys.argv[4]), FittedTowers(**towers, tokenizer=tokenizer), fitted, np.load(sys.argv[2]))
"""


def test_other_kernels_make_the_same_package(package, parts, crops, tmp_path):
    """Kernels without vector instructions and of another library, other batches and threads: all add up otherwise."""
    towers, _, fitted = parts
    torch.save((towers, fitted), tmp_path / "towers.pt")
    np.save(tmp_path / "crops.npy", crops)
    given = [tmp_path / "towers.pt", tmp_path / "crops.npy", package / "tokenizer.json", tmp_path / "there"]
    done = subprocess.run(
        [sys.executable, "-c", OTHER_MACHINE, *map(str, given)],
        env=os.environ
        | {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"}
        | {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"}
        | {"PYTHONPATH": str(Path(emoclip.__file__).parents[1]), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = {path.name: path.read_bytes() for path in package.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()} == made


def test_weights_are_small_enough_for_every_processor(package):
    graph = onnx.load(package / "image.onnx").graph
    onnx.checker.check_model(onnx.load(package / "image.onnx"))
    kinds = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = [
        kinds[node.input[0]]
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in kinds
        and kinds[node.input[0]].dtype == np.int8
    ]
    assert len(weights) == 7
    assert max(np.abs(matrix.astype(int)).max() for matrix in weights) == 64
    assert load(str(package)).narrow


def test_a_packed_tower_is_read_back_to_what_its_bits_say(package, parts, crops):
    original = folded(parts[0]["image"])
    tower = unpacked(package / "image.onnx", original.config)
    steps = dict(original.state_dict())
    for name, weight in tower.state_dict().items():
        largest = steps[name].abs().flatten(1).amax(1) if weight.ndim > 1 else steps[name].abs().amax()
        apart = (weight - steps[name]).abs()
        assert (apart.flatten(1).amax(1) if weight.ndim > 1 else apart.amax()).le(largest / 127 + 1e-4).all()
    with torch.no_grad():
        found = BothWays(tower)(torch.from_numpy(crops)).numpy()
    packed = ort.InferenceSession(str(package / "image.onnx")).run(None, {"pixels": crops})[0]
    assert (unit(found) * unit(packed)).sum(1).min() > 0.99
    with pytest.raises(PackageError, match=r"image\.onnx: is not of the recipe's image tower"):
        unpacked(package / "image.onnx", ImageTowerConfig(channels=(8, 32), blocks=(1, 1), width=64))


def test_a_package_with_another_image_tower_keeps_all_else(package, crops, tmp_path):
    before = load(str(package))
    tower = unpacked(package / "image.onnx", ImageTowerConfig(channels=(8, 16), blocks=(1, 1), width=64))
    with torch.no_grad():
        tower.head.bias += 0.1
    fitted = Fitted(12.0, 0.2, (6.0, -3.0), np.ones(64, np.float32), 50)
    assert write_again(tmp_path / "new", before, tower, fitted, crops) > 0.98
    after = load(str(tmp_path / "new"))
    assert (
        after.logit_scale == before.logit_scale != 12.0
    )  # as trained on, it would flatten all but the classes
    changed = {"rejection", "intensity", "resting", "calibration", "quantisation", "files"}
    assert {name for name in before.config if before.config[name] != after.config[name]} == changed
    files = before.config["files"]
    assert {name for name in files if files[name] != after.config["files"][name]} == {"image.onnx"}
    (tmp_path / "new/README.md").unlink()  # as anybody may
    write_again(tmp_path / "bare", after, tower, fitted, crops)
    assert load(str(tmp_path / "bare")).config["files"].keys() == files.keys() - {"README.md"}


def test_convolutions_run_in_int8_but_not_the_contrast_of_a_crop(package, tmp_path):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(str(package / "image.onnx"), options, ["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    assert kinds.count("QLinearConv") == 6
    assert "Conv" not in kinds


def test_ranges_leave_out_only_the_few_largest_values(package, crops):
    """Against fp32 as ONNX Runtime computes it: all but 5 in a million of the values lie within."""
    graph = onnx.load(package / "image.onnx")
    exact = ExactGraph(graph)(crops)
    found = ort.InferenceSession(str(package / "image.onnx")).run(None, {"pixels": crops})[0]
    assert np.abs(exact["embedding"] - found).max() < 0.02 * np.abs(found).max()
    low, high = measured_ranges(graph, crops)["mul_1"]  # what the first convolution sees
    values = exact["mul_1"].reshape(-1)
    assert (values < low * 1.001).mean() <= 1e-5
    assert low == pytest.approx(np.quantile(values, 5e-6), rel=1e-2)
    assert high == pytest.approx(np.quantile(values, 1 - 5e-6), rel=1e-2)


def test_a_dim_crop_reads_as_the_same_crop_in_light(package, crops):
    """The contrast by which a crop is divided is no 8-bit number: a dim crop's would be one of two or three."""
    session = ort.InferenceSession(str(package / "image.onnx"))
    light = crops[:16] / crops[:16].max(axis=(1, 2, 3), keepdims=True)
    bright, dim = (unit(session.run(None, {"pixels": light * level})[0]) for level in (1.0, 0.3))
    assert (bright * dim).sum(axis=1).min() > 0.99
