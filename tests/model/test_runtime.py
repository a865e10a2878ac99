"""ONNX sessions of one package: shapes, truncation, independence of batch-mates."""

import os
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from packages import tiny_package
from PIL import Image

from emoclip import EmoCLIP
from emoclip.errors import ConfigError, PackageError
from emoclip.model import Runtime, hub, package, processor, unit
from emoclip.model.cpu import Processor


@pytest.fixture(scope="module")
def mini():
    return Runtime(hub.load(package.BUNDLED))


MACHINES = {
    "VNNI": Processor("x", int8=True, bf16=False),
    "VNNI and bf16": Processor("x", int8=True, bf16=True),
    "AVX2": Processor("x", int8=False, bf16=False, overflows=True),
    "ARM": Processor("x", int8=False, bf16=False),
}


@pytest.fixture(scope="module")
def exact(mini, pixels):
    """The bundled 8-bit image tower, each node as the standard defines it: no kernel that joins several."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(mini.package.path / "image.onnx"), options, ["CPUExecutionProvider"])
    return session.run(None, {"pixels": pixels})[0]


@pytest.mark.parametrize("machine", MACHINES)
def test_bundled_model_is_its_own_8_bit_arithmetic_whatever_the_processor(mini, pixels, exact, machine):
    runtime = Runtime(mini.package, machine=MACHINES[machine])
    cosines = (unit(runtime.image(pixels)) * unit(exact)).sum(axis=1)
    assert cosines.mean() >= 0.9999
    frames = np.repeat(exact[None], 2, axis=0)
    np.testing.assert_allclose(runtime.temporal(frames), mini.temporal(frames), atol=1e-5)
    np.testing.assert_allclose(runtime.text(["a happy face"]), mini.text(["a happy face"]), atol=1e-5)


@pytest.mark.parametrize("narrow", [True, False])
def test_8_bit_products_run_in_8_bits_however_large_the_weights(mini, tmp_path, monkeypatch, narrow):
    """Unpacked at loading, as the other towers' weights are, the image tower would take twice as long."""
    onnx = pytest.importorskip("onnx")
    fused = str(tmp_path / "fused.onnx")
    opened = ort.InferenceSession

    def keeping_its_form(path, options, **rest):
        options.optimized_model_filepath = fused
        return opened(path, options, **rest)

    quantisation = {"greatest_weight": package.GREATEST_WEIGHT} if narrow else {}
    told = replace(mini.package, config={**mini.package.config, "quantisation": quantisation})
    assert told.narrow == narrow
    monkeypatch.setattr(ort, "InferenceSession", keeping_its_form)
    Runtime(told).session("image.onnx", eight_bits=True)
    kinds = [node.op_type for node in onnx.load(fused).graph.node]
    assert "QLinearConv" in kinds
    assert not {"Conv", "FusedConv"} & set(kinds)


@pytest.mark.parametrize("machine", MACHINES)
def test_bundled_model_runs_on_openvino_where_it_is_right(mini, pixels, exact, machine):
    pytest.importorskip("openvino")
    if processor().overflows and not MACHINES[machine].overflows and not mini.package.narrow:
        pytest.skip("the weights overflow on this processor, which is told here that they do not")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        runtime = Runtime(mini.package, engine="openvino", machine=MACHINES[machine])
    assert runtime.execution.precision == "int8"
    assert (unit(runtime.image(pixels)) * unit(exact)).sum(axis=1).mean() >= 0.999


class Broken:
    """An engine that fails in the middle, in many lines."""

    def get_inputs(self):
        return [SimpleNamespace(shape=["N", "L"])]

    def run(self, *_, **__):
        raise RuntimeError("Non-zero status code\nwhile running a node\nand more")


