"""Export to a package: agreement with torch, storage, the tokenizer, and what is left when it fails."""

import json
import os
import random
import resource
import shutil
import unicodedata
from collections import namedtuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("onnxscript")

from emoclip.errors import ConfigError, OutputError, PackageError  # noqa: E402
from emoclip.model import (  # noqa: E402
    Description,
    Runtime,
    hub,
    unit,
)
from emoclip.training.export import export  # noqa: E402
from emoclip.training.export.export import Towers, export_package  # noqa: E402
from emoclip.training.export.graphs import save_graph  # noqa: E402
from emoclip.training.nets.model import ClipSizes, VideoTextModel, image_settings  # noqa: E402
from emoclip.training.nets.temporal import TemporalConfig  # noqa: E402
from emoclip.training.nets.tokenizer import clip_tokenizer  # noqa: E402

SENTENCES = ["a face", "Surprise: raised brows, wide-open eyes & a dropped jaw!", "word " * 100]


def random_model(temporal=None):
    torch.manual_seed(0)
    model = VideoTextModel(ClipSizes(32, 16, 1, 64, 8, 77, 49408, 32, 2, 1, 1).build(), temporal).eval()
    for (
        parameter
    ) in model.parameters():  # norms and biases start as ones and zeros, which would hide mistakes
        if parameter.dim() == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def model():
    return random_model(TemporalConfig(width=32, heads=2, head_width=48, mlp_width=64))


@pytest.fixture(scope="module")
def baseline():
    return random_model()


def write(folder, model, licence="MIT", **options):
    pixels = image_settings(model.backbone)
    description = Description("tiny", licence, "tests", "none", pixels, frames_per_clip=8)
    return export_package(folder, Towers.of(model), clip_tokenizer(), description, **options)


@pytest.fixture(scope="module")
def packages_of(model, tmp_path_factory):
    """One package per storage; the weights of fp16 lie beside their graphs, as those of large models do."""
    home = tmp_path_factory.mktemp("packages")
    shares = []
    figures = {"fp32": write(home / "fp32", model, progress=shares.append)}
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoclip.training.export.graphs.EXTERNAL_FROM_BYTES", 10_000)
        figures["fp16"] = write(home / "fp16", model, precision="fp16")
    return home, figures


@pytest.fixture(params=["fp32", "fp16"])
def exported(request, packages_of):
    home, figures = packages_of
    return request.param, home / request.param, figures[request.param]


def cosine(a, b):
    return float((unit(a) * unit(b)).sum(axis=-1).min())


def test_package_gives_torch_s_embeddings(exported, model):
    precision, folder, figures = exported
    runtime = Runtime(hub.load(str(folder)), threads=1)
    pixels, frames = torch.randn(5, 3, 16, 16), torch.randn(3, 11, 32)
    tokens = torch.tensor([encoding.ids for encoding in clip_tokenizer().encode_batch(SENTENCES)])
    with torch.inference_mode():
        expected = [model.encode_frames(pixels), model.encode_clips(frames), model.encode_text(tokens)]
    got = [runtime.image(pixels.numpy()), runtime.temporal(frames.numpy()), runtime.text(SENTENCES)]
    least = {"fp32": 0.99999, "fp16": 0.999}[precision]
    assert all(cosine(a, b.numpy()) >= least for a, b in zip(got, expected, strict=True))
    assert set(figures) == {"image", "temporal", "text"}
    assert min(figures.values()) >= least


def test_package_runs_any_batch_and_length_alike(exported):
    _, folder, _ = exported
    runtime = Runtime(hub.load(str(folder)), threads=1)
    frames = np.random.default_rng(0).normal(size=(4, 32, 32)).astype(np.float32)
    together = runtime.temporal(frames)
    for at in range(4):
        assert np.allclose(runtime.temporal(frames[at : at + 1])[0], together[at], atol=1e-5)
    assert runtime.temporal(frames[:1, :1]).shape == (1, 32)
    pixels = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)
    assert np.allclose(runtime.image(pixels[:1])[0], runtime.image(pixels)[0], atol=1e-5)


