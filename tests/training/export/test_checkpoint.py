"""Published checkpoint forms in, models out; everything else is refused in one line that says why."""

import json
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

import open_clip  # noqa: E402
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from emoclip.errors import ConfigError, EmoclipError, PackageError  # noqa: E402
from emoclip.model import prepare  # noqa: E402
from emoclip.training.export import checkpoint  # noqa: E402
from emoclip.training.export import weights as weight_files  # noqa: E402
from emoclip.training.export.checkpoint import import_checkpoint, openai_name  # noqa: E402
from emoclip.training.export.sizes import read_sizes  # noqa: E402
from emoclip.training.export.weights import read_weights  # noqa: E402
from emoclip.training.nets.model import ClipSizes  # noqa: E402

SMALL = ClipSizes(64, 32, 2, 64, 8, 77, 1000, 64, 1, 2, 1)  # all told by its weights: heads are 64 wide


@pytest.fixture(scope="module")
def parity(shared):
    return shared / "parity"


@pytest.fixture(scope="module")
def video(parity):
    return torch.load(parity / "official_vclip_ddp.pth", weights_only=True)


@pytest.fixture(scope="module")
def plain_clip(parity, video, tmp_path_factory):
    """The CLIP inside the official video checkpoint, as a file of its own."""
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    prefix = "module.backbone."
    save_file(
        {name.removeprefix(prefix): tensor for name, tensor in video.items() if name.startswith(prefix)}, path
    )
    return path


def refused(path, message, **options):
    with pytest.raises(EmoclipError, match=message) as caught:
        import_checkpoint(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text or "clip" in text
    return text


def saved(tmp_path, state, name="weights.pth"):
    torch.save(state, tmp_path / name)
    return tmp_path / name


def test_downstream_form_gives_the_official_embeddings(parity, plain_clip):
    expected = load_file(parity / "expected.safetensors")
    imported = import_checkpoint(
        parity / "official_downstream_nofc.pth", clip=plain_clip, config=parity / "config.json"
    )
    assert imported.form == "downstream"
    with torch.inference_mode():
        frames = imported.model.encode_frames(expected["frames"])
        clips = imported.model.encode_clips(frames)
        texts = imported.model.encode_text(expected["tokens"])
    assert torch.allclose(frames, expected["frame_embeddings"], rtol=0, atol=1e-5)
    assert torch.allclose(clips, expected["downstream_video_embeddings"], rtol=0, atol=1e-5)
    assert torch.allclose(texts, expected["text_embeddings"], rtol=0, atol=1e-5)
    assert imported.notes[0].startswith("Text tower and logit scale are from clip.safetensors")
    assert not any("fine-tuned" in note for note in imported.notes)


def test_downstream_form_says_when_its_image_tower_is_another(parity, plain_clip, tmp_path):
    other = load_file(plain_clip)
    other["visual.proj"] = other["visual.proj"] + 0.1
    save_file(other, tmp_path / "other.safetensors")
    imported = import_checkpoint(
        parity / "official_downstream_nofc.pth",
        clip=tmp_path / "other.safetensors",
        config=parity / "config.json",
    )
    assert any("not other.safetensors's" in note for note in imported.notes)


def test_downstream_form_asks_for_a_clip(parity):
    refused(
        parity / "official_downstream_nofc.pth", "no text tower; add --clip", config=parity / "config.json"
    )


def test_clip_of_another_width_does_not_complete_a_downstream_form(parity, tmp_path):
    save_file(
        ClipSizes(96, 32, 2, 64, 8, 77, 1000, 64, 1, 2, 1).build().state_dict(), tmp_path / "wide.safetensors"
    )
    refused(
        parity / "official_downstream_nofc.pth",
        "visual.proj is 64x64 instead of 64x96",
        clip=tmp_path / "wide.safetensors",
        config=parity / "config.json",
    )


def test_clip_option_with_a_whole_model_is_refused(parity, plain_clip):
    refused(
        parity / "official_vclip_ddp.pth", "leave out --clip", clip=plain_clip, config=parity / "config.json"
    )


def test_unusual_head_counts_come_from_the_config(parity):
    refused(parity / "official_vclip_ddp.pth", "--config with .*nhead")


# Plain CLIP


def test_plain_clip_needs_its_activation_named(plain_clip, tmp_path, parity):
    refused(plain_clip, "QuickGELU .* --backbone", config=parity / "config.json")
    sizes = {"clip": {"quick_gelu": True, "transformer_heads": 2}}
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    imported = import_checkpoint(plain_clip, config=tmp_path / "sizes.json")
    assert imported.form == "clip"
    assert imported.model.temporal is None
    expected = load_file(parity / "expected.safetensors")
    with torch.inference_mode():
        texts = imported.model.encode_text(expected["tokens"])
    assert torch.allclose(texts, expected["text_embeddings"], rtol=0, atol=1e-5)


HUB = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 1000, "width": 64, "heads": 1, "layers": 2},
}