@pytest.mark.parametrize("tower", ["image", "temporal", "text"])
def test_engine_that_fails_at_run_time_is_one_line(tower, monkeypatch):
    runtime = Runtime(hub.load(package.BUNDLED))
    monkeypatch.setattr(runtime, "session", lambda *_, **__: Broken())
    given = {
        "image": lambda: runtime.image(np.zeros((1, 1, 48, 48), np.float32)),
        "temporal": lambda: runtime.temporal(np.zeros((1, 2, runtime.package.width), np.float32)),
        "text": lambda: runtime.text(["a"]),
    }
    with pytest.raises(PackageError, match=rf"{tower}\.onnx: ONNX Runtime cannot run it .*export") as caught:
        given[tower]()
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_an_engine_with_too_little_memory_says_so_and_logs_nothing():
    """It blamed the package, after lines of the engine's own."""
    script = (
        "import resource\n"
        "import numpy as np\n"
        "from emoclip.model import Runtime, hub, package\n"
        "runtime = Runtime(hub.load(package.BUNDLED), threads=1, engine='onnxruntime')\n"
        "pixels = np.zeros((8, 1, 48, 48), np.float32)\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (4 << 20),) * 2)\n"
        "try: runtime.image(pixels)\n"
        "except MemoryError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert re.search(r"image\.onnx: ONNX Runtime cannot (load|run) it \(\[ONNX", done.stdout), done.stdout
    assert done.stderr == ""


def test_engine_given_what_it_cannot_take_is_one_line(mini):
    wrong = np.zeros((1, 1, 9, 9), np.float32)
    with pytest.raises(PackageError, match=r"image\.onnx: ONNX Runtime cannot run it") as caught:
        mini.image(wrong)
    assert "\n" not in str(caught.value)


def test_openvino_given_what_it_cannot_take_is_one_line(tmp_path):
    pytest.importorskip("openvino")
    runtime = Runtime(hub.load(str(tiny_package(tmp_path / "p"))), engine="openvino")
    with pytest.raises(PackageError, match=r"image\.onnx: OpenVINO cannot run it") as caught:
        runtime.image(np.zeros((1, 3, 9, 9), np.float32))
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def pixels(mini):
    spec = mini.package.pixels
    shape = (40, len(spec.mean), spec.size, spec.size)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("kind", ["mini", "transformer", "mean"])
def test_a_package_runs_by_plain_onnxruntime_as_the_page_says(mini, tmp_path, monkeypatch, kind, count):
    page = (Path(__file__).parents[2] / "docs" / "packages.md").read_text("utf-8")
    _, section = page.split("## Running a package yourself\n")
    code = section.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    if kind == "mini":
        shutil.copytree(mini.package.path, "my-emoclip")
    else:
        tiny_package(Path("my-emoclip"), temporal=kind, frames_per_clip=8)
    Path("crops").mkdir()
    draw = np.random.default_rng(count)
    for at in range(count):  # grey as a face crop is, of another size than the model's
        grey = Image.fromarray(draw.integers(0, 256, (9, 9), np.uint8)).resize(
            (60, 60), Image.Resampling.BICUBIC
        )
        grey.convert("RGB").save(f"crops/{at}.png")
    said = {}
    exec(code, said)
    model = EmoCLIP.load("./my-emoclip", precision="auto" if kind == "mini" else "fp32")
    crops = [np.asarray(Image.open(f"crops/{at}.png")) for at in range(count)]
    clip = model.embed_clip(model.embed_frames(crops))
    text = model.embed_text({label: list(sentences) for label, sentences in said["labels"].items()})
    np.testing.assert_allclose(said["clip"], clip, atol=2e-4)
    np.testing.assert_allclose(said["shares"], model.probabilities(clip, text), atol=1e-4)


def test_shapes(mini, pixels):
    width = mini.package.width
    assert mini.image(pixels).shape == (40, width)
    assert mini.image(pixels[:0]).shape == (0, width)
    assert mini.temporal(np.ones((3, 7, width), np.float32)).shape == (3, width)
    assert mini.text(["a", "b c"]).shape == (2, width)


def test_a_frame_does_not_depend_on_its_batch(mini, pixels):
    alone = np.concatenate([mini.image(frame[None]) for frame in pixels])
    np.testing.assert_allclose(mini.image(pixels), alone, atol=2e-5)


def test_a_sentence_does_not_depend_on_its_batch(mini):
    sentences = ["bored", "a face with wide eyes and raised brows, the mouth open", "诧异 😀", ""]
    alone = np.concatenate([mini.text([sentence]) for sentence in sentences])
    together = mini.text(sentences)
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, alone, atol=2e-5)


def test_overlong_text_is_truncated_not_refused(mini):
    assert np.isfinite(mini.text(["very sad " * 2000])).all()


def test_mean_is_the_mean_of_unit_frames(tmp_path):
    runtime = Runtime(hub.load(str(tiny_package(tmp_path / "p", temporal="mean", width=4))))
    frames = np.array([[[3, 0, 0, 0], [0, 0.5, 0, 0]]], np.float32)
    np.testing.assert_allclose(runtime.temporal(frames), [[0.5, 0.5, 0, 0]])


def test_unit_keeps_zero_vectors():
    np.testing.assert_allclose(unit(np.array([[3, 4], [0, 0]], np.float32)), [[0.6, 0.8], [0, 0]])


def test_impossible_settings_are_refused(tmp_path):
    loaded = hub.load(str(tiny_package(tmp_path / "p")))
    with pytest.raises(ConfigError, match="CPU"):
        Runtime(loaded, provider="Abacus")
    with pytest.raises(ConfigError, match="threads"):
        Runtime(loaded, threads=0)


def test_a_provider_that_asks_servers_is_none(tmp_path, monkeypatch):
    loaded = hub.load(str(tiny_package(tmp_path / "p")))
    there = ["AzureExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: there)
    with pytest.raises(ConfigError, match=r"provider='Azure' is not installed; there is CPU$"):
        Runtime(loaded, provider="Azure")


def test_a_graph_that_cannot_be_loaded_is_named(tmp_path, monkeypatch):
    loaded = hub.load(str(tiny_package(tmp_path / "p")))
    monkeypatch.setattr(ort, "InferenceSession", Broken().run)
    with pytest.raises(PackageError, match=r"text\.onnx: ONNX Runtime cannot load it"):
        Runtime(loaded).text(["a"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names are Unicode")
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_package_may_lie_in_a_folder_of_any_name(mini, pixels, tmp_path, monkeypatch, engine):
    if engine == "openvino":
        pytest.importorskip("openvino")
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copytree(mini.package.path, folder)
    odd, plain = (Runtime(hub.load(str(each)), engine=engine) for each in (folder, mini.package.path))
    np.testing.assert_array_equal(odd.image(pixels), plain.image(pixels))
    np.testing.assert_array_equal(odd.text(["a smile"]), mini.text(["a smile"]))
    monkeypatch.setattr(ort, "InferenceSession", Broken().run)
    with pytest.raises(PackageError, match="give its folder a name in UTF-8"):
        odd.session("temporal.onnx")


def test_openvino_is_kept_from_reporting_home(tmp_path):
    pytest.importorskip("openvino")
    package = tiny_package(tmp_path / "p")
    code = (
        "import sys; import numpy as np; from emoclip.model import load; "
        "from emoclip.model.runtime import Runtime;"
        f"Runtime(load({str(package)!r}), engine='openvino').image(np.zeros((1, 3, 16, 16), np.float32));"
        "print(any(name.startswith('openvino_telemetry.') for name in sys.modules))"
    )
    home = tmp_path / "home"
    home.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(home), "USERPROFILE": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "False"
    assert not (home / "intel").exists()  # where it keeps who you are