def test_config_and_card_say_what_it_is(exported, model):
    precision, folder, figures = exported
    config = json.loads((folder / "config.json").read_text())
    assert config["precision"] == precision
    assert config["width"] == 32
    assert config["temporal"] == "transformer"
    assert config["logit_scale"] == pytest.approx(model.logit_scale.exp().item())
    assert config["cosine_to_torch"] == figures
    assert set(config["files"]) == {path.name for path in folder.iterdir()} - {"config.json"}
    card = (folder / "README.md").read_text()
    assert "| Licence | MIT |" in card
    assert "not what a person feels" in card


def test_graphs_name_no_place_of_this_machine(exported):
    _, folder, _ = exported
    for path in folder.glob("*.onnx"):
        assert b"site-packages" not in path.read_bytes()
        assert b"/tests/" not in path.read_bytes()


def test_fp16_halves_the_files(packages_of):
    home, _ = packages_of
    sizes = [sum(path.stat().st_size for path in (home / name).glob("*.onnx*")) for name in ("fp16", "fp32")]
    assert sizes[0] < 0.55 * sizes[1]


def test_large_weights_lie_beside_the_graph_and_are_verified(packages_of, tmp_path):
    home, _ = packages_of
    copy = shutil.copytree(home / "fp16", tmp_path / "copy")
    assert (copy / "text.onnx.data").stat().st_size > 30 * (copy / "text.onnx").stat().st_size
    hub.load(str(copy))
    with open(copy / "text.onnx.data", "r+b") as file:
        file.write(b"changed")
    with pytest.raises(PackageError, match=r"text\.onnx\.data: is damaged"):
        hub.load(str(copy))


def test_mean_of_frames_package_has_no_temporal_graph(baseline, tmp_path):
    assert set(write(tmp_path / "mean", baseline)) == {"image", "text"}
    assert hub.load(str(tmp_path / "mean")).temporal == "mean"
    assert not (tmp_path / "mean" / "temporal.onnx").exists()
    with pytest.raises(OutputError, match="--force"):
        write(tmp_path / "mean", baseline)
    write(tmp_path / "mean", baseline, force=True)
    assert hub.load(str(tmp_path / "mean")).name == "tiny"
    assert [path.name for path in tmp_path.iterdir()] == ["mean"]


def test_any_folder_s_name_and_any_licence_will_do(baseline, tmp_path):
    folder = tmp_path / os.fsdecode(b"k\xe9")
    write(folder, baseline, licence="MIT | <mine>")
    assert hub.load(str(folder)).config["licence"] == "MIT | <mine>"
    assert r"| Licence | MIT \| \<mine> |" in (folder / "README.md").read_text()


# What fails leaves nothing


def test_package_that_disagrees_with_torch_is_not_written(baseline, tmp_path, monkeypatch):
    monkeypatch.setitem(export.AGREEMENT, "fp32", 1.1)
    with pytest.raises(
        PackageError, match=r"image tower on ONNX Runtime differs from torch .* nothing was written$"
    ):
        write(tmp_path / "wrong", baseline)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("value", "said"), [(0.0, "zeros alone"), (float("inf"), "infinite or undefined")])
@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_tower_without_embeddings_is_told_before_the_work(tmp_path, value, said, tower):
    broken = random_model()
    {"image": broken.backbone.visual.proj, "text": broken.backbone.text_projection}[tower].data.fill_(value)
    with pytest.raises(
        PackageError, match=f"^tests: its {tower} tower gives .*{said} in place of embeddings"
    ):
        write(tmp_path / "broken", broken)
    assert list(tmp_path.iterdir()) == []


def test_disk_that_fills_up_during_export_leaves_nothing(baseline, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the image tower has 0.3 MB
    try:
        with pytest.raises(OutputError, match="cannot be written") as caught:
            write(tmp_path / "full", baseline)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_disk_too_small_is_said_before_the_work(baseline, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    with pytest.raises(OutputError, match=r"needs 8\.\d MB, the disk has 1\.0 MB left"):
        write(tmp_path / "full", baseline)
    assert list(tmp_path.iterdir()) == []


def test_disk_that_fills_up_at_the_tokenizer_is_one_line_too(baseline, tmp_path, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def then_full(tower, example, path, *rest):
        save_graph(tower, example, path, *rest)
        if path.name == "text.onnx":
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # the tokenizer has 1.7 MB

    monkeypatch.setattr(export, "save_graph", then_full)
    try:
        with pytest.raises(OutputError) as caught:
            write(tmp_path / "full", baseline)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith(f"{tmp_path}/full/tokenizer.json: cannot be written (File too large)")
    assert list(tmp_path.iterdir()) == []


def test_room_that_is_asked_for_is_what_a_package_takes(exported, model, monkeypatch):
    precision, folder, _ = exported
    taken = sum(path.stat().st_size for path in folder.iterdir())
    usage, words = namedtuple("usage", "total used free"), (folder / "tokenizer.json").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, taken))
    with pytest.raises(OutputError, match="make room or export elsewhere"):
        export._check_room(folder, Towers.of(model), words, precision)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, taken + 0.05 * taken))
    export._check_room(folder, Towers.of(model), words, precision)


