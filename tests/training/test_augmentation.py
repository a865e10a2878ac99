import pytest

torch = pytest.importorskip("torch")

from emoclip.training.augmentation import AugmentConfig, augment, filmed  # noqa: E402


@pytest.fixture
def crops():
    """Five smooth pictures, none like another."""
    torch.manual_seed(0)
    return torch.nn.functional.interpolate(torch.rand(5, 1, 7, 7), size=(48, 48), mode="bicubic").clamp(0, 1)


def test_a_film_gives_back_every_crop_where_it_was_and_the_worse_the_coarser(crops):
    lost = {}
    for crf in (10, 30, 41):
        back = filmed(crops, crf)
        assert back.shape == crops.shape
        error = (back[:, None] - crops[None]).abs().mean((2, 3, 4))
        assert error.argmin(1).tolist() == list(range(5))
        moved = [(back - crops.roll((y, x), (2, 3))).abs().mean() for y in (-1, 0, 1) for x in (-1, 0, 1)]
        assert min(moved) == moved[4]
        lost[crf] = float(error.diagonal().mean())
    assert lost[10] < 0.01 < lost[30] < lost[41]


def test_the_share_of_crops_asked_for_goes_through_a_film(crops):
    still = dict.fromkeys(vars(AugmentConfig()), 0.0)
    torch.manual_seed(1)
    many = crops.repeat(20, 1, 1, 1)
    for share, least, most in ((0.0, 0, 0), (0.5, 35, 65), (1.0, 100, 100)):
        shown, _ = augment(many, AugmentConfig(**still | {"p_codec": share}))
        changed = ((shown - many).abs().mean((1, 2, 3)) > 2e-3).sum()
        assert least <= changed <= most
