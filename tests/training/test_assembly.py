import pytest

torch = pytest.importorskip("torch")
from emoclip.training.assembly import assemble  # noqa: E402
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