def test_folder_that_holds_anything_else_is_never_replaced(baseline, tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(OutputError, match="is not a model package"):
        write(tmp_path, baseline, force=True)
    with pytest.raises(OutputError, match="is a file; name a folder"):
        write(tmp_path / "letters.txt", baseline, force=True)
    assert (tmp_path / "letters.txt").read_text() == "dear"


def test_unknown_precision_is_refused(baseline, tmp_path):
    with pytest.raises(ConfigError, match="precision='fp8'"):
        write(tmp_path / "x", baseline, precision="fp8")


# The tokenizer, against open_clip's


@pytest.fixture(scope="module")
def both():
    from open_clip.tokenizer import SimpleTokenizer

    ours, theirs = clip_tokenizer(), SimpleTokenizer()
    return lambda texts: ([e.ids for e in ours.encode_batch(texts)], theirs(texts).tolist())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "A Face",
        "I'm sure they've said it's we'll, he'd, don't, o'clock, 'tis",
        "“curly” ‘quotes’ — dashes – and… dots",
        "Tom &amp; Jerry &amp;lt; &quot;x&quot; &#39;y&#39;",
        "ﬁne ﬂow ＦＵＬＬ　ｗｉｄｔｈ ｶﾞｷﾞ",
        "ΟΔΥΣΣΕΥΣ Σ ΑΣ. İstanbul ẞ",
        "e\u0301 vs é, A\u030a",
        "😀👩‍👩‍👧‍👦🏳️‍🌈🇬🇷👍🏽",
        "日本語のテキスト 한국어 中文，标点。",
        "العربية עברית हिन्दी ไทย தமிழ் Ελληνικά русский",
        "12345 3.14 ½ ² Ⅷ ٣ 1st",
        "tabs\tand\nlines\r\nand\u00a0spaces\u2003here\u0085next",
        "\ufeffbom \x1b[36mcolour\x1b[0m \x07bell",
        "<start_of_text> inside <END_OF_TEXT>",
        "x" * 3000,
        "word " * 300,
        "!?#@$%^&*()_+{}|:<>~`-=[];',./",
    ],
)
def test_tokens_are_open_clip_s(both, text):
    ours, theirs = both([text])
    assert ours == theirs


def test_tokens_are_open_clip_s_on_thousands_of_strings(both):
    import ftfy

    rng = random.Random(0)
    prose = "the a person smiles with raised eyebrows and Wide-Open eyes, looking (slightly) away; she's it's can't"
    words = f"{prose} 12 3rd 100% anger... fear? JOY! O'Neil re-opened naïve façade".split()
    blocks = [(0x20, 0x7F), (0xA1, 0x250), (0x370, 0x530), (0x5D0, 0x700), (0x904, 0xE50), (0x3041, 0x3100)]
    blocks += [(0x4E00, 0x5000), (0xAC00, 0xAD00), (0x1F300, 0x1F650), (0x2010, 0x2600), (0xFF01, 0xFFEF)]

    def known(char):  # letters newer than one of the two Unicode tables are told apart differently
        return unicodedata.category(char) != "Cn" and ord(char) not in (0x0C5C, 0x0CDC)

    alphabets = [[char for char in map(chr, range(*block)) if known(char)] for block in blocks]
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 120))) for _ in range(1500)]
    while len(texts) < 5000:
        pool = [*rng.choice(alphabets), *rng.choice(alphabets), *rng.choices(words, k=40), *" " * 40]
        text = "".join(rng.choices(pool, k=rng.randint(1, 90)))
        if ftfy.fix_encoding(text) == text:  # mojibake is repaired by open_clip only
            texts.append(text)
    ours, theirs = both(texts)
    different = [text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]
    assert different == []
