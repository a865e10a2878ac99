"""What weights and --config files tell of a model's sizes."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

from emoclip.errors import ConfigError  # noqa: E402
from emoclip.training.export.sizes import read_clip, read_sizes, read_temporal  # noqa: E402
from emoclip.training.nets.model import ClipSizes  # noqa: E402


def test_full_size_names_and_shapes_are_read_off(shared):
    shapes = json.loads((shared / "parity" / "official_full_size_shapes.json").read_text())["vclip"]
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    towers = {
        name.removeprefix("backbone."): weights[name] for name in weights if name.startswith("backbone.")
    }
    temporal = read_temporal("checkpoint", weights, {})
    assert (temporal.depth, temporal.heads, temporal.head_width, temporal.mlp_width) == (2, 8, 2048, 512)
    assert read_clip("checkpoint", towers, {"quick_gelu": True}) == ClipSizes()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("[]", r"model_cfg is \[\], not an object"),
        ('{"vision_cfg": {"layers": 2}, "text_cfg": {"heads": 1}}', "has no 'model_cfg.embed_dim'"),
        ('{"embed_dim": 64, "vision_cfg": {"layers": 2}}', "has no 'model_cfg.text_cfg'"),
        (
            '{"embed_dim": 64, "vision_cfg": {"layers": 2, "image_size": "32"}, "text_cfg": {"heads": 1}}',
            "model_cfg.vision_cfg.image_size='32' must be a whole number",
        ),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_a_hub_models_config_that_is_not_whole_names_what_is_wrong(tmp_path, model, said):
    path = tmp_path / "open_clip_config.json"
    path.write_text(f'{{"model_cfg": {model}}}')
    with pytest.raises(ConfigError, match=f"open_clip_config.json: {said}"):
        read_sizes(path)


def test_config_with_an_unknown_key_is_a_typo(tmp_path):
    path = tmp_path / "sizes.json"
    path.write_text('{"clip": {"vision_head": 3}}')
    with pytest.raises(ConfigError, match="clip has no vision_head"):
        read_sizes(path)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="neither clip"):
        read_sizes(path)
    path.write_text("not json")
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        read_sizes(path)
