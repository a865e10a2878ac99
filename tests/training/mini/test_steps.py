from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from emoclip.errors import ConfigError  # noqa: E402
from emoclip.model import load  # noqa: E402
from emoclip.training.augmentation import augment  # noqa: E402
from emoclip.training.export.packing import store_fp16, store_int8  # noqa: E402
from emoclip.training.mini import steps as mini  # noqa: E402
from emoclip.training.mini.fitting import (  # noqa: E402
    fit_intensity,
    fit_scale,
    fit_text_head,
    lifted,
    narrowed,
    rejection_threshold,
    widening,
)
from emoclip.training.nets.compact import TextHead  # noqa: E402
from emoclip.training.tables import read_as  # noqa: E402

SHIPPED = Path(mini.__file__).parents[1] / "recipes" / "mini" / "mini.toml"


def test_shipped_recipe_is_read():
    recipe = read_as(mini.MiniRecipe, SHIPPED)
    assert recipe.images.tower.channels == (48, 96, 192, 256)
    assert recipe.images.small[0][1] < recipe.images.tower.size
    assert recipe.images.augment.rotation_deg == 14.0
    assert recipe.text.layers == (0, 2, 5)


def test_the_second_tower_has_the_shape_of_the_first():
    first, second = (
        read_as(mini.MiniRecipe, SHIPPED.with_name(name)) for name in ("mini.toml", "second.toml")
    )
    assert first.images.tower == second.images.tower
    assert first.distil.taught > 0
    assert first.images.augment != second.images.augment


def test_the_specialists_see_their_kind_of_crop_alone():
    recipe = read_as(mini.MiniRecipe, SHIPPED)
    pixels = torch.rand(64, 1, 48, 48)
    assert bool(augment(pixels, recipe.tiny.augment)[1].tiny.all())
    assert float(augment(pixels, recipe.dim.augment)[1].dim.float().mean()) > 0.8
    worn = augment(pixels.repeat(20, 1, 1, 1), recipe.worn.augment)[1]
    assert not bool((worn.tiny & worn.dim).any())


