from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from emoclip.training.augmentation import AugmentConfig, blocks, frame, sharpen  # noqa: E402
from emoclip.training.export.packing import folded  # noqa: E402
from emoclip.training.mini.clips import (  # noqa: E402
    ClipModel,
    FrameBank,
    PseudoClipRecipe,
    pseudo_clips,
    train_clips,
    weight_of,
)
from emoclip.training.mini.faces import held_out, near_duplicates  # noqa: E402
from emoclip.training.nets.compact import ImageTower, ImageTowerConfig, TextTower, TextTowerConfig  # noqa: E402
from emoclip.training.nets.losses import LogitScale, contrastive_loss, same_text_targets  # noqa: E402

SMALL = ImageTowerConfig(channels=(8, 8, 16, 16), blocks=(1, 1, 1, 1), width=12)


def shares(labels):
    return torch.nn.functional.one_hot(labels, 8).float()


@pytest.fixture
def tower():
    torch.manual_seed(0)
    tower = ImageTower(SMALL)
    tower.train()
    tower(torch.rand(64, 1, 48, 48))  # gives the batch norms statistics that are not their initial ones
    return tower.eval()


def test_exposure_does_not_change_the_embedding(tower):
    crops = torch.rand(3, 1, 48, 48)
    assert torch.allclose(tower(crops), tower(crops * 0.5 + 0.2), atol=2e-2)


def test_folded_tower_is_the_same_function_without_norms(tower):
    crops = torch.rand(5, 1, 48, 48)
    small = folded(tower)
    assert torch.allclose(small(crops), tower(crops), atol=1e-4)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in small.modules())


def test_padding_does_not_change_a_text():
    torch.manual_seed(0)
    tower = TextTower(
        TextTowerConfig(vocabulary=50, embedding=8, hidden=24, layers=2, heads=2, feed_forward=32)
    )
    tokens = torch.randint(1, 50, (2, 7))
    padded = torch.cat([tokens, torch.zeros(2, 20, dtype=torch.long)], 1)
    assert torch.allclose(tower.eval()(tokens), tower(padded), atol=1e-5)


def test_contrastive_loss_of_matched_orthogonal_pairs_by_hand():
    # Two pairs, cosines 1 and 0, scale 1: every row and column is softmax(1, 0), so loss = log(1 + e^-1).
    pairs = torch.eye(2) * 3
    loss = contrastive_loss(pairs, pairs, torch.tensor(1.0))
    assert float(loss) == pytest.approx(np.log1p(np.exp(-1)))


def test_same_class_samples_are_no_negatives_when_asked():
    visual, text = torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([[1.0, 0], [1, 0]])
    targets = same_text_targets(torch.tensor([4, 4]))
    # Both texts fit both samples alike; a wrong target would cost more than log 2.
    assert float(contrastive_loss(visual, text, torch.tensor(50.0), targets)) == pytest.approx(np.log(2))


def test_logit_scale_stays_at_most_100():
    scale = LogitScale(1e6)
    assert float(scale().detach()) == pytest.approx(100)


def test_points_move_with_the_picture():
    torch.manual_seed(1)
    pixels = torch.zeros(8, 1, 48, 48)
    pixels[:, :, 20:23, 30:33] = 1.0  # a bright spot around pixel (31, 21)
    point = torch.tensor([[(31 + 0.5) / 24 - 1, (21 + 0.5) / 24 - 1]]).expand(8, 1, 2)
    moved, framing = frame(pixels, AugmentConfig())
    where = (framing.move(point, torch.tensor([0])) + 1) * 24 - 0.5
    for picture, (x, y) in zip(moved[:, 0], where[:, 0].tolist(), strict=True):
        ys, xs = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
        centre = float((picture * xs).sum() / picture.sum()), float((picture * ys).sum() / picture.sum())
        assert centre == pytest.approx((x, y), abs=0.7)


def test_blocks_of_fine_steps_give_the_picture_back():
    pixels = torch.rand(2, 1, 48, 48)
    assert torch.allclose(blocks(pixels, 1.0, strength=1e-4), pixels, atol=1e-2)


def test_sharpening_keeps_flat_areas_and_widens_edges():
    torch.manual_seed(0)
    pixels = torch.full((4, 1, 48, 48), 0.4)
    pixels[..., 24:] = 0.6
    sharp = sharpen(pixels, 1.0)
    assert torch.allclose(sharp[..., :16], pixels[..., :16], atol=1e-5)
    assert (sharp[..., 24] > pixels[..., 24]).all()
    assert torch.equal(sharpen(pixels, 0.0), pixels)


def test_a_tower_whose_head_pools_reads_smaller_crops_too(tower):
    assert [tower(torch.rand(2, 1, side, side)).shape for side in (24, 32, 48)] == [(2, 12)] * 3


