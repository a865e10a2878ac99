"""Severity heads from strangers: whatever is changed in one, it scores, or one line says what is wrong."""

import io
import json
import math
import shutil
import zipfile

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interviews import RATED, made_up
from mutations import MANY, change_graph, mutated, sealed, spoilt
from packages import tiny_package

from emoclip import EmoCLIP
from emoclip.errors import PackageError
from emoclip.symptoms import head as heads
from emoclip.symptoms import probe
from emoclip.symptoms.regression import Regression

WIDTH = 6


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A package with a head, and an interview to score."""
    folder = tmp_path_factory.mktemp("heads")
    model = EmoCLIP.load(str(tiny_package(folder / "model", width=WIDTH)), threads=1)
    _, recordings = made_up(model, subjects=1)
    rng = np.random.default_rng(0)
    fitted = Regression(((rng.normal(size=(2 * WIDTH, 1)), np.zeros(1)),), "ridge")
    info = {
        "estimator": "probe",
        "takes": "clips",
        "targets": [vars(RATED) | {"half_width": 1.0}],
        "cohort": {"duration_s": [0, 100], "coverage_min": 0.0, "distance_max": 9.0},
    }
    heads.write_package(
        model.package,
        folder / "head",
        lambda path: probe.save_graph(path, [fitted], WIDTH),
        (np.zeros(WIDTH), np.eye(WIDTH)),
        info,
        "",
    )
    assert tried(folder / "head", recordings[0]) == ""
    return folder / "head", recordings[0]


@pytest.fixture
def changed(whole, tmp_path):
    """Return a function that gives a fresh copy of the package with its head."""

    def fresh():
        shutil.rmtree(tmp_path / "p", ignore_errors=True)
        return shutil.copytree(whole[0], tmp_path / "p")

    return fresh


def tried(folder, recording):
    """Score an interview; return what was wrong with the head, or nothing."""
    try:
        estimate = heads.Head(EmoCLIP.load(str(folder), threads=1)).score("x", recording)
    except PackageError as error:
        wrong = str(error)
    else:
        wrong = ""
    if wrong:
        assert wrong.isprintable()
        assert str(folder) in wrong
        return wrong
    json.dumps(estimate.record(), allow_nan=False)
    assert all(math.isfinite(item.score) for item in estimate.scores)
    return ""


def damage(folder, name, content):
    (folder / name).write_bytes(content)
    return sealed(folder)


@MANY
@given(data=st.data())
def test_a_changed_head_config_is_one_line_or_a_score(whole, changed, data):
    folder = changed()
    config = json.loads((folder / "config.json").read_text())
    config["symptoms"] = mutated(data, config["symptoms"])
    (folder / "config.json").write_text(json.dumps(config))
    tried(folder, whole[1])


@MANY
@given(data=st.data(), name=st.sampled_from([heads.GRAPH, heads.COHORT]))
def test_a_spoilt_head_is_one_line_or_a_score(whole, changed, data, name):
    folder = changed()
    tried(damage(folder, name, spoilt(data, (folder / name).read_bytes())), whole[1])


@MANY
@given(data=st.data())
def test_a_head_changed_with_knowledge_is_one_line_or_a_score(whole, changed, data):
    folder = changed()
    model = onnx.load(folder / heads.GRAPH)
    change_graph(data, model)
    tried(damage(folder, heads.GRAPH, model.SerializeToString()), whole[1])


def packed(**arrays):
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (packed(centre=np.zeros(WIDTH)), "matrix"),
        (packed(centre=np.zeros(WIDTH), matrix=np.zeros((WIDTH, 1))), "matrix must be"),
        (packed(centre=np.full(WIDTH, np.nan), matrix=np.eye(WIDTH)), "centre must be"),
        (packed(centre=np.array(["x"] * WIDTH), matrix=np.eye(WIDTH)), "centre must be"),
        (packed(centre=np.array([None] * WIDTH), matrix=np.eye(WIDTH)), "cannot be read"),  # a pickle
        (packed(centre=np.zeros(WIDTH), matrix=np.zeros((3000, 3000))), "more than it should"),
    ],
)
def test_a_cohort_that_is_none_is_refused(whole, changed, content, said):
    folder = changed()
    assert said in tried(damage(folder, heads.COHORT, content), whole[1])


def test_a_cohort_that_lies_about_its_size_is_refused(whole, changed):
    content = io.BytesIO()
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    told = "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999999), }"
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("centre.npy", header + told.ljust(117).encode() + b"\n")
        archive.writestr("matrix.npy", b"")
    assert "cannot be read" in tried(damage(changed(), heads.COHORT, content.getvalue()), whole[1])


def test_a_target_of_any_name_is_one_row_of_the_card():
    figure = {"value": 0.5, "ci95": [0.25, 0.75]}
    found = dict.fromkeys(("pcc", "ccc", "icc", "mae", "rmse"), figure) | {"permutation_p": 0.5}
    cohort = {"subjects": 9, "interviews": 9, "duration_s": [1, 2]}
    text = heads.card({"estimator": "ridge", "interval": "by subject", "cohort": cohort}, {"PANSS|N1": found})
    assert r"| PANSS\|N1 | 0.50 (0.25 to 0.75) |" in text
