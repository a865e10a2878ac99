from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from emoclip.errors import InputError  # noqa: E402
from emoclip.training.augmentation import AugmentConfig  # noqa: E402
from emoclip.training.mini import images  # noqa: E402
from emoclip.training.mini.batches import (  # noqa: E402
    Captions,
    ImageRecipe,
    Targets,
    calmed,
    crop_size,
    draw_batch,
    draws,
)
from emoclip.training.mini.captions import read_captions  # noqa: E402
from emoclip.training.mini.faces import Faces  # noqa: E402
from emoclip.training.mini.images import (  # noqa: E402
    ImageModel,
    class_logits,
    class_sentences,
    evaluate,
    looks,
    on_the_way,
    read_model,
    taught,
    train_images,
)
from emoclip.training.mini.votes import Votes  # noqa: E402
from emoclip.training.nets.compact import ImageTowerConfig  # noqa: E402
from emoclip.training.nets.state import load_weights, save_weights  # noqa: E402

RECIPE = ImageRecipe(
    epochs=2,
    batch=16,
    momentum_rate=0.05,
    geometry=0.1,
    descriptions=0.1,
    classes=1.0,
    words=0.1,
    mixup=0.3,
    small=((1, 32),),
    tower=ImageTowerConfig(channels=(8, 8, 8), blocks=(1, 1, 1), width=8, dropout=0.2),
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
def votes(faces):
    counts = np.zeros((32, 10), np.float32)
    counts[np.arange(32), faces.labels], counts[:, 4] = 7, 2
    return Votes.of(counts)


@pytest.fixture
def captions():
    torch.manual_seed(0)

    def texts(*shape):
        return torch.nn.functional.normalize(torch.randn(*shape, 768), dim=-1)

    return Captions(
        sentences=texts(40),
        described=torch.arange(32)[:, None],
        mirrored=torch.arange(8, 40)[:, None],
        classes=[texts(3) for _ in range(8)],
        states={"bored": texts(2), "confused": texts(2)},
        cues={"bored": texts(2), "confused": texts(2)},
    )


def test_a_run_that_was_cut_off_goes_on_as_if_never_stopped(faces, votes, captions, tmp_path):
    # The first of two epochs is kept, the second is cut off at its end.
    class CutError(Exception):
        pass

    calls = iter([evaluate])

    def cut(*arguments, **_):
        for call in calls:
            return call(*arguments)
        raise CutError

    whole = train_images(RECIPE, faces, votes, (faces, votes), captions, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoclip.training.mini.images.evaluate", cut)
        with pytest.raises(CutError):
            train_images(RECIPE, faces, votes, (faces, votes), captions, tmp_path / "cut")
    resumed = train_images(RECIPE, faces, votes, (faces, votes), captions, tmp_path / "cut")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_second_run_keeps_what_the_first_made_of_crops_as_they_are(faces, votes, captions, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    train_images(RECIPE, faces, votes, (faces, votes), captions, first)
    one = ImageModel(RECIPE.tower, 82)
    one.load_state_dict(load_weights(first / "model.safetensors"))
    pixels = torch.from_numpy(faces.images)[:, None]
    keep = replace(
        RECIPE, kept=50.0, classes=0.0, words=0.0, descriptions=0.0, geometry=0.0, small=(), mixup=0.0
    )
    free = replace(keep, kept=0.0, classes=1.0)
    nearness = {}
    for name, recipe in (("kept", keep), ("free", free)):
        (second / name).mkdir()
        weights = train_images(
            replace(recipe, epochs=6),
            faces,
            votes,
            (faces, votes),
            captions,
            second / name,
            first / "model.safetensors",
        )
        other = ImageModel(RECIPE.tower, 82)
        other.load_state_dict(weights)
        nearness[name] = float(
            torch.nn.functional.cosine_similarity(looks(one, pixels), looks(other, pixels)).mean()
        )
    assert nearness["kept"] > max(0.9, nearness["free"] + 0.05)


def lesson(faces, votes, captions, share, teachers):
    """Return a recipe in which teachers have this share, so many of them, crops, and what is added to logits."""
    torch.manual_seed(0)
    recipe = replace(RECIPE, taught=share, mixup=0.0)
    models = [ImageModel(RECIPE.tower, 82).eval() for _ in range(teachers)]
    data = Targets(faces, votes)
    return (
        recipe,
        models,
        draw_batch(recipe, data, captions, torch.arange(9), 48),
        draws(data.shares, recipe)[1],
    )


def test_teachers_say_their_share_of_what_the_same_crops_are_trained_towards(faces, votes, captions):
    recipe, teachers, batch, log_prior = lesson(faces, votes, captions, 0.6, 2)
    said = []
    for model in teachers:
        seen = torch.nn.functional.normalize(model.tower(batch.pixels), dim=-1)
        text = torch.nn.functional.normalize(model.text_head(batch.texts), dim=-1)
        said.append((model.class_scale() * seen @ text.T + log_prior).softmax(1))
    wanted = 0.4 * batch.shares + 0.3 * said[0] + 0.3 * said[1]
    told = taught(recipe, [teachers], batch, log_prior)
    assert torch.allclose(told.shares, wanted, atol=2e-2)  # towers may multiply half floats
    assert torch.equal(told.pixels, batch.pixels)
    assert torch.equal(told.kept, batch.kept)


def test_specialists_teach_their_own_kind_of_crop(faces, votes, captions):
    recipe, teachers, batch, log_prior = lesson(faces, votes, captions, 1.0, 3)
    batch = replace(batch, kind=torch.tensor([0, 1, 2] * 3))
    told = taught(recipe, [[each] for each in teachers], batch, log_prior)
    mirrored = batch.pixels.flip(3)
    for kind, model in enumerate(teachers):
        both = torch.nn.functional.normalize(
            torch.nn.functional.normalize(model.tower(batch.pixels), dim=-1)
            + torch.nn.functional.normalize(model.tower(mirrored), dim=-1),
            dim=-1,
        )
        nearness = torch.nn.functional.cosine_similarity(told.kept, both)
        assert float(nearness[kind::3].min()) > 0.99
        assert float(nearness.min()) < 0.99  # others read otherwise
    assert torch.allclose(told.shares.sum(1), torch.ones(9), atol=1e-5)


def test_votes_make_room_for_what_the_first_weights_read(faces, votes, captions, tmp_path):
    seen = []
    first = ImageModel(RECIPE.tower, 82)
    save_weights(tmp_path / "first.safetensors", first.state_dict())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "draws", lambda shares, recipe: seen.append(shares) or draws(shares, recipe))
        for read in (0.0, 1.0):
            recipe = replace(RECIPE, epochs=1, read=read)
            train_images(
                recipe, faces, votes, (faces, votes), captions, tmp_path, tmp_path / "first.safetensors"
            )
            (tmp_path / "last.safetensors").unlink()
    given, read = seen
    assert torch.allclose(given, Targets(faces, votes).shares)
    text = class_sentences(captions).float()
    with torch.no_grad():
        wanted = class_logits(first.eval(), looks(first, Targets(faces, votes).pixels), text).softmax(1)
    assert torch.allclose(read, wanted, atol=1e-3)


def test_weights_of_another_tower_are_refused_in_one_line(tmp_path):
    save_weights(tmp_path / "model.safetensors", ImageModel(RECIPE.tower, 82).state_dict())
    with pytest.raises(InputError, match=r"model\.safetensors: .*make it again"):
        read_model(tmp_path)


def test_the_last_epochs_are_calm():
    recipe = replace(RECIPE, epochs=10, calm=3)
    assert calmed(recipe, 6) is recipe
    calm = calmed(recipe, 7)
    assert calm.mixup == 0
    assert calm.augment.p_flip == recipe.augment.p_flip
    assert calm.augment.rotation_deg == recipe.augment.rotation_deg / 2


def test_rare_classes_are_drawn_oftener_and_the_logits_are_told_how_much():
    # 90 happy crops and 10 of contempt: at a half, draws go with the root of the frequency.
    shares = torch.zeros(100, 8)
    shares[:90, 3] = shares[90:, 7] = 1.0
    often, log_prior = draws(shares, replace(RECIPE, balance=0.5, prior=1.0))
    drawn = often[90:].sum() / often.sum()
    assert float(drawn) == pytest.approx(0.1**0.5 / (0.1**0.5 + 0.9**0.5), rel=1e-5)
    assert float(log_prior[7]) == pytest.approx(float(torch.log(drawn / 0.1)), rel=1e-5)
    assert float(draws(shares, replace(RECIPE, prior=0.0))[1].abs().max()) == 0


def test_crops_without_votes_are_not_drawn_for_classes_and_geometry_does_not_ask_for_votes():
    shares = torch.zeros(4, 8)
    shares[:3, 3] = 1.0
    assert float(draws(shares, RECIPE)[0][3]) == 0
    assert draws(shares, replace(RECIPE, classes=0.0))[0].tolist() == [1.0] * 4


def test_small_crops_come_first():
    recipe = replace(RECIPE, small=((2, 24), (1, 32)))
    assert [crop_size(recipe, epoch) for epoch in range(5)] == [24, 24, 32, 48, 48]


def test_a_class_without_any_crop_leaves_the_others_to_be_learned(faces, votes, captions, tmp_path):
    rows = faces.labels != 1
    some, few_votes = faces.take(rows), votes.take(rows)
    few = replace(captions, described=captions.described[rows], mirrored=captions.mirrored[rows])
    weights = train_images(replace(RECIPE, epochs=1), some, few_votes, (some, few_votes), few, tmp_path)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


@pytest.mark.filterwarnings("error")
def test_crops_without_any_mesh_are_trained_on(faces, votes, captions, tmp_path):
    bare = replace(
        faces, measures=np.full_like(faces.measures, np.nan), points=np.full_like(faces.points, np.nan)
    )
    weights = train_images(replace(RECIPE, geometry=0.0), bare, votes, (bare, votes), captions, tmp_path)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_a_description_follows_its_crop_into_the_mirror(faces, votes, captions):
    # Every crop is flipped or not; its sentence is the one of that side.
    torch.manual_seed(0)
    data, rows = Targets(faces, votes), torch.arange(32)
    framed = draw_batch(replace(RECIPE, augment=AugmentConfig(p_flip=1.0)), data, captions, rows, 48)
    assert torch.equal(framed.described, captions.sentences[captions.mirrored[:, 0]])
    framed = draw_batch(replace(RECIPE, augment=AugmentConfig(p_flip=0.0)), data, captions, rows, 48)
    assert torch.equal(framed.described, captions.sentences[captions.described[:, 0]])


def test_captions_of_an_earlier_version_are_refused(tmp_path):
    save_weights(tmp_path / "captions.safetensors", {"described": torch.zeros(3, 1, 768)})
    with pytest.raises(InputError, match=r"captions.safetensors: was made by an earlier version; delete it"):
        read_captions(tmp_path / "captions.safetensors", np.ones(3, bool))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_weights_on_the_way_lie_on_the_line_between_two(share):
    config = ImageTowerConfig(channels=(8, 8, 8), blocks=(1, 1, 1), width=8)
    first, last = (ImageModel(config) for _ in range(2))
    last.tower.train()(torch.rand(4, 1, 48, 48))  # moves the statistics of its norms, and counts
    begun, ended = ({name: value.clone() for name, value in m.state_dict().items()} for m in (first, last))
    found = on_the_way(first, last, share).state_dict()
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.lerp(begun[name], ended[name], share), msg=name)
        else:
            assert torch.equal(value, ended[name]), name
