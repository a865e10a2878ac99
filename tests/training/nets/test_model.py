"""The video-text model against golden numbers of the official code (shared/parity)."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

from emoclip.errors import ConfigError  # noqa: E402
from emoclip.training.export.checkpoint import import_checkpoint  # noqa: E402
from emoclip.training.nets.model import ClipSizes, VideoTextModel, build_backbone, image_settings  # noqa: E402
from emoclip.training.nets.temporal import TemporalConfig  # noqa: E402

TINY = {
    "embed_dim": 32,
    "image_resolution": 16,
    "vision_layers": 1,
    "vision_width": 32,
    "vision_patch_size": 8,
}
TINY |= {"transformer_width": 32, "transformer_heads": 2, "transformer_layers": 1, "vision_heads": 2}


@pytest.fixture(scope="module")
def parity(shared):
    return shared / "parity"


@pytest.fixture(scope="module")
def expected(parity):
    from safetensors.torch import load_file

    return load_file(parity / "expected.safetensors")


def test_every_intermediate_of_the_official_video_model(parity, expected):
    model = import_checkpoint(parity / "official_vclip_ddp.pth", config=parity / "config.json").model
    with torch.inference_mode():
        frames = model.encode_frames(expected["frames"])
        clips, texts, scale = model(expected["frames"], expected["tokens"])
        got = {
            "frame_embeddings": frames,
            "video_embeddings": model.encode_clips(frames),
            "text_embeddings": model.encode_text(expected["tokens"]),
            "logits_per_video": scale * clips @ texts.T,
            "logits_per_text": scale * texts @ clips.T,
        }
    for name, value in got.items():
        assert torch.allclose(value, expected[name], rtol=0, atol=1e-5), name


def test_three_sgd_steps_of_the_frozen_recipe(parity, expected):
    from safetensors.torch import load_file

    after = load_file(parity / "after_3_sgd_steps.safetensors")
    model = import_checkpoint(parity / "official_vclip_ddp.pth", config=parity / "config.json").model.train()
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=1e-3, momentum=0.9, weight_decay=5e-4)
    losses = []
    for _ in range(3):
        clips, texts, scale = model(expected["frames"], expected["tokens"][:3])
        logits, diagonal = scale * clips @ texts.T, torch.arange(3)
        entropy = torch.nn.functional.cross_entropy
        loss = (entropy(logits, diagonal) + entropy(logits.T, diagonal)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses == pytest.approx(after["losses"].tolist(), abs=1e-6)
    state = model.state_dict()
    for name, value in after.items():
        if name in state:
            assert torch.allclose(state[name], value, rtol=0, atol=1e-5), name
    assert torch.equal(model.backbone.visual.proj, after["frozen_check_visual_proj"])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.backbone.state_dict().items())


def test_names_and_shapes_at_full_size_are_the_official_ones(parity):
    official = json.loads((parity / "official_full_size_shapes.json").read_text())["vclip"]
    with torch.device("meta"):
        model = VideoTextModel(ClipSizes().build(), TemporalConfig.paper())
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == official


def test_frames_and_their_embeddings_are_both_taken():
    torch.manual_seed(0)
    model = VideoTextModel(ClipSizes(**TINY).build(), TemporalConfig.lean(width=32)).eval()
    pixels, tokens = torch.randn(2, 3, 3, 16, 16), torch.randint(0, 49408, (2, 77))
    with torch.inference_mode():
        from_pixels = model(pixels, tokens)
        from_embeddings = model(model.encode_frames(pixels), tokens)
    assert all(torch.equal(a, b) for a, b in zip(from_pixels, from_embeddings, strict=True))
    assert torch.allclose(from_pixels[0].norm(dim=-1), torch.ones(2))


def test_without_temporal_part_a_clip_is_the_mean_of_unit_frames():
    model = VideoTextModel(ClipSizes(**TINY).build())
    frames = torch.tensor([[[3.0, 0.0], [0.0, 5.0]]])
    assert torch.allclose(model.encode_clips(frames), torch.tensor([[0.5, 0.5]]))


def test_clip_is_frozen_until_asked_and_its_own_scale_always():
    model = VideoTextModel(ClipSizes(**TINY).build(), TemporalConfig.lean(width=32))

    def learning():
        return {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}

    assert learning() == {"temporal", "logit_scale"}
    model.train_towers(image=True, text=False)
    assert model.backbone.visual.proj.requires_grad
    assert not model.backbone.text_projection.requires_grad
    assert not model.backbone.logit_scale.requires_grad


def test_batch_statistics_of_a_frozen_resnet_stay():
    model = VideoTextModel(build_backbone("RN50-quickgelu")).train()
    assert not model.backbone.visual.bn1.training
    model.train_towers(image=True, text=False)
    assert model.train().backbone.visual.bn1.training


def test_unknown_backbone_names_near_ones():
    with pytest.raises(ConfigError, match="ViT-B-32"):
        build_backbone("ViT-B32")


def test_image_settings_are_openai_s():
    spec = image_settings(ClipSizes(**TINY).build())
    assert (spec.size, spec.colour, spec.resize) == (16, "rgb", "bicubic-antialias")
    assert spec.mean == (0.48145466, 0.4578275, 0.40821073)
    assert spec.std == (0.26862954, 0.26130258, 0.27577711)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="image_resolution=30"):
        ClipSizes(image_resolution=30)
    with pytest.raises(ConfigError, match="transformer_width=512"):
        ClipSizes(transformer_heads=7)
