"""The writer of packages: whole or not at all, hashes right, nothing replaced unasked, read back."""

import hashlib
import json
import shutil

import pytest
from packages import tiny_package

from emoclip.errors import OutputError, PackageError
from emoclip.model import Description, PixelSpec, add_to_card, load, new_package, seal

GRAPHS = ("image.onnx", "text.onnx", "tokenizer.json")
ABOUT = Description(
    name="written",
    licence="MIT",
    source="tests",
    training_data="none, « é »",
    pixels=PixelSpec(16, "rgb", (0.5,) * 3, (0.25,) * 3, "bilinear-antialias", 0.0),
)


@pytest.fixture
def parts(tmp_path):
    return tiny_package(tmp_path / "parts", temporal="mean")


def write(parts, folder, *, force=False, width=16, name="written", leave_out=""):
    with new_package(folder, force=force) as part:
        for file in GRAPHS:
            if file != leave_out:
                shutil.copy(parts / file, part / file)
        (part / "words").mkdir()
        (part / "words" / "prompts.yaml").write_text("a: [b]\n")
        config = ABOUT.config(
            width=width, logit_scale=20.0, temporal="mean", precision="fp32", extra={"n": 1}
        )
        seal(part, {**config, "name": name}, "# written\n")


def test_what_was_written_reads_back_with_the_hashes_of_its_files(parts, tmp_path):
    write(parts, tmp_path / "p")
    package = load(str(tmp_path / "p"))
    assert (package.name, package.pixels, package.sample_fps) == ("written", ABOUT.pixels, 7.5)
    assert package.config["extra"] == {"n": 1}
    assert package.config["training_data"] == "none, « é »"
    files = {*GRAPHS, "README.md", "words/prompts.yaml"}
    assert package.config["files"] == {
        name: hashlib.sha256((tmp_path / "p" / name).read_bytes()).hexdigest() for name in files
    }


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"leave_out": "text.onnx"}, "lists no text.onnx"),
        ({"width": 17}, "17 belongs"),
        ({"leave_out": "tokenizer.json"}, "lists no tokenizer.json"),
    ],
)
def test_what_does_not_read_back_is_not_written_and_said_by_its_place(parts, tmp_path, wrong, told):
    with pytest.raises(PackageError, match=told) as caught:
        write(parts, tmp_path / "p", **wrong)
    assert str(caught.value).startswith(str(tmp_path / "p"))
    assert ".part" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_a_package_without_its_seal_is_none(parts, tmp_path):
    with pytest.raises(PackageError, match=r"no config\.json"), new_package(tmp_path / "p") as part:
        shutil.copy(parts / "image.onnx", part)
    assert not (tmp_path / "p").exists()


def test_a_package_that_came_while_another_was_made_is_not_replaced_unasked(parts, tmp_path):
    def both():
        with new_package(tmp_path / "p") as part:
            shutil.copytree(parts, part, dirs_exist_ok=True)
            write(parts, tmp_path / "p", name="first")

    with pytest.raises(OutputError, match="p: holds a model package already; pass --force"):
        both()
    assert load(str(tmp_path / "p")).name == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "parts"]


def test_a_package_is_replaced_only_when_asked_and_by_a_good_one_only(parts, tmp_path):
    write(parts, tmp_path / "p")
    before = (tmp_path / "p" / "config.json").read_bytes()
    with pytest.raises(OutputError, match="--force"):
        write(parts, tmp_path / "p", name="second")
    with pytest.raises(PackageError):
        write(parts, tmp_path / "p", force=True, width=17)
    assert (tmp_path / "p" / "config.json").read_bytes() == before
    write(parts, tmp_path / "p", force=True, name="second")
    assert load(str(tmp_path / "p")).name == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "parts"]


def test_a_folder_of_anything_else_is_never_replaced_and_an_empty_one_is_filled(parts, tmp_path):
    (tmp_path / "mine").mkdir()
    write(parts, tmp_path / "mine")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    (tmp_path / "file").write_text("dear")
    for place in ("letters", "file"):
        with pytest.raises(OutputError, match=r"is not a model package|is a file"):
            write(parts, tmp_path / place, force=True)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "dear"


@pytest.mark.parametrize("place", ["weights.safetensors", "mine/notes.txt"])
@pytest.mark.parametrize("readable", [True, False])
def test_what_lies_in_a_package_and_is_none_of_its_files_is_never_deleted(parts, tmp_path, place, readable):
    write(parts, tmp_path / "p")
    (tmp_path / "p" / place).parent.mkdir(exist_ok=True)
    (tmp_path / "p" / place).write_text("mine")
    if not readable:
        (tmp_path / "p" / "config.json").write_text("{")
    listed = rf"holds {place}, which its config\.json does not list"
    with pytest.raises(
        OutputError, match=listed if readable else r"config\.json: .*nobody can tell what else"
    ):
        write(parts, tmp_path / "p", force=True)
    assert (tmp_path / "p" / place).read_text() == "mine"
    assert (tmp_path / "p" / "image.onnx").is_file()


def test_what_a_system_leaves_in_any_folder_keeps_no_package_from_being_replaced(parts, tmp_path):
    write(parts, tmp_path / "p")
    for name in (".DS_Store", "._README.md", "Thumbs.db"):
        (tmp_path / "p" / name).write_text("")
    write(parts, tmp_path / "p", force=True)
    assert not (tmp_path / "p" / ".DS_Store").exists()


def test_a_longer_card_is_sealed_again(parts, tmp_path):
    write(parts, tmp_path / "p")
    before = json.loads((tmp_path / "p" / "config.json").read_text())
    add_to_card(tmp_path / "p", "## Scores\n\nnone")
    assert (tmp_path / "p" / "README.md").read_text() == "# written\n\n## Scores\n\nnone\n"
    after = load(str(tmp_path / "p")).config
    assert after["files"].pop("README.md") != before["files"].pop("README.md")
    assert after == before
