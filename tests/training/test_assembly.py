import pytest

torch = pytest.importorskip("torch")
from emoclip.errors import EmoclipError  # noqa: E402
from emoclip.model import Description, PixelSpec  # noqa: E402
from emoclip.training.assembly import assemble  # noqa: E402
from emoclip.training.export.origin import metadata  # noqa: E402
from emoclip.training.nets.model import ClipSizes, VideoTextModel  # noqa: E402
from emoclip.training.nets.state import save_weights  # noqa: E402
from emoclip.training.nets.temporal import TemporalConfig  # noqa: E402
from emoclip.training.recipe import ModelRecipe  # noqa: E402

SMALL = ClipSizes(
    embed_dim=64, image_resolution=32, vision_layers=1, vision_width=64, vision_patch_size=16, vocab_size=50,
    transformer_width=64, transformer_heads=1, transformer_layers=1, vision_heads=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"temporal": "lean", "depth": 1}, []),
        ({"temporal": "mean"}, ["model.temporal=mean and model.depth=2 do not act"]),
        ({"temporal": "lean", "depth": 3}, ["model.temporal=lean and model.depth=3 do not act"]),
        ({"temporal": "lean", "depth": 1, "backbone": "RN50"}, ["model.backbone=RN50 does not act"]),
    ],
)
def test_what_a_start_decides_is_told_and_stands_in_the_card(tmp_path, change, told):
    start = tmp_path / "model.safetensors"
    save_weights(start, VideoTextModel(SMALL.build(), TemporalConfig.lean(64, 1)).state_dict())
    assembly = assemble(ModelRecipe(start=str(start), **change), [], 0)
    assert assembly.model.temporal.config.depth == 1
    assert len(assembly.notes) == len(told)
    for line, words in zip(assembly.notes, told, strict=True):
        assert line.startswith(f"model.start={start}: its own ")
        assert line.endswith(words)
        assert words in assembly.origin
    assert not assembly.origin.endswith(".")


def test_what_a_start_says_of_itself_is_kept(tmp_path):
    model = VideoTextModel(SMALL.build(), TemporalConfig.lean(64, 1))
    official, own = tmp_path / "official.safetensors", tmp_path / "model.safetensors"
    save_weights(official, model.state_dict())
    pixels = PixelSpec(32, "rgb", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear-antialias", 0.2)
    save_weights(own, model.state_dict(), metadata(model, Description("", "mine", "", "my clips", pixels)))
    found = assemble(ModelRecipe(start=str(own)), [], 0)
    assert (found.pixels, found.licence, found.training_data) == (pixels, "mine", "my clips")
    found = assemble(ModelRecipe(start=str(official)), [], 0)
    assert found.pixels.resize == "bicubic"
    assert "for research" in found.licence
    assert "MAFW's clips" in found.training_data
    compact = assemble(ModelRecipe(backbone="compact", weights=""), ["a face"], 0)
    assert (compact.licence, compact.training_data) == ("", "")


@pytest.mark.parametrize(
    ("kept", "change", "told"),
    [
        (("temporal", "visual"), {}, "which has no text tower; add --set model.weights=FILE with the CLIP"),
        (("temporal", "backbone"), {"weights": "clip.pth"}, "text tower of its own; leave out model.weights"),
        (("clip",), {}, 'from GELU .*; add --set model.sizes=FILE with {"clip": {"quick_gelu": true}}'),
        (("odd",), {}, 'add --set model.sizes=FILE with {"vclip": {"nhead": N}}'),
    ],
)
def test_what_a_start_lacks_is_asked_for_by_the_recipes_keys(tmp_path, kept, change, told):
    temporal = TemporalConfig(64, 1, 3, 40, 64) if kept == ("odd",) else TemporalConfig.lean(64, 1)
    state = VideoTextModel(SMALL.build(), temporal).state_dict()
    if "visual" in kept:
        state = {
            name.replace("visual.", ""): tensor
            for name, tensor in state.items()
            if name.startswith(("temporal.", "backbone.visual."))
        }
    if "clip" in kept:
        state = SMALL.build().state_dict()
    save_weights(tmp_path / "start.safetensors", state)
    with pytest.raises(EmoclipError, match=told) as caught:
        assemble(ModelRecipe(start=str(tmp_path / "start.safetensors"), **change), [], 0)
    assert "--" not in str(caught.value).replace("--set ", "")


def test_weights_of_a_whole_model_are_asked_for_as_a_start(tmp_path, monkeypatch):
    model = VideoTextModel(SMALL.build(), TemporalConfig.lean(64, 1))
    save_weights(tmp_path / "whole.safetensors", model.state_dict())
    with pytest.raises(EmoclipError, match=r"whose sizes its weights tell; pass it as model\.start"):
        assemble(ModelRecipe(weights=str(tmp_path / "whole.safetensors")), [], 0)
