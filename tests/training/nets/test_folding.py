"""The folded temporal part computes what the official one does, on the official numbers and on random clips."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

from emoclip.training.nets.folding import fold, unfold  # noqa: E402
from emoclip.training.nets.temporal import TemporalConfig, TemporalTransformer  # noqa: E402


def trained(config, seed=0):
    torch.manual_seed(seed)
    model = TemporalTransformer(config).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("frames", [1, 7, 32])
def test_folding_is_exact(depth, frames):
    model = trained(TemporalConfig(width=24, depth=depth, heads=3, head_width=100, mlp_width=40))
    clips = torch.randn(5, frames, 24)
    with torch.inference_mode():
        exact = model.double()(clips.double())
        folded = fold(model.float())(clips)
    assert torch.allclose(folded.double(), exact, rtol=0, atol=1e-5)


def test_folding_at_the_paper_s_sizes_takes_a_seventh_of_the_weights():
    model = trained(TemporalConfig.paper())
    folded = fold(model)
    sizes = [sum(p.numel() for p in part.parameters()) for part in (model, folded)]
    assert sizes[1] < sizes[0] / 6.5
    clips = torch.randn(2, 32, 512)
    with torch.inference_mode():
        assert torch.allclose(folded(clips), model(clips), rtol=0, atol=1e-5)


def test_folding_gives_the_official_numbers(shared):
    from safetensors.torch import load_file

    from emoclip.training.export.checkpoint import import_checkpoint

    parity = shared / "parity"
    expected = load_file(parity / "expected.safetensors")
    model = import_checkpoint(parity / "official_vclip_ddp.pth", config=parity / "config.json").model
    from emoclip.training.nets.folding import (
        FoldedTemporal,  # its heads are narrow, so `fold` would leave them
    )

    with torch.inference_mode():
        clips = FoldedTemporal(model.temporal)(expected["frame_embeddings"])
    assert torch.allclose(clips, expected["video_embeddings"], rtol=0, atol=1e-5)


def test_narrow_heads_stay_as_they_are():
    model = TemporalTransformer(TemporalConfig.lean(width=64))
    assert fold(model) is model


def test_unfolding_gives_a_transformer_of_the_same_function():
    model = trained(TemporalConfig(width=24, depth=2, heads=3, head_width=100, mlp_width=40))
    folded = fold(model)
    again = TemporalTransformer(
        TemporalConfig(width=24, depth=2, heads=3, head_width=24, mlp_width=40)
    ).eval()
    state = model.state_dict()
    for at, attention in enumerate(folded.attention):
        name = f"temporal_transformer.layers.{at}.0.fn.fn"
        state[f"{name}.to_qkv.weight"], state[f"{name}.to_out.0.weight"] = unfold(
            attention.scores, attention.values
        )
    again.load_state_dict(state)
    clips = torch.randn(3, 9, 24)
    with torch.inference_mode():
        assert torch.allclose(again(clips), model(clips), rtol=0, atol=1e-5)


def test_package_of_wide_heads_is_folded_and_can_be_trained_on(tmp_path):
    pytest.importorskip("onnxscript")
    from emoclip.model import Description, hub
    from emoclip.training.export.export import Towers, export_package
    from emoclip.training.export.temporal_weights import read_temporal
    from emoclip.training.nets.model import ClipSizes, VideoTextModel, image_settings
    from emoclip.training.nets.tokenizer import clip_tokenizer

    clip = ClipSizes(32, 16, 1, 64, 8, 77, 49408, 32, 2, 1, 1).build()
    model = VideoTextModel(
        clip, TemporalConfig(32, depth=2, heads=2, head_width=200, mlp_width=32, positions=64)
    ).eval()
    description = Description("wide", "MIT", "tests", "none", image_settings(clip), frames_per_clip=8)
    export_package(tmp_path / "wide", Towers.of(model), clip_tokenizer(), description, precision="fp16")
    whole = sum(parameter.numel() for parameter in model.temporal.parameters()) * 2
    assert (tmp_path / "wide" / "temporal.onnx").stat().st_size < 0.5 * whole
    again = read_temporal(hub.load(str(tmp_path / "wide")))
    assert again is not None
    clips = torch.randn(3, 8, 32)
    with torch.inference_mode():
        expected, found = model.temporal(clips), again(clips)
    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.999
