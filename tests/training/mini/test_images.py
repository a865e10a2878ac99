from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from emoclip.training.mini.faces import Faces  # noqa: E402
from emoclip.training.mini.images import Captions, ImageRecipe, train_images  # noqa: E402
from emoclip.training.nets.compact import ImageTowerConfig  # noqa: E402
from emoclip.training.nets.state import load_weights  # noqa: E402

RECIPE = ImageRecipe(
    epochs=2,
    batch=16,
    momentum_rate=0.05,
    geometry=0.1,
    descriptions=0.1,
    classes=1.0,
    words=0.1,
    contempt=0.5,
    mixup=0.3,
    opinion=0.5,
    opinion_from=0.5,
    compile=False,
    tower=ImageTowerConfig(fine=4, channels=(8, 8, 8), blocks=(1, 1, 1), width=8, pooled=False),
)


@pytest.fixture
def faces():
    random = np.random.default_rng(0)
    points = random.uniform(8, 40, (32, 82, 2)).astype(np.float32)
    return Faces(
        [str(i) for i in range(32)],
        random.integers(0, 256, (32, 48, 48)).astype(np.uint8),
        np.arange(32) % 7,
        random.normal(size=(32, 22)).astype(np.float32),
        points,
    )


@pytest.fixture
def captions():
    torch.manual_seed(0)

    def texts(*shape):
        return torch.nn.functional.normalize(torch.randn(*shape, 384), dim=-1)

    return Captions(
        described=texts(32, 1),
        mirrored=texts(32, 1),
        classes=[texts(3) for _ in range(8)],
        states={"bored": texts(2), "confused": texts(2)},
        cues={"bored": texts(2), "confused": texts(2)},
    )


def test_a_run_that_was_cut_off_goes_on_as_if_never_stopped(faces, captions, tmp_path):
    # One epoch of the same schedule, cut off there, is what the first of two epochs leaves behind.
    class CutError(Exception):
        pass

    def cut(*arguments, **_):
        raise CutError

    whole = train_images(RECIPE, faces, faces, captions, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoclip.training.mini.images.evaluate", cut)
        with pytest.raises(CutError):
            train_images(RECIPE, faces, faces, captions, tmp_path / "cut")
    resumed = train_images(RECIPE, faces, faces, captions, tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_opinions_are_shares_of_the_seven_classes_and_move_from_the_labels(faces, captions, tmp_path):
    train_images(replace(RECIPE, epochs=1, mixup=0.0), faces, faces, captions, tmp_path)
    opinions = load_weights(tmp_path / "state.safetensors")["opinions"]
    assert opinions.shape == (32, 7)
    assert torch.allclose(opinions.sum(1), torch.ones(32), atol=1e-5)
    # One look moves a tenth of the opinion: the label keeps at least 0.9, and seldom all.
    own = opinions[torch.arange(32), torch.from_numpy(faces.labels)]
    assert float(own.min()) >= 0.9 - 1e-6
    assert float(own.mean()) < 0.99


def test_a_crop_labelled_wrongly_among_many_alike_is_seen_through(faces, captions, tmp_path):
    # Eighteen crops look alike, seventeen of them labelled happiness: in the end the odd one is believed to be too.
    images, labels = faces.images.copy(), faces.labels.copy()
    images[14:], labels[14:], labels[14] = images[14], 3, 0
    alike = replace(faces, images=images, labels=labels)
    train_images(replace(RECIPE, epochs=20, contempt=0.0, mixup=0.0), alike, alike, captions, tmp_path)
    opinions = load_weights(tmp_path / "state.safetensors")["opinions"]
    assert int(opinions[14].argmax()) == 3


def test_a_class_without_any_crop_leaves_the_others_to_be_learned(faces, captions, tmp_path):
    some = faces.take(faces.labels != 1)
    few = replace(captions, described=captions.described[: len(some.labels)])
    weights = train_images(replace(RECIPE, epochs=1), some, some, few, tmp_path)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
