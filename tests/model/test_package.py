"""Packages are found by name or path and refused when damaged or foreign, with the reason."""

import json
import shutil

import pytest

from emoclip.errors import PackageError
from emoclip.files import sha256
from emoclip.model import hub as catalogue
from emoclip.model import package


@pytest.fixture
def copy(tmp_path):
    """Return a writable copy of the bundled package."""
    return shutil.copytree(package.bundled_folder() / package.BUNDLED, tmp_path / "copy")


def edit(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_the_bundled_package_loads_by_name():
    loaded = package.load(package.BUNDLED)
    assert loaded.name == package.BUNDLED
    assert loaded.pixels.size >= 32
    size = sum(path.stat().st_size for path in loaded.path.rglob("*") if path.is_file())
    assert size <= 20 * 2**20
    assert {"licence", "source", "training_data"} <= loaded.config.keys()
    assert (loaded.path / "README.md").is_file()


def test_a_path_and_a_cache_name_are_found(copy, tmp_path, monkeypatch):
    assert package.load(str(copy)).path == copy
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path))
    assert package.find("copy") == tmp_path / "copy"


def test_an_unknown_name_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path))
    with pytest.raises(PackageError, match="models list") as caught:
        package.load("nothing-like-it")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["runs/alice", "runs/alice/", "./runs/alice", "a/b/c", "C:/runs", "hub:runs", "hub:../x/y", "hub:a/.."],
)
def test_a_mistyped_name_or_path_is_asked_of_nobody(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalogue, "fetch", lambda name: pytest.fail(f"asked for {name}"))
    with pytest.raises(PackageError, match="no such folder") as caught:
        package.find(name)
    assert ("models fetch runs/alice" in str(caught.value)) == (name == "runs/alice")


def test_a_hub_name_is_fetched_once_and_then_found(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path / "cache"))
    asked = []
    monkeypatch.setattr(catalogue, "fetch", lambda name: asked.append(name) or copy)
    assert package.find("hub:someone/theirs") == copy
    fetched = shutil.copytree(copy, tmp_path / "cache" / "someone" / "theirs")
    assert package.find("hub:someone/theirs") == package.find("someone/theirs") == fetched
    assert asked == ["someone/theirs"]


@pytest.mark.parametrize("name", ["image.onnx", "text.onnx", "tokenizer.json"])
def test_one_changed_byte_is_noticed(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(PackageError, match="damaged") as caught:
        package.load(str(copy))
    assert name in str(caught.value)


def test_a_missing_file_is_named(copy):
    (copy / "text.onnx").unlink()
    with pytest.raises(PackageError, match=r"text\.onnx: is missing"):
        package.load(str(copy))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 99}, "format 99"),
        ({"format": None}, "not the config"),
        ({"width": None}, "width"),
        ({"width": "wide"}, "wide"),
        ({"temporal": "lstm"}, "lstm"),
        ({"logit_scale": -1}, "logit_scale"),
        ({"files": {}}, "lists no image.onnx"),
        ({"image": {"size": 48}}, "colour"),
    ],
)
def test_a_foreign_config_is_refused(copy, changes, said):
    edit(copy, **changes)
    with pytest.raises(PackageError, match=said) as caught:
        package.load(str(copy))
    assert "\n" not in str(caught.value)


def test_a_file_outside_the_package_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy.parent / "x").write_text("x")
    edit(copy, files=config["files"] | {"../x": sha256(copy.parent / "x")})
    with pytest.raises(PackageError, match="outside"):
        package.load(str(copy))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}'])
def test_a_config_of_something_else_is_refused(copy, text):
    (copy / "config.json").write_text(text)
    with pytest.raises(PackageError, match=r"config\.json"):
        package.load(str(copy))


def test_an_empty_folder_is_no_package(tmp_path):
    with pytest.raises(PackageError, match="not a model package"):
        package.load(str(tmp_path))