@pytest.fixture
def hub_model(tmp_path):
    """A hub model's weights, and what writes its config beside them."""
    torch.manual_seed(0)
    save_file(SMALL.build().state_dict(), tmp_path / "open_clip_model.safetensors")

    def config(changes=(), **preparation):
        model = json.loads(json.dumps(HUB))
        for (part, name), value in dict(changes).items():
            (model[part] if part else model)[name] = value
        path = tmp_path / "open_clip_config.json"
        path.write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preparation}))
        return path

    return tmp_path / "open_clip_model.safetensors", config


def test_open_clip_config_of_a_hub_model_tells_sizes_and_activation(hub_model):
    path, config = hub_model
    imported = import_checkpoint(path, config=config())
    pixels = torch.randn(2, 3, 32, 32)
    reference = SMALL.build().eval()
    reference.load_state_dict(load_file(path))
    with torch.inference_mode():
        assert torch.allclose(imported.model.encode_frames(pixels), reference.encode_image(pixels), atol=1e-5)
    assert imported.said.pixels.mean == open_clip.OPENAI_DATASET_MEAN


@pytest.mark.parametrize(
    ("preparation", "resize"),
    [
        ({}, "bicubic-antialias"),
        ({"interpolation": "bicubic", "size": [32, 32], "mode": "RGB", "fill_color": 0}, "bicubic-antialias"),
        ({"interpolation": "bilinear", "size": 32}, "bilinear-antialias"),
    ],
)
def test_pictures_are_prepared_as_open_clip_prepares_them_for_a_hub_model(hub_model, preparation, resize):
    path, config = hub_model
    own = {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.6, 0.7], "resize_mode": "shortest", **preparation}
    spec = import_checkpoint(path, config=config(**own)).said.pixels
    assert spec.resize == resize
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    theirs = image_transform_v2(
        PreprocessCfg(**{"size": 32, "interpolation": "bicubic", **own}), is_train=False
    )
    found = theirs(Image.fromarray(picture)).numpy()
    np.testing.assert_allclose(prepare([picture], spec)[0], found, rtol=0, atol=1e-5)


def test_another_fit_than_the_centre_is_told_as_it_is_the_same_of_square_crops_alone(hub_model):
    path, config = hub_model
    for fit in ("squash", "longest"):
        imported = import_checkpoint(path, config=config(resize_mode=fit))
        assert imported.notes == [
            f"Its config fits pictures by {fit}; here the centre is cut out, which is the same of square crops."
        ]


@pytest.mark.parametrize(
    ("preparation", "said"),
    [
        ({"mean": [0.5]}, r"preprocess_cfg\.mean=\[0\.5\] must be three numbers"),
        ({"std": [0.5, 0, 0.5]}, r"preprocess_cfg\.std=0 must be a list of numbers"),
        (
            {"interpolation": "random"},
            "preprocess_cfg.interpolation='random' must be one of bicubic, bilinear",
        ),
        ({"resize_mode": "fill"}, "preprocess_cfg.resize_mode='fill' must be one of"),
        ({"mode": "L"}, "preprocess_cfg.mode='L' must be one of RGB"),
        ({"size": 64}, "preprocess_cfg.size=64 is not model_cfg's image_size, 32"),
        ({"means": [0.5] * 3}, "preprocess_cfg has no means; known are"),
    ],
)
def test_what_cannot_be_prepared_so_is_refused(hub_model, preparation, said):
    path, config = hub_model
    refused(path, said, config=config(**preparation))


