"""The temporal transformer against the official code's numbers and a hand-written attention."""

import pytest

torch = pytest.importorskip("torch")

from emoclip.errors import ConfigError, InputError  # noqa: E402
from emoclip.training.nets.temporal import Attention, TemporalConfig, TemporalTransformer  # noqa: E402


def parameters(model: "torch.nn.Module") -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_paper_sizes_are_the_published_ones():
    model = TemporalTransformer(TemporalConfig.paper())
    # Position table, class token, and per layer: to_qkv, to_out with bias, two norms, MLP of two square layers.
    per_layer = 49152 * 512 + 512 * 16384 + 512 + 4 * 512 + 2 * (512 * 512 + 512)
    assert parameters(model) == 1024 * 512 + 512 + 2 * per_layer
    assert parameters(model) == pytest.approx(68.7e6, rel=1e-3)


def test_lean_has_a_tenth_of_the_parameters():
    assert parameters(TemporalTransformer(TemporalConfig.lean())) < 0.1 * parameters(
        TemporalTransformer(TemporalConfig.paper())
    )


def test_attention_is_softmax_of_scaled_products_per_head():
    torch.manual_seed(0)
    config = TemporalConfig(width=6, heads=2, head_width=5)
    attention, x = Attention(config), torch.randn(3, 4, 6)
    query, key, value = (x @ part.T for part in attention.to_qkv.weight.chunk(3))
    heads = []
    for at in (slice(0, 5), slice(5, 10)):
        shares = (query[..., at] @ key[..., at].transpose(1, 2) / 5**0.5).softmax(dim=-1)
        heads.append(shares @ value[..., at])
    expected = torch.cat(heads, dim=-1) @ attention.to_out[0].weight.T + attention.to_out[0].bias
    assert torch.allclose(attention(x), expected, atol=1e-6)


def test_clips_do_not_see_their_batch_mates_and_any_length_goes():
    torch.manual_seed(0)
    model = TemporalTransformer(TemporalConfig.lean(width=64))
    clips = torch.randn(4, 32, 64)
    together = model(clips)
    assert together.shape == (4, 64)
    assert torch.allclose(together[2], model(clips[2:3])[0], atol=1e-5)
    assert model(clips[:, :1]).shape == (4, 64)


def test_order_of_frames_matters():
    torch.manual_seed(0)
    model = TemporalTransformer(TemporalConfig.lean(width=64))
    clips = torch.randn(1, 8, 64)
    assert not torch.allclose(model(clips), model(clips.flip(1)), atol=1e-3)


def test_clip_longer_than_the_position_table_is_refused():
    model = TemporalTransformer(TemporalConfig(width=8, heads=1, head_width=8, positions=5))
    assert model(torch.zeros(1, 4, 8)).shape == (1, 8)
    with pytest.raises(InputError, match=r"5 frames .* places for 4"):
        model(torch.zeros(1, 5, 8))


@pytest.mark.parametrize(
    "wrong", [{"depth": 0}, {"heads": -1}, {"width": 2.5}, {"positions": 1}, {"heads": True}]
)
def test_sizes_that_make_no_model_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TemporalConfig(**wrong)