def test_unknown_recipe_key_is_an_error(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[images]\nepoch = 3\n")
    with pytest.raises(
        ConfigError, match=r"mine.toml: unknown key images.epoch; did you mean images.epochs\?"
    ):
        read_as(mini.MiniRecipe, path)


def test_missing_crops_are_said_in_one_line(tmp_path, capsys):
    assert mini.main(["captions", "--root", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert "fer2013_trainval.parquet" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_fitted_scale_gives_back_the_one_the_votes_were_drawn_with():
    random = np.random.default_rng(0)
    cosines = random.uniform(-1, 1, (20000, 4)).astype(np.float32)
    odds = np.exp(5.0 * cosines)
    odds /= odds.sum(1, keepdims=True)
    shares = random.multinomial(10, odds / odds.sum(1, keepdims=True)) / 10
    assert fit_scale(cosines, shares.astype(np.float32)) == pytest.approx(5.0, rel=0.05)


def test_fitted_intensity_gives_back_the_curve_people_were_drawn_by():
    random = np.random.default_rng(0)
    cosines = random.uniform(-1, 1, (5000, 8)).astype(np.float32)
    says = 1 / (1 + np.exp(-(6.0 * cosines - 2.0)))
    slope, offset = fit_intensity(cosines, (random.binomial(10, says) / 10).astype(np.float32))
    assert slope == pytest.approx(6.0, rel=0.05)
    assert offset == pytest.approx(-2.0, rel=0.05)


def test_refitted_text_head_keeps_class_sentences_closest():
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize
    head = TextHead(384, 256)
    teacher, other = unit(torch.randn(3000, 384), dim=-1), unit(torch.randn(3000, 384), dim=-1)
    small = unit(teacher + other, dim=-1)  # another encoder's view of the same texts
    with torch.no_grad():
        wanted = unit(head(teacher), dim=-1)
    classes = [slice(at, at + 100) for at in range(0, 800, 100)]  # texts of eight classes, the sentence first
    words = [(wanted[rows], small[rows]) for rows in classes]
    fitted = fit_text_head(head, teacher, small, words, steps=200)
    likeness = (unit(fitted(small), dim=-1) * wanted).sum(1)
    assert likeness[0:800:100].min() > likeness[:800].mean() + 0.05
    assert likeness[0:800:100].min() > 0.95


def test_a_lifted_sentence_is_nearer_to_all_faces_by_what_was_asked_however_clear_they_are_and_others_stay():
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize
    kinds, middle = unit(torch.randn(5, 16), dim=-1), unit(torch.randn(16), dim=0)
    clearness = torch.rand(400, 1)  # what cannot be told from a face lies in the middle of all
    shown = kinds[torch.randint(0, 5, (400,))] + 0.1 * torch.randn(400, 16)
    faces = unit(clearness * unit(shown, dim=-1) + (1 - 0.6 * clearness) * middle, dim=-1)
    sentences = unit(torch.randn(3, 16), dim=-1)
    texts = torch.cat([sentences, unit(torch.randn(5, 16), dim=-1)])
    moved = lifted(texts, sentences, torch.tensor([0.1, 0.0, 0.0]), faces)
    gained = faces @ moved.T - faces @ texts.T
    assert float(gained[:, 0].mean()) == pytest.approx(0.1, abs=0.02)
    clear, unclear = (gained[keep, 0].mean() for keep in (clearness[:, 0] > 0.8, clearness[:, 0] < 0.2))
    assert float(clear - unclear) == pytest.approx(0.0, abs=0.02)
    assert torch.allclose(moved.norm(dim=1), torch.ones(8))
    assert float(gained[:, 1:3].mean(0).abs().max()) < 0.03
    assert torch.allclose(lifted(texts, sentences, torch.zeros(3), faces), texts, atol=1e-6)


def test_rejection_threshold_keeps_95_percent():
    best = np.linspace(0, 1, 1001, dtype=np.float32)
    cosines = np.stack([best, np.full_like(best, -1.0)], 1)
    assert (best >= rejection_threshold(cosines)).mean() == pytest.approx(0.95, abs=0.002)


@pytest.mark.parametrize(("store", "share"), [(store_int8, 0.3), (store_fp16, 0.55)])
def test_stored_small_is_nearly_the_same_function(store, share, tmp_path):
    random = np.random.default_rng(0)
    weights = onnx.numpy_helper.from_array(random.normal(size=(96, 96)).astype(np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 96])],
        [onnx.helper.make_tensor_value_info("y", 1, ["n", 96])],
        [weights],
    )
    path = tmp_path / "g.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), path
    )
    x, whole = random.normal(size=(3, 96)).astype(np.float32), path.stat().st_size
    before = ort.InferenceSession(str(path)).run(None, {"x": x})[0]
    store(path)
    after = ort.InferenceSession(str(path)).run(None, {"x": x})[0]
    assert path.stat().st_size < share * whole
    assert np.abs(after - before).max() < 0.03 * np.abs(before).max()


def test_bundled_package_is_small_and_does_not_mix_batch_mates():
    package = load("mini")
    assert sum(path.stat().st_size for path in package.path.iterdir()) < 20e6
    session = ort.InferenceSession(str(package.path / "image.onnx"))
    crops = np.random.default_rng(0).random((3, 1, 48, 48), np.float32)
    together = session.run(None, {"pixels": crops})[0]
    alone = np.concatenate([session.run(None, {"pixels": crop[None]})[0] for crop in crops])
    assert np.array_equal(together, alone)


def test_a_narrowed_head_says_of_small_sentences_what_the_head_says_of_wide_ones():
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize
    small, true = unit(torch.randn(200, 12), dim=-1), torch.linalg.qr(torch.randn(24, 12))[0]
    wide = small @ true.T  # as long as before: the columns are at right angles
    found = widening(small, wide, ridge=0.0)
    assert torch.allclose(found, true, atol=1e-4)
    head = TextHead(24, 6)
    assert torch.allclose(narrowed(head, found)(small), head(wide), atol=1e-4)