@pytest.mark.parametrize(
    ("place", "ours"),
    [
        (("", "embed_dim"), "embed_dim"),
        (("vision_cfg", "image_size"), "image_resolution"),
        (("vision_cfg", "layers"), "vision_layers"),
        (("vision_cfg", "width"), "vision_width"),
        (("vision_cfg", "patch_size"), "vision_patch_size"),
        (("text_cfg", "layers"), "transformer_layers"),
        (("text_cfg", "width"), "transformer_width"),
        (("text_cfg", "context_length"), "context_length"),
        (("text_cfg", "vocab_size"), "vocab_size"),
    ],
)
def test_a_hub_models_config_that_contradicts_its_weights_is_refused(hub_model, monkeypatch, place, ours):
    path, config = hub_model
    wrong = {place: 64 if ours == "context_length" else 128}
    refused(path, f"the config says {ours}={wrong[place]}, the weights ", config=config(wrong))
    monkeypatch.setattr(checkpoint, "build_backbone", lambda name: SMALL.build())
    refused(
        path,
        f"the config says {ours}={wrong[place]}, --backbone tiny ",
        config=config(wrong),
        backbone="tiny",
    )


def test_a_config_counts_beside_the_architectures_name(hub_model, monkeypatch):
    path, config = hub_model
    monkeypatch.setattr(checkpoint, "build_backbone", lambda name: SMALL.build())
    imported = import_checkpoint(path, config=config(mean=[0.5] * 3), backbone="tiny")
    assert imported.said.pixels.mean == (0.5,) * 3
    for wrong, said in (
        ({("", "quick_gelu"): False}, "says quick_gelu=False, --backbone tiny True"),
        ({("vision_cfg", "head_width"): 32}, "says vision_heads=2, --backbone tiny 1"),
    ):
        refused(path, said, config=config(wrong), backbone="tiny")
    other = config({("vision_cfg", "timm_model_name"): "vit"}, mean=[0.25] * 3)
    refused(path, "is not a plain vision transformer; name its architecture", config=other)
    assert import_checkpoint(path, config=other, backbone="tiny").said.pixels.mean == (0.25,) * 3
    other.write_text('{"clip": {"quick_gelu": true}, "vclip": {"nhead": 4}}')
    refused(path, "has no temporal part; leave vclip out", config=other, backbone="tiny")


def test_farl_is_known_by_its_masked_patch_head(tmp_path):
    clip = SMALL.build()
    state = dict(clip.state_dict())
    state["visual.lm_transformer.resblocks.0.ln_1.weight"] = torch.ones(64)
    state["visual.mask_token"] = torch.zeros(64)
    imported = import_checkpoint(saved(tmp_path, {"state_dict": state}))
    assert imported.notes == ["Left out 2 tensors of FaRL's masked-patch head."]
    assert torch.equal(imported.model.backbone.visual.proj, clip.visual.proj)


def test_backbone_name_gives_the_architecture(tmp_path):
    import open_clip

    torch.manual_seed(0)
    reference = open_clip.create_model("RN50-quickgelu", pretrained=None).eval()
    path = saved(tmp_path, reference.state_dict())
    imported = import_checkpoint(path, backbone="RN50-quickgelu")
    assert torch.equal(imported.model.backbone.visual.conv1.weight, reference.visual.conv1.weight)
    refused(path, "misses .* has foreign", backbone="ViT-B-32")


def test_openai_archive_is_opened_only_if_its_hash_is_known(tmp_path, monkeypatch):
    class Holder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, tensor in SMALL.build().half().state_dict().items():
                parts = name.split(".")
                home = self
                for part in parts[:-1]:
                    if not hasattr(home, part):
                        home.add_module(part, torch.nn.Module())
                    home = getattr(home, part)
                home.register_buffer(parts[-1], tensor)
            self.register_buffer("input_resolution", torch.tensor(32))

        def forward(self, x):
            return x

    path = tmp_path / "ViT-B-32.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.trace(Holder(), torch.zeros(1)), path)
    refused(path, "TorchScript archive, which carries code")
    monkeypatch.setitem(weight_files.OPENAI_ARCHIVES, weight_files.sha256(path), "ViT-B-32.pt")
    imported = import_checkpoint(path)
    assert imported.form == "clip"
    assert imported.model.backbone.visual.proj.dtype == torch.float32


