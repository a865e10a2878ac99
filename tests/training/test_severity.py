"""The paper's severity model: the official forward pass, training on what is there, and the saved graph."""

from dataclasses import replace

import numpy as np
import pytest
from interviews import made_up
from packages import tiny_package

from emoclip import EmoCLIP
from emoclip.model import load
from emoclip.symptoms import fit as symptoms
from emoclip.symptoms import head as heads
from emoclip.symptoms.study import ValidationConfig

torch = pytest.importorskip("torch")
from emoclip.training.export.graphs import save_graph  # noqa: E402
from emoclip.training.export.temporal_weights import read_temporal  # noqa: E402
from emoclip.training.nets.temporal import TemporalConfig, TemporalTransformer  # noqa: E402
from emoclip.training.severity import PaperEstimator, SeverityModel, SeverityRecipe, clip_scores, mean_start  # noqa: E402

RECIPE = SeverityRecipe(draws=16, head_steps=60, epochs=2, clips=4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return EmoCLIP.load(str(tiny_package(tmp_path_factory.mktemp("tiny") / "p")), threads=1)


@pytest.fixture(scope="module")
def cohort(tiny):
    return made_up(tiny)


def test_the_clip_embedding_is_the_official_downstream_models(shared):
    from safetensors.torch import load_file

    expected = load_file(str(shared / "parity/expected.safetensors"))
    weights = torch.load(shared / "parity/official_downstream_nofc.pth", weights_only=True)
    temporal = TemporalTransformer(TemporalConfig(width=64, depth=2, heads=4, head_width=48, mlp_width=64))
    prefix = "temporal."
    temporal.load_state_dict(
        {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    )
    model = SeverityModel(temporal, targets=2)
    with torch.inference_mode():
        embedded = model.encode_clips(expected["frame_embeddings"])
    torch.testing.assert_close(embedded, expected["downstream_video_embeddings"], atol=1e-5, rtol=1e-5)
    shapes = [tuple(layer.weight.shape) for layer in model.mlp if hasattr(layer, "weight")]
    assert shapes == [(256, 64), (2, 256)]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_temporal_weights_come_back_out_of_a_package(tmp_path, precision):
    folder = tiny_package(tmp_path / "p", width=32, frames_per_clip=6)
    torch.manual_seed(0)
    made = TemporalTransformer(
        TemporalConfig(width=32, depth=2, heads=2, head_width=24, mlp_width=40, positions=20)
    )
    with torch.no_grad():
        for parameter in made.parameters():  # biases begin at zero, norms at one: alike in every layer
            parameter += 0.1 * torch.randn_like(parameter)
    save_graph(made, torch.randn(2, 6, 32), folder / "temporal.onnx", {0: (1, None), 1: (1, 19)}, precision)
    rehash(folder)
    found = read_temporal(load(str(folder)))
    assert found is not None
    assert found.config == made.config
    frames = torch.randn(3, 6, 32)
    torch.testing.assert_close(
        found(frames), made(frames), atol=2e-2 if precision == "fp16" else 1e-5, rtol=0
    )


def test_without_a_temporal_transformer_it_starts_from_the_mean_over_frames():
    torch.manual_seed(0)
    frames = torch.randn(3, 15, 64) + 4 * torch.randn(64)
    found = mean_start(TemporalConfig.lean(64))(frames)
    mean = torch.nn.functional.layer_norm(frames, (64,)).mean(dim=1)
    assert torch.nn.functional.cosine_similarity(found, mean).min() > 0.99


def test_another_temporal_part_is_not_mistaken_for_one(tiny, tmp_path):
    assert read_temporal(tiny.package) is None
    assert read_temporal(load(str(tiny_package(tmp_path / "mean", temporal="mean")))) is None
    assert not PaperEstimator(tiny.package).from_package


def test_it_learns_what_is_there_out_of_fold(tiny, cohort):
    people, recordings = cohort
    settings = ValidationConfig(folds=3, draws=40)
    estimator = PaperEstimator(tiny.package, RECIPE, permutations=0)
    study = symptoms.fit(tiny, people, recordings, [estimator], settings)
    found = study.estimators["paper"].targets["RATED"]
    assert found["pcc"]["value"] > 0.8
    assert found["permutation"]["kind"] == "by fold"
    assert abs(study.estimators["paper"].targets["OTHER"]["pcc"]["value"]) < 0.6
    influence = study.estimators["paper"].influence[0]
    assert influence.shape == (6, 2)
    np.testing.assert_allclose(influence.sum(axis=0), 0, atol=1e-6)


def test_refits_move_videos_and_leave_scores_and_folds(tiny, cohort):
    people, recordings = cohort
    inputs, names, scores = [item.frames for item in recordings], people.subjects, people.scores
    estimator = PaperEstimator(tiny.package, SeverityRecipe(draws=4, head_steps=3, epochs=1, clips=2))
    assert estimator.refits(inputs) == 19
    folds, order = np.arange(24) % 3, np.roll(np.arange(24), 5)

    def quiet(share):
        return None

    orders = np.stack([np.arange(24), order])
    as_it_is, moved = estimator.permuted(inputs, scores, names, folds, orders, quiet)
    np.testing.assert_array_equal(as_it_is, estimator.out_of_fold(inputs, scores, names, folds, quiet)[0])
    exchanged = [inputs[at] for at in order]
    estimator.threads = 1  # which changes nothing
    np.testing.assert_array_equal(moved, estimator.out_of_fold(exchanged, scores, names, folds, quiet)[0])


def test_the_saved_head_scores_as_torch_does_and_again_the_same(tiny, cohort, tmp_path):
    people, recordings = cohort
    inputs = [item.frames for item in recordings]
    scores = people.scores.copy()
    scores[0, 1] = np.nan
    estimator = PaperEstimator(tiny.package, SeverityRecipe(draws=8, head_steps=5, clips=4))
    first, second = estimator.fit(inputs, scores), estimator.fit(inputs, scores)
    expected = clip_scores(first, inputs[3])
    np.testing.assert_array_equal(expected, clip_scores(second, inputs[3]))
    folder = tmp_path / "head"
    info = {
        "estimator": "paper",
        "takes": "frames",
        "targets": [vars(item) | {"half_width": 1.0} for item in people.targets],
        "cohort": {"duration_s": [0, 1e9], "coverage_min": 0.0, "distance_max": 1e9},
    }
    rows = np.stack([heads.centre_of(item) for item in inputs])
    heads.write_package(
        tiny.package,
        folder,
        lambda path: estimator.save(path, inputs, scores, people.subjects, lambda share: None),
        heads.whitening(rows),
        info,
        "",
    )
    head = heads.Head(EmoCLIP.load(str(folder), threads=1))
    estimate = head.score("x", recordings[3])
    assert [item.score for item in estimate.scores] == pytest.approx(expected.mean(axis=0).tolist(), abs=1e-3)
    moved = (expected[0] - expected.mean(axis=0)) / 5
    assert list(estimate.clips[0].moves.values()) == pytest.approx(moved.tolist(), abs=1e-3)
    each = ("frames", "clips", "probs", "parts", "starts_s", "ends_s")
    first_alone = replace(recordings[3], **{name: getattr(recordings[3], name)[:1] for name in each})
    (only,) = head.score("x", first_alone).clips
    assert only.moves == {"RATED": None, "OTHER": None}


def rehash(folder):
    import json

    from emoclip.files import sha256

    config = json.loads((folder / "config.json").read_text())
    config["files"] = {path.name: sha256(path) for path in folder.iterdir() if path.name != "config.json"}
    (folder / "config.json").write_text(json.dumps(config))
