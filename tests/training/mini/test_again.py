"""A package's image tower, trained on: its joint space stays, and a run that was cut off goes on."""

import copy
from dataclasses import fields, replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from emoclip.model import Runtime, load  # noqa: E402
from emoclip.training.augmentation import AugmentConfig  # noqa: E402
from emoclip.training.export.packing import folded, unpacked  # noqa: E402
from emoclip.training.mini import again  # noqa: E402
from emoclip.training.mini.again import class_rows, look, readings, train_again  # noqa: E402
from emoclip.training.mini.batches import ImageRecipe  # noqa: E402
from emoclip.training.mini.faces import Faces  # noqa: E402
from emoclip.training.mini.votes import Votes  # noqa: E402
from emoclip.training.nets.compact import BothWays, ImageTower, ImageTowerConfig  # noqa: E402
from emoclip.training.nets.state import load_weights  # noqa: E402

SMALL = ImageTowerConfig(channels=(8, 16), blocks=(1, 1), width=16, dropout=0.1)
RECIPE = ImageRecipe(epochs=2, batch=16, learning_rate=3e-4, read=0.5, augment=AugmentConfig(p_dim=1.0))


@pytest.fixture
def tower():
    """A tower with its norms folded, as one is that was read from a package."""
    torch.manual_seed(0)
    tower = ImageTower(SMALL).train()
    tower(torch.rand(64, 1, 48, 48))
    return folded(tower)


@pytest.fixture
def runtime(tower):
    """What a package of that tower reads."""
    look, text = (
        BothWays(copy.deepcopy(tower)),
        np.random.default_rng(1).normal(size=(8, 16)).astype(np.float32),
    )

    def image(pixels):
        with torch.no_grad():
            return look(torch.from_numpy(pixels)).numpy()

    package = SimpleNamespace(logit_scale=7.0)
    return SimpleNamespace(image=image, text=lambda sentences: text[: len(sentences)], package=package)


@pytest.fixture(scope="module")
def crops():
    """Eight kinds of pictures, and ten people who call each by its kind."""
    rng = np.random.default_rng(0)
    kinds = rng.random((8, 4, 4), dtype=np.float32)[np.arange(48) % 8]
    images = np.stack([cv2.resize(one * 200, (48, 48), interpolation=cv2.INTER_LINEAR) for one in kinds])
    images += rng.integers(0, 50, images.shape)
    none = np.full((48, 22), np.nan, np.float32), np.full((48, 4, 2), np.nan, np.float32)
    faces = Faces([str(i) for i in range(48)], images.astype(np.uint8), np.zeros(48, np.int64), *none)
    votes = np.zeros((48, 10), np.float32)
    votes[np.arange(48), np.arange(48) % 8] = 10
    return faces, Votes.of(votes)


def test_the_bundled_tower_read_from_its_package_reads_as_that_does(crops):
    runtime = Runtime(load("mini"), threads=1)
    config = ImageTowerConfig(channels=(48, 96, 192, 256), blocks=(1, 2, 2, 2), dropout=0.1)
    tower = unpacked(runtime.package.path / "image.onnx", config)
    cosines = torch.cosine_similarity(look(tower, crops[0]), torch.from_numpy(readings(runtime, crops[0])))
    assert float(cosines.min()) > 0.97


def test_training_on_fits_the_votes_with_the_packages_own_words(runtime, tower, crops, tmp_path):
    def rated():
        cosines = look(tower.eval(), crops[0]) @ torch.from_numpy(class_rows(runtime)).T
        return float((cosines.argmax(1).numpy() == np.arange(48) % 8).mean())

    before = rated()
    gentle = AugmentConfig(**{one.name: 0.0 for one in fields(AugmentConfig)})
    recipe = replace(RECIPE, epochs=30, read=0.0, average=0.0, learning_rate=3e-2, augment=gentle)
    train_again(recipe, runtime, tower, crops, crops, tmp_path)
    tower.load_state_dict(load_weights(tmp_path / "tower.safetensors"))
    assert rated() > before + 0.3