def test_openai_name_of_a_downstream_checkpoint(tmp_path):
    state = {
        "backbone.conv1.weight": torch.zeros(768, 3, 32, 32),
        "temporal.cls_token": torch.zeros(1, 1, 512),
    }
    assert openai_name(saved(tmp_path, state)) == "clip-vit-b-32"
    state["backbone.conv1.weight"] = torch.zeros(64, 3, 8, 8)
    with pytest.raises(PackageError, match="none of OpenAI's"):
        openai_name(saved(tmp_path, state))


def test_a_checkpoint_with_a_text_tower_of_its_own_needs_no_openai(parity, plain_clip):
    for path in (parity / "official_vclip_ddp.pth", plain_clip):
        with pytest.raises(ConfigError, match="has a text tower of its own; leave out --clip"):
            openai_name(path)


# Bad input


def test_renamed_key_is_named_with_its_stranger(parity, video, tmp_path):
    state = dict(video)
    state["module.temporal.cls"] = state.pop("module.temporal.cls_token")
    refused(
        saved(tmp_path, state),
        "misses temporal.cls_token, but has temporal.cls;",
        config=parity / "config.json",
    )
    state = dict(video)
    state["module.backbone.ln_last.weight"] = state.pop("module.backbone.ln_final.weight")
    refused(
        saved(tmp_path, state),
        "misses backbone.ln_final.weight; has foreign backbone.ln_last.weight",
        config=parity / "config.json",
    )


def test_another_depth_contradicts_the_config_and_a_missing_layer_is_named(parity, video, tmp_path):
    fewer = {name: tensor for name, tensor in video.items() if ".layers.1." not in name}
    path = saved(tmp_path, fewer)
    refused(path, "config says depth=2, the weights 1", config=parity / "config.json")
    (tmp_path / "heads.json").write_text('{"clip": {"transformer_heads": 2}, "vclip": {"nhead": 4}}')
    imported = import_checkpoint(path, config=tmp_path / "heads.json")
    assert any("1 layers of 4 heads" in note for note in imported.notes)
    gap = {name: tensor for name, tensor in video.items() if "temporal_transformer.layers.0.1." not in name}
    refused(saved(tmp_path, gap), "layers.0.1", config=parity / "config.json")


def test_another_embedding_width_is_refused(parity, video, tmp_path):
    state = dict(video)
    for name in ("module.backbone.visual.proj", "module.backbone.text_projection"):
        state[name] = torch.zeros(state[name].shape[0], 48)
    (tmp_path / "heads.json").write_text('{"clip": {"transformer_heads": 2}, "vclip": {"nhead": 4}}')
    refused(
        saved(tmp_path, state),
        "temporal part is 64 wide, its CLIP's embeddings 48",
        config=tmp_path / "heads.json",
    )


def test_head_of_the_downstream_task_is_left_out_and_said(parity, plain_clip, tmp_path):
    state = torch.load(parity / "official_downstream_nofc.pth", weights_only=True)
    state["mlp.0.weight"], state["mlp.0.bias"] = torch.zeros(32, 64), torch.zeros(32)
    options = {"clip": plain_clip, "config": parity / "config.json"}
    imported = import_checkpoint(saved(tmp_path, state), **options)
    assert "Left out the head of the downstream task (mlp.0.weight, mlp.0.bias)." in imported.notes
    state["mlp.1.weight"] = torch.zeros(2)
    refused(saved(tmp_path, state), "has foreign mlp.1.weight", **options)


def test_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    refused(saved(tmp_path, {"state_dict": Bomb()}), "pickle that wants to run code .*mkdir")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Bomb(), protocol=2))
    refused(tmp_path / "old.pth", "refused|no PyTorch checkpoint")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_truncated_file_says_so(parity, tmp_path, share):
    whole = (parity / "official_downstream_nofc.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: int(len(whole) * share)])
    refused(tmp_path / "cut.pth", "cut short")


def test_a_file_of_zeros_passes_on_no_advice_to_trust_it(tmp_path):
    (tmp_path / "zeros.pth").write_bytes(bytes(3000))
    refused(tmp_path / "zeros.pth", r"zeros\.pth: is damaged or cut short; download it again")


def test_truncated_safetensors_says_so(plain_clip, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(plain_clip.read_bytes()[:100_000])
    refused(tmp_path / "cut.safetensors", "cut short")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>", "web page"),
        (b"\n  <html>quota exceeded</html>", "web page"),
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"just some words that are no weights", "no PyTorch checkpoint; name a .pth|damaged"),
        (b"path,label\nc/00001,happy\n", "no PyTorch checkpoint; name a .pth"),
    ],
)
def test_what_is_no_checkpoint_says_what_it_is(tmp_path, content, message):
    (tmp_path / "file.pth").write_bytes(content)
    refused(tmp_path / "file.pth", message)