def test_temporal_part_starts_as_the_mean_of_unit_frames():
    frames = torch.randn(2, 5, 16) * 3
    expected = torch.nn.functional.normalize(frames, dim=-1).mean(1)
    assert torch.allclose(ClipModel(16, 1)(frames), expected, atol=1e-6)


def test_temporal_part_leaves_a_still_alone_and_corrects_a_changing_clip():
    torch.manual_seed(0)
    model = ClipModel(16, 1)
    torch.nn.init.normal_(model.out.weight)
    frames = torch.randn(2, 1, 16)
    unit = torch.nn.functional.normalize(frames, dim=-1)
    assert torch.allclose(model(frames.expand(2, 32, 16)), unit[:, 0], atol=1e-5)
    changing = torch.cat([unit, -unit], 1)
    assert float(model(changing).detach().norm(dim=1).min()) > 0.1  # their mean alone is nothing


def test_half_trust_halves_the_learned_correction_once_however_often_training_is_resumed(tmp_path):
    torch.manual_seed(0)
    bank = FrameBank(
        torch.randn(8, 2, 16), torch.randn(8, 2, 16), torch.randn(3, 16), shares(torch.arange(8))
    )
    text = torch.nn.functional.normalize(torch.randn(8, 16), dim=-1)
    recipe = PseudoClipRecipe(steps=250, batch=4, frames=4, depth=1)
    frames = torch.randn(3, 6, 16)
    mean = torch.nn.functional.normalize(frames, dim=-1).mean(1)
    learned = {}
    for trust in (1.0, 0.5, 0.5):
        out = tmp_path / str(trust)
        out.mkdir(exist_ok=True)
        learned[trust] = train_clips(replace(recipe, trust=trust), bank, text, 5.0, out)(frames) - mean
    assert float(learned[1.0].detach().abs().max()) > 0.01
    torch.testing.assert_close(learned[0.5], learned[1.0] / 2)


def test_a_partial_clip_shows_its_apex_and_rests_elsewhere():
    torch.manual_seed(0)
    views = torch.zeros(2, 1, 2)
    views[0, :, 0], views[1, :, 1] = 1.0, 1.0  # crop 0 shows something, crop 1 is neutral
    bank = FrameBank(views, views.expand(2, 2, 2).clone(), torch.zeros(3, 2), shares(torch.tensor([0, 4])))
    first, second = torch.zeros(200, dtype=torch.long), torch.ones(200, dtype=torch.long)
    clips, shown = pseudo_clips(bank, first, second, 16, partial=1.0)
    assert torch.all(clips[..., 0].amax(1) == 1.0)
    assert float((clips[..., 1] > 0.5).float().mean()) > 0.3
    seen = (clips[..., 0] > 0).float().mean(1)  # of frames that are not covered, the share that shows crop 0
    assert float(torch.corrcoef(torch.stack([seen, shown]))[0, 1]) > 0.8
    assert torch.all(pseudo_clips(bank, first, second, 16, partial=0.0)[1] == 1.0)


def test_two_expressions_share_a_clip_by_time_and_a_neutral_face_says_little():
    half, no, yes = torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([1.0])
    assert float(weight_of(half, no, no, 3.0)) == 0.5
    assert float(weight_of(half, no, yes, 3.0)) == 0.75
    assert float(weight_of(half, yes, no, 3.0)) == 0.25
    assert float(weight_of(torch.tensor([1.0]), yes, no, 3.0)) == 1.0


def test_the_temporal_part_learns_to_change_sides_where_one_face_gives_way_to_another(tmp_path):
    torch.manual_seed(0)
    views = torch.nn.functional.normalize(torch.randn(8, 16), dim=-1)[:, None] + 0.02 * torch.randn(8, 2, 16)
    bank = FrameBank(views, views, torch.randn(3, 16), shares(torch.arange(8)))
    text = torch.nn.functional.normalize(views.mean(1), dim=-1)
    recipe = PseudoClipRecipe(steps=1000, batch=8, frames=16, depth=1, others=1.0)
    model = train_clips(recipe, bank, text, 10.0, tmp_path)
    for first, then in ((0, 3), (3, 0), (5, 7)):
        for before in (4, 8, 12):
            clip = torch.cat([views[first, :1].expand(before, 16), views[then, :1].expand(16 - before, 16)])
            said = model(clip[None]).detach() @ text[[first, then]].T
            assert before == 8 or bool(said[0, 0] > said[0, 1]) == (before > 8)


def test_near_duplicates_share_a_group_and_a_side():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 48, 48)).astype(np.uint8)
    images[20:] = np.clip(images[:20].astype(int) + random.integers(-2, 3, (20, 48, 48)), 0, 255)
    groups = near_duplicates(images)
    assert np.array_equal(groups[:20], groups[20:])
    held = held_out(np.zeros(40, np.int64), groups, 0.3)
    assert np.array_equal(held[:20], held[20:])
    assert 12 <= held.sum() <= 13