def test_its_own_readings_are_half_of_what_it_learns(runtime, tower, crops, tmp_path, monkeypatch):
    wanted = []
    monkeypatch.setattr(
        again.F, "cross_entropy", lambda logits, shares: wanted.append(shares) or logits.sum()
    )
    train_again(replace(RECIPE, epochs=1, balance=0.0), runtime, tower, crops, crops, tmp_path)
    text = torch.from_numpy(class_rows(runtime))
    own = torch.nn.functional.normalize(torch.from_numpy(readings(runtime, crops[0])), dim=1)
    expected = 0.5 * torch.from_numpy(crops[1].shares) + 0.5 * (7.0 * own @ text.T).softmax(1)
    for row in torch.cat(wanted):
        assert float((expected - row).abs().sum(1).min()) < 1e-4


def test_a_run_may_end_before_its_last_epoch_and_go_on_later(runtime, tower, crops, tmp_path, capsys):
    def run(folder, stop):
        (tmp_path / folder).mkdir(exist_ok=True)
        train_again(
            replace(RECIPE, epochs=3), runtime, copy.deepcopy(tower), crops, crops, tmp_path / folder, stop
        )
        return load_weights(tmp_path / folder / "tower.safetensors"), capsys.readouterr().out

    whole, _ = run("whole", 0)
    first, said = run("parts", 1)
    assert "epoch 1" in said
    assert "epoch 2" not in said
    rest, said = run("parts", 0)
    assert "epoch 1" not in said
    assert all(torch.equal(whole[name], rest[name]) for name in whole)
    assert not all(torch.equal(first[name], rest[name]) for name in whole)


def test_rare_classes_are_drawn_as_often_as_others_and_predictions_get_that_back(
    runtime, tower, crops, tmp_path, monkeypatch
):
    found, draws = [], again.draws
    monkeypatch.setattr(again, "draws", lambda *given: found.append(draws(*given)) or found[-1])
    counts = np.zeros((48, 10), np.float32)
    counts[:40, 0] = counts[40:, 1] = 10
    recipe = replace(RECIPE, epochs=1, balance=1.0, prior=1.0)
    train_again(recipe, runtime, tower, (crops[0], Votes.of(counts)), crops, tmp_path)
    [(often, log_prior)] = found
    assert float(often[:40].sum()) == pytest.approx(float(often[40:].sum()), rel=1e-5)
    assert float(log_prior[1] - log_prior[0]) == pytest.approx(np.log(5), rel=1e-5)


def test_what_a_crop_is_embedded_as_may_be_kept_for_words_that_are_no_class(runtime, tower, crops, tmp_path):
    own = torch.from_numpy(readings(runtime, crops[0]))

    def near(kept):
        trained, folder = copy.deepcopy(tower), tmp_path / str(kept)
        folder.mkdir()
        recipe = replace(RECIPE, epochs=10, read=0.0, average=0.0, learning_rate=1e-2, kept=kept)
        train_again(recipe, runtime, trained, crops, crops, folder)
        trained.load_state_dict(load_weights(folder / "tower.safetensors"))
        return float(torch.cosine_similarity(look(trained.eval(), crops[0]), own).mean())

    assert near(20.0) > near(0.0) + 0.05


def test_rare_classes_are_lifted_by_a_share_of_how_rare_they_are(runtime, tower, crops):
    counts = np.zeros((27, 10), np.float32)
    counts[np.arange(27), [0, *[1] * 4, *[2] * 4, *[3] * 4, *[4] * 4, *[5] * 4, *[6] * 4, 7, 7]] = 10
    seen, text = look(tower.eval(), crops[0]), torch.from_numpy(class_rows(runtime))
    norm, before = seen.norm(dim=1).mean(), tower.head.bias.clone()
    again.lift(tower, runtime, Votes.of(counts), seen, 0.1)
    moved = 7.0 * text @ (tower.head.bias - before) / norm
    assert float(moved[0] - moved[1]) == pytest.approx(0.1 * np.log(4), abs=1e-3)
    assert float(moved[7] - moved[1]) == pytest.approx(0.1 * np.log(2), abs=1e-3)
    assert np.ptp(moved[1:7].detach().numpy()) < 1e-3


def test_a_run_that_was_cut_off_goes_on_to_the_same_tower(runtime, tower, crops, tmp_path, monkeypatch):
    def run(folder):
        folder.mkdir(exist_ok=True)
        train_again(RECIPE, runtime, copy.deepcopy(tower), crops, crops, folder)
        return load_weights(folder / "tower.safetensors")

    whole = run(tmp_path / "whole")
    original, taken = again.augment, []

    def cut_off(*given):
        taken.append(given)
        if len(taken) == 5:  # in the second epoch
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(again, "augment", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut")
    resumed = run(tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
