"""ONNX sessions of one package: shapes, truncation, independence of batch-mates."""

import os
import subprocess
import sys

import numpy as np
import pytest
from packages import tiny_package

from emoclip.errors import ConfigError, PackageError
from emoclip.model import Runtime, package, unit


@pytest.fixture(scope="module")
def mini():
    return Runtime(package.load(package.BUNDLED))


@pytest.fixture(scope="module")
def pixels(mini):
    spec = mini.package.pixels
    shape = (40, len(spec.mean), spec.size, spec.size)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


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
    runtime = Runtime(package.load(str(tiny_package(tmp_path / "p", temporal="mean", width=4))))
    frames = np.array([[[3, 0, 0, 0], [0, 0.5, 0, 0]]], np.float32)
    np.testing.assert_allclose(runtime.temporal(frames), [[0.5, 0.5, 0, 0]])


def test_unit_keeps_zero_vectors():
    np.testing.assert_allclose(unit(np.array([[3, 4], [0, 0]], np.float32)), [[0.6, 0.8], [0, 0]])


def test_impossible_settings_are_refused(tmp_path):
    loaded = package.load(str(tiny_package(tmp_path / "p")))
    with pytest.raises(ConfigError, match="CPU"):
        Runtime(loaded, provider="Abacus")
    with pytest.raises(ConfigError, match="threads"):
        Runtime(loaded, threads=0)


def test_a_graph_that_cannot_be_loaded_is_named(tmp_path):
    folder = tiny_package(tmp_path / "p")
    loaded = package.load(str(folder))
    (folder / "text.onnx").write_bytes(b"not a graph")
    with pytest.raises(PackageError, match=r"text\.onnx"):
        Runtime(loaded).text(["a"])


def test_openvino_is_kept_from_reporting_home(tmp_path):
    pytest.importorskip("openvino")
    package = tiny_package(tmp_path / "p")
    code = (
        "import sys; import numpy as np; from emoclip.model.package import load; "
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
