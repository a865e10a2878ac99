"""What a run's weights say of themselves: heads, activation, pixels and clips that no shape tells."""

import json
from dataclasses import asdict

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

from emoclip.errors import ConfigError, PackageError  # noqa: E402
from emoclip.model import Description, PixelSpec  # noqa: E402
from emoclip.model import package as packages  # noqa: E402
from emoclip.training.assembly import CompactBackbone  # noqa: E402
from emoclip.training.export.checkpoint import import_checkpoint  # noqa: E402
from emoclip.training.export.importing import import_package  # noqa: E402
from emoclip.training.export.origin import metadata  # noqa: E402
from emoclip.training.nets.compact import ImageTower, ImageTowerConfig, TextTower, TextTowerConfig  # noqa: E402
from emoclip.training.nets.model import ClipSizes, VideoTextModel  # noqa: E402
from emoclip.training.nets.state import save_weights  # noqa: E402
from emoclip.training.nets.temporal import TemporalConfig  # noqa: E402

# Towers 64 wide with two heads, where CLIP's usual heads would be one; GELU, where the official form has QuickGELU.
SIZES = ClipSizes(64, 32, 1, 64, 16, 77, 49408, 64, 2, 1, 2, quick_gelu=False)
PIXELS = PixelSpec(32, "rgb", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bicubic-antialias", 0.2)
SAID = Description("mine", "terms", "a run", "my clips", PIXELS, frames_per_clip=2, sample_fps=30.0)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return VideoTextModel(SIZES.build(), TemporalConfig(64, 1, 2, 40, 64)).eval()


@pytest.fixture
def weights(model, tmp_path):
    save_weights(tmp_path / "model.safetensors", model.state_dict(), metadata(model, SAID))
    return tmp_path / "model.safetensors"


def outputs(model):
    torch.manual_seed(1)
    with torch.inference_mode():
        return (
            model.encode_video(torch.randn(2, 3, 3, 32, 32)),
            model.encode_text(torch.randint(0, 49408, (2, 77))),
        )


def test_a_run_is_started_from_and_imported_as_it_was(model, weights, tmp_path):
    for ours, theirs in zip(outputs(model), outputs(import_checkpoint(weights).model), strict=True):
        assert torch.equal(ours, theirs)
    import_package(weights, tmp_path / "package", name="again")
    config = packages.read(tmp_path / "package").config
    assert config["image"] == json.loads(json.dumps(asdict(PIXELS)))
    told = [config[key] for key in ("frames_per_clip", "sample_fps", "licence", "training_data", "name")]
    assert told == [2, 30.0, "terms", "my clips", "again"]


def test_what_a_run_says_is_read_by_any_name(weights):
    assert import_checkpoint(weights.rename(weights.with_suffix(".pt"))).said.licence == "terms"


def test_a_given_config_goes_before_what_the_weights_say(weights, tmp_path):
    (tmp_path / "sizes.json").write_text('{"clip": {"vision_heads": 4}}')
    imported = import_checkpoint(weights, config=tmp_path / "sizes.json").model
    assert imported.backbone.visual.transformer.resblocks[0].attn.num_heads == 4
    assert imported.backbone.transformer.resblocks[0].attn.num_heads == 2


def test_weights_that_say_nothing_are_read_by_the_usual_sizes(model, weights):
    weights.unlink()
    plain = VideoTextModel(model.backbone, TemporalConfig.lean(64))
    save_weights(weights, plain.state_dict())
    imported = import_checkpoint(weights)
    assert imported.model.backbone.visual.transformer.resblocks[0].attn.num_heads == 1
    assert imported.said.pixels.resize == "bicubic"
    assert "MAFW" in imported.said.licence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("no json", "its metadata cannot be used"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "not an object"),
        ({"clip": 3}, "clip is 3, not an object"),
        ({"clip": {"vision_heads": 0}}, r"clip\.vision_heads=0 must be a whole number"),
        ({"clip": {"vision_heads": 3}}, "no multiple of vision_heads=3"),
        ({"clip": {"quick_gelu": "no"}}, r"clip\.quick_gelu='no' must be True or False"),
        ({"clip": {"heads": 1}}, "clip has no heads"),
        ({"vclip": {"nhead": 3}}, "weights do not tell how many"),
        ({"frames_per_clip": 1024}, "1024 frames of 32 pixels"),
        ({"frames_per_clip": "2"}, "frames_per_clip='2' must be"),
        ({"sample_fps": 0}, "sample_fps=0 must be"),
        ({"image": {**asdict(PIXELS), "size": 64}}, "2 frames of 64 pixels"),
        ({"image": {**asdict(PIXELS), "resize": "best"}}, "resize='best' must be one of"),
        ({"licence": "\x1b[31m"}, "without control characters"),
    ],
)
def test_what_a_strange_file_says_is_refused_in_one_line(model, weights, change, words):
    content = metadata(model, SAID)
    if isinstance(change, dict):
        change = json.dumps({**json.loads(content["emoclip"]), **change})
    save_weights(weights, model.state_dict(), {"emoclip": change})
    with pytest.raises((PackageError, ConfigError), match=words) as caught:
        import_checkpoint(weights)
    assert str(caught.value).startswith(f"{weights}: ")
    assert "\n" not in str(caught.value)


def test_other_towers_have_no_sizes_of_a_clip():
    compact = CompactBackbone(ImageTower(ImageTowerConfig()), TextTower(TextTowerConfig(50)))
    told = json.loads(metadata(VideoTextModel(compact), SAID)["emoclip"])
    assert not {"clip", "vclip"} & set(told)
    assert told["sample_fps"] == 30