def test_a_missing_file_a_folder_and_a_device(tmp_path):
    refused(tmp_path / "nowhere.pth", "No such file")
    for path in (tmp_path, Path("/dev/null")):
        refused(path, "is not a file")
        with pytest.raises(ConfigError, match="is not a file"):
            read_sizes(path)


def test_other_contents_are_refused(tmp_path):
    refused(saved(tmp_path, [torch.zeros(2)]), "holds a list")
    refused(saved(tmp_path, {"epoch": 3, "weights": torch.zeros(2)}), "holds epoch instead")
    refused(saved(tmp_path, {"fc.weight": torch.zeros(2)}), "no known checkpoint: it begins with fc.weight")
    refused(
        saved(tmp_path, {"visual.proj": torch.tensor([float("nan")])}),
        "NaN or infinite numbers in visual.proj",
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensor: tensor.to_sparse(), "that are sparse: visual.proj;"),
        (lambda tensor: tensor.to("meta"), r"that are without numbers \(meta\): visual.proj;"),
        (lambda tensor: tensor.to(torch.int8), "that are no floating-point numbers: visual.proj;"),
        (lambda tensor: tensor.to(torch.complex64), "that are no floating-point numbers: visual.proj;"),
    ],
)
def test_tensors_that_are_no_plain_weights_are_named(tmp_path, change, said):
    state = {"visual.proj": change(torch.ones(2, 2)), "visual.bn1.num_batches_tracked": torch.tensor(3)}
    refused(saved(tmp_path, state), said)
    state["visual.proj"] = torch.ones(2, 2)
    assert read_weights(saved(tmp_path, state)).keys() == state.keys()


@pytest.mark.parametrize("scale", [100.0, 1000.0, -300.0])
def test_a_logit_scale_that_no_package_holds_is_told_of_the_checkpoint(tmp_path, scale):
    state = {**SMALL.build().state_dict(), "logit_scale": torch.tensor(scale)}
    (tmp_path / "sizes.json").write_text('{"clip": {"quick_gelu": true}}')
    path = saved(tmp_path, state)
    refused(
        path,
        rf"its logit_scale is {scale:g}, the logarithm of .*\[1e-06, 1e\+06\]",
        config=tmp_path / "sizes.json",
    )


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_is_what_its_content_is_whatever_its_name_ends_in(tmp_path, kept):
    state = {"module.a": torch.ones(2)}
    torch.save(state, tmp_path / "weights.safetensors", _use_new_zipfile_serialization=kept)
    save_file(state, tmp_path / "weights.pt")
    for name in ("weights.safetensors", "weights.pt"):
        assert torch.equal(read_weights(tmp_path / name)["a"], torch.ones(2))
    whole = (tmp_path / "weights.pt").read_bytes()
    (tmp_path / "weights.pt").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "weights.pt", "is damaged or cut short .*deserializing header")


def test_half_floats_and_the_data_parallel_prefix_are_undone(tmp_path):
    read = read_weights(saved(tmp_path, {"module.a": torch.ones(2).half(), "module.b": torch.zeros(1)}))
    assert set(read) == {"a", "b"}
    assert read["a"].dtype == torch.float32


def test_a_part_of_a_run_names_the_whole_and_what_none_starts_from_is_called_that(tmp_path):
    (tmp_path / "package").mkdir()
    save_file({"temporal.a": torch.ones(2)}, tmp_path / "best.safetensors")
    refused(tmp_path / "best.safetensors", "no known checkpoint")
    save_file({"backbone.text.words.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    refused(tmp_path / "best.safetensors", r"best\.safetensors: holds a part .*; take .*/model\.safetensors")
    for folder in (tmp_path, tmp_path / "package"):
        refused(folder, r"is a folder of a run; take .*/model\.safetensors")
    refused(tmp_path / "model.safetensors", "is of a compact model, which is neither started from")
    save_file({"backbone.visual.proj": torch.ones(2)}, tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors", r"has no temporal part \(model\.temporal=mean\)")
