"""Packages from strangers: whatever is changed in one, it works, or one line says what is wrong."""

import json
import math
import shutil

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import MANY, change_graph, mutated, sealed, spoilt
from packages import tiny_package

from emoclip import EmoCLIP
from emoclip.errors import PackageError
from emoclip.model import hub
from emoclip.model.runtime import Runtime

GRAPHS = ("image.onnx", "temporal.onnx", "text.onnx")


def tried(folder):
    """Use every part of a package as a user would; return what was wrong with it, or nothing."""
    try:
        loaded = hub.load(str(folder))
        runtime = Runtime(loaded, threads=1, engine="onnxruntime")
        spec, width = loaded.pixels, loaded.width
        pixels = np.random.default_rng(0).normal(size=(2, len(spec.mean), spec.size, spec.size))
        frames = runtime.image(pixels.astype(np.float32))
        clips = runtime.temporal(np.resize(frames, (2, min(loaded.frames_per_clip, 64), width)))
        sentences = runtime.text(["bored", "诧异 😀", "very sad " * 200, ""])
    except PackageError as error:
        wrong = str(error)
    else:
        wrong = ""
    if wrong:
        assert wrong.isprintable(), "more than a line, or characters that steer a terminal"
        assert str(folder) in wrong
        return wrong
    for output, rows in ((frames, 2), (clips, 2), (sentences, 4)):
        assert output.shape == (rows, width)
        assert np.isfinite(output).all()
    assert math.isfinite(loaded.logit_scale + loaded.sample_fps)
    return ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tiny_package(tmp_path_factory.mktemp("whole") / "p")
    config = json.loads((folder / "config.json").read_text())
    config |= {"rejection": {"threshold": 0.2}, "quantisation": {"form": 7, "graph": "image.onnx"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert tried(folder) == ""
    return folder


@pytest.fixture
def changed(whole, tmp_path):
    """Return a function that gives a fresh copy of the whole package."""

    def fresh():
        shutil.rmtree(tmp_path / "p", ignore_errors=True)
        return shutil.copytree(whole, tmp_path / "p")

    return fresh


@MANY
@given(data=st.data())
def test_a_changed_config_is_one_line_or_a_model(changed, data):
    folder = changed()
    path = folder / "config.json"
    path.write_text(json.dumps(mutated(data, json.loads(path.read_text()))))
    tried(folder)


@MANY
@given(data=st.data())
def test_a_spoilt_config_is_one_line_or_a_model(changed, data):
    folder = changed()
    path = folder / "config.json"
    path.write_bytes(spoilt(data, path.read_bytes()))
    tried(folder)


@MANY
@given(data=st.data())
def test_a_changed_tokenizer_is_one_line_or_a_model(changed, data):
    folder = changed()
    path = folder / "tokenizer.json"
    if data.draw(st.booleans()):
        path.write_text(json.dumps(mutated(data, json.loads(path.read_text()))))
    else:
        path.write_bytes(spoilt(data, path.read_bytes()))
    tried(sealed(folder))


def test_a_tokenizer_whose_sentences_differ_in_length_is_one_line(changed):
    folder = changed()
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["padding"] = {**tokenizer["padding"], "strategy": {"Fixed": 1}}
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(PackageError, match="gives sentences of different lengths"):
        EmoCLIP.load(sealed(folder)).embed_text(["calm", "a face with wide open eyes"])


@MANY
@given(data=st.data(), name=st.sampled_from(GRAPHS))
def test_a_spoilt_graph_is_one_line_or_a_model(changed, data, name):
    folder = changed()
    path = folder / name
    path.write_bytes(spoilt(data, path.read_bytes()))
    tried(sealed(folder))


@MANY
@given(data=st.data(), name=st.sampled_from(GRAPHS))
def test_a_graph_changed_with_knowledge_is_one_line_or_a_model(changed, data, name):
    folder = changed()
    model = onnx.load(folder / name)
    for _ in range(data.draw(st.integers(1, 2))):
        if model.graph.node:
            change_graph(data, model)
    (folder / name).write_bytes(model.SerializeToString())
    tried(sealed(folder))
