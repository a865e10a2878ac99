"""Packages are found by name or path and refused when damaged or foreign, with the reason."""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from packages import tiny_package

from emoclip.errors import ConfigError, PackageError
from emoclip.files import sha256
from emoclip.model import hub, package
from emoclip.model import hub as catalogue
from emoclip.model.runtime import Runtime


@pytest.fixture
def copy(tmp_path):
    """Return a writable copy of the bundled package."""
    return shutil.copytree(package.bundled_folder() / package.BUNDLED, tmp_path / "copy")


def edit(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_the_bundled_package_loads_by_name():
    loaded = hub.load(package.BUNDLED)
    assert loaded.name == package.BUNDLED
    assert loaded.pixels.size >= 32
    size = sum(path.stat().st_size for path in loaded.path.rglob("*") if path.is_file())
    assert size <= 20 * 2**20
    assert {"licence", "source", "training_data"} <= loaded.config.keys()
    assert (loaded.path / "README.md").is_file()


def test_a_path_and_a_cache_name_are_found(copy, tmp_path, monkeypatch):
    assert hub.load(str(copy)).path == copy
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path))
    assert hub.find("copy") == tmp_path / "copy"


def test_the_cache_is_a_folder_and_may_lie_at_home(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EMOCLIP_CACHE", "~/models")
    assert package.cache_folder() == tmp_path / "models"
    (tmp_path / "models").write_text("")
    with pytest.raises(
        ConfigError, match=r"^EMOCLIP_CACHE=~/models is no folder; set it to one, or leave it out$"
    ):
        hub.load("nothing-like-it")


@pytest.mark.skipif(os.name != "posix", reason="who has no home is told by Unix's list of users")
@pytest.mark.parametrize("home", [None, "", "relative"])
def test_without_a_home_there_is_no_cache_and_none_is_made_where_one_stands(tmp_path, monkeypatch, home):
    nobody_is_known(monkeypatch, home)
    monkeypatch.chdir(tmp_path)
    assert package.cache_folder().is_absolute()
    assert not package.cache_folder().exists()
    assert hub.load(package.BUNDLED).name == package.BUNDLED
    monkeypatch.setenv("EMOCLIP_CACHE", "~nobody-of-this-name/models")
    with pytest.raises(
        ConfigError,
        match=r"^EMOCLIP_CACHE=~nobody.*/models: there is no such home folder; set it to a whole path",
    ):
        package.cache_folder()
    assert list(tmp_path.iterdir()) == []


def nobody_is_known(monkeypatch, home):
    """Have this process be of a user whom the system has no home of, as in containers."""
    import pwd

    def unknown(name):
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "EMOCLIP_CACHE"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)


def test_an_unknown_name_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path))
    with pytest.raises(PackageError, match="models list") as caught:
        hub.load("nothing-like-it")
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
        hub.find(name)
    assert ("models fetch runs/alice" in str(caught.value)) == (name == "runs/alice")


def test_a_bundled_package_that_is_not_there_is_nothing_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setattr(package, "bundled_folder", lambda: tmp_path / "zip" / "packages")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PackageError, match="mini: comes with emoclip, but its files are not there"):
        hub.find("mini")


def test_a_model_that_is_not_fetched_yet_or_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path))
    with pytest.raises(PackageError, match=r"not fetched yet; `emoclip models fetch clip-vit-b-32`"):
        hub.find("clip-vit-b-32")
    with pytest.raises(PackageError, match="without a name"):
        hub.find("")


def test_a_hub_name_is_fetched_once_and_then_found(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path / "cache"))
    asked = []
    monkeypatch.setattr(catalogue, "fetch", lambda name: asked.append(name) or copy)
    assert hub.find("hub:someone/theirs") == copy
    fetched = shutil.copytree(copy, tmp_path / "cache" / "someone" / "theirs")
    assert hub.find("hub:someone/theirs") == hub.find("someone/theirs") == fetched
    assert asked == ["someone/theirs"]


@pytest.mark.parametrize("name", ["image.onnx", "text.onnx", "tokenizer.json"])
def test_one_changed_byte_is_noticed(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(PackageError, match="damaged") as caught:
        hub.load(str(copy))
    assert name in str(caught.value)


def test_a_missing_file_is_named(copy):
    (copy / "text.onnx").unlink()
    with pytest.raises(PackageError, match=r"text\.onnx: is missing"):
        hub.load(str(copy))


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
        hub.load(str(copy))
    assert "\n" not in str(caught.value)


def test_a_file_outside_the_package_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy.parent / "x").write_text("x")
    edit(copy, files=config["files"] | {"../x": sha256(copy.parent / "x")})
    with pytest.raises(PackageError, match="outside"):
        hub.load(str(copy))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}'])
def test_a_config_of_something_else_is_refused(copy, text):
    (copy / "config.json").write_text(text)
    with pytest.raises(PackageError, match=r"config\.json"):
        hub.load(str(copy))


def test_an_empty_folder_is_no_package(tmp_path):
    with pytest.raises(PackageError, match="not a model package"):
        hub.load(str(tmp_path))


# What lies in the folder


def reseal(folder, **changes):
    names = {path.name for path in folder.iterdir()} - {"config.json"}
    edit(folder, **{"files": {name: sha256(folder / name) for name in names}, **changes})


def refused(folder, said):
    with pytest.raises(PackageError, match=said) as caught:
        hub.load(str(folder))
    assert str(caught.value).isprintable()


@pytest.fixture
def tiny(tmp_path):
    return tiny_package(tmp_path / "tiny")


def refer(folder, location, name="text.onnx"):
    """Let the weights of a graph lie in another file, as exporters do with large ones."""
    model = onnx.load(folder / name)
    weight = model.graph.initializer[0]
    raw = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(raw)))):
        weight.external_data.add(key=key, value=value)
    (folder / name).write_bytes(model.SerializeToString())
    return raw


def test_weights_beside_a_graph_are_used_if_they_are_listed(tiny):
    before = Runtime(hub.load(str(tiny))).text(["so"])
    (tiny / "text.onnx.data").write_bytes(refer(tiny, "text.onnx.data"))
    listed = json.loads((tiny / "config.json").read_text())["files"]
    edit(tiny, files=listed | {"text.onnx": sha256(tiny / "text.onnx")})
    refused(tiny, r"text\.onnx\.data', which config\.json does not list")
    reseal(tiny)
    loaded = hub.load(str(tiny))
    assert loaded.graphs["text.onnx"].files.keys() == {"text.onnx.data"}
    np.testing.assert_array_equal(Runtime(loaded).text(["so"]), before)
    (tiny / "text.onnx.data").write_bytes(b"short")
    reseal(tiny)
    refused(tiny, r"text\.onnx\.data: ends too early")


def used(runtime, name):
    """Have a runtime open a file of its package."""
    spec, width = runtime.package.pixels, runtime.package.width
    if name == "image.onnx":
        runtime.image(np.zeros((1, len(spec.mean), spec.size, spec.size), np.float32))
    elif name == "temporal.onnx":
        runtime.temporal(np.zeros((1, 2, width), np.float32))
    else:
        runtime.text(["so"])


def flip(path):
    """Change a byte and, as clocks of files are coarse, when that was."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, (1, 1))


LATE = ["image.onnx", "temporal.onnx", "text.onnx", "text.onnx.data", "tokenizer.json"]


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("large", [False, True])
def test_what_is_changed_before_it_is_opened_is_noticed(tiny, monkeypatch, name, large):
    (tiny / "text.onnx.data").write_bytes(refer(tiny, "text.onnx.data"))
    reseal(tiny)
    if large:
        monkeypatch.setattr(package, "LARGE_BYTES", 0)
    runtime = Runtime(hub.load(str(tiny)), threads=1, engine="onnxruntime")
    whole = (tiny / name).read_bytes()
    flip(tiny / name)
    with pytest.raises(PackageError, match=rf"{name}: is damaged or was changed"):
        used(runtime, name)
    (tiny / name).unlink()
    with pytest.raises(PackageError, match=rf"{name}: is missing from the package"):
        used(runtime, name)
    (tiny / name).write_bytes(whole)
    used(runtime, name)


def test_a_large_file_is_hashed_once(tiny, monkeypatch):
    hashed = []
    monkeypatch.setattr(package, "LARGE_BYTES", (tiny / "image.onnx").stat().st_size)
    monkeypatch.setattr(package, "sha256", lambda path: hashed.append(path.name) or sha256(path))
    runtime = Runtime(hub.load(str(tiny)), threads=1, engine="onnxruntime")
    used(runtime, "image.onnx")
    used(runtime, "temporal.onnx")
    assert (hashed.count("image.onnx"), hashed.count("temporal.onnx")) == (1, 2)


def test_a_pickled_package_is_verified_as_it_is_read(tiny):
    kept = pickle.dumps(Runtime(hub.load(str(tiny))))
    assert pickle.loads(kept).text(["so"]).shape == (1, 16)
    flip(tiny / "image.onnx")
    with pytest.raises(PackageError, match=r"image\.onnx: is damaged or was changed"):
        pickle.loads(kept)
    tiny_package(tiny, seed=1)
    with pytest.raises(PackageError, match="is another package than when its model was pickled"):
        pickle.loads(kept)


def test_it_keeps_its_identity_though_its_config_changes(tiny):
    loaded = hub.load(str(tiny))
    identity = sha256(tiny / "config.json")
    edit(tiny, name="other")
    assert loaded.digest == identity


def test_a_relative_path_means_the_folder_that_was_current_then(tiny, tmp_path, monkeypatch):
    expected = Runtime(hub.load(str(tiny))).text(["so"])
    monkeypatch.chdir(tiny.parent)
    runtimes = [Runtime(hub.load(name)) for name in (f"./{tiny.name}", Path(tiny.name))]
    kept = pickle.dumps(runtimes[0])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for runtime in [*runtimes, pickle.loads(kept)]:
        np.testing.assert_array_equal(runtime.text(["so"]), expected)


@pytest.mark.parametrize(
    "location",
    [
        "../secret",
        "/etc/passwd",
        "./x",
        "a/../../secret",
        "..\\secret",
        "C:x",
        "",
        ".hidden",
        "*/_ORT_MEM_ADDR_/*",
    ],
)
def test_a_graph_that_refers_to_a_file_elsewhere_is_refused(tiny, location):
    raw = refer(tiny, location)
    (tiny.parent / "secret").write_bytes(raw)
    reseal(tiny)
    refused(tiny, "text.onnx: refers to")
    if location:
        listed = json.loads((tiny / "config.json").read_text())["files"]
        edit(tiny, files=listed | {location: hashlib.sha256(raw).hexdigest()})
        refused(tiny, "do not trust it|missing|no file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["text.onnx", "tokenizer.json", "README.md", "config.json"])
@pytest.mark.parametrize("kind", ["link outside", "link inside", "pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_unopened(tiny, name, kind):
    path = tiny / name
    whole = path.rename((tiny.parent if kind == "link outside" else tiny) / f"{name}.moved")
    if kind.startswith("link"):
        path.symlink_to(whole)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    refused(tiny, name.replace(".", r"\."))


def test_a_card_that_people_filled_in_or_took_away_is_no_damage(tiny):
    before = hub.load(str(tiny))
    (tiny / "README.md").write_bytes("Cohort: Köln\n".encode("cp1252"))
    changed = hub.load(str(tiny))
    np.testing.assert_array_equal(Runtime(changed).text(["so"]), Runtime(before).text(["so"]))
    assert changed.digest == before.digest
    (tiny / "README.md").unlink()
    assert hub.load(str(tiny)).digest == before.digest
    flip(tiny / "tokenizer.json")
    refused(tiny, r"tokenizer\.json: is damaged or was changed")


def test_a_graph_of_which_a_part_lies_in_the_card_is_refused(tiny):
    (tiny / "README.md").write_bytes(refer(tiny, "README.md"))
    reseal(tiny)
    refused(tiny, r"text\.onnx: refers to README\.md, which anybody may change; do not trust it")


def test_a_file_larger_than_any_packages_is_refused_unread(tiny):
    with (tiny / "image.onnx").open("ab") as file:
        file.truncate(5 << 30)  # no byte of it is stored
    refused(tiny, "image.onnx: is larger than 4 GiB")


def test_a_folder_that_is_a_link_is_refused(tiny):
    (tiny.parent / "elsewhere").mkdir()
    (tiny.parent / "elsewhere/notes.txt").write_text("x")
    (tiny / "sub").symlink_to(tiny.parent / "elsewhere")
    listed = json.loads((tiny / "config.json").read_text())["files"]
    edit(tiny, files=listed | {"sub/notes.txt": sha256(tiny / "sub/notes.txt")})
    refused(tiny, "sub: is a link")


# What the config says


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            (key, value)
            for key in ("width", "frames_per_clip")
            for value in (0, -1, 1.5, True, "8", 2**80, [8])
        ),
        *(
            (key, value)
            for key in ("logit_scale", "sample_fps")
            for value in (0, -1, True, "8", None, 1e308, 10**400, [8], {})
        ),
        ("name", 7),
        ("name", "a\nb"),
        ("name", "\x1b[31mred"),
        ("name", "\ud800"),
        ("licence", ["MIT"]),
        ("source", "\u202egnp.exe"),
        ("precision", "fp4"),
        ("temporal", None),
        ("image", None),
        ("image", []),
        ("rejection", None),
        ("rejection", {"threshold": "low"}),
        ("rejection", {"threshold": 3}),
        ("quantisation", []),
        ("quantisation", {"graph": 3}),
        ("quantisation", {"graph": "README.md"}),
        ("quantisation", {"graph": "image.onnx", "form": "new"}),
        ("quantisation", {"engines": {"onnxruntime": {"centred_cosine": "good"}}}),
        ("files", {"image.onnx": 3}),
    ],
)
def test_a_value_out_of_its_range_is_named_by_its_key(tiny, key, value):
    edit(tiny)
    config = json.loads((tiny / "config.json").read_text()) | {key: value}
    (tiny / "config.json").write_text(json.dumps(config))
    refused(tiny, f"config.json: .*{key}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("size", value) for value in (0, 7, 1025, 16.5, True, "16", None)),
        *(
            (key, value)
            for key in ("mean", "std")
            for value in ([], [0.5] * 4, "abc", [None] * 3, [1e9] * 3, 0.5)
        ),
        ("std", [0.0] * 3),
        ("margin", -1),
        ("margin", "wide"),
        ("colour", "sepia"),
        ("colour", ["rgb"]),
        ("resize", "nearest"),
    ],
)
def test_a_setting_of_the_pixels_out_of_its_range_is_named_by_its_key(tiny, key, value):
    config = json.loads((tiny / "config.json").read_text())
    config["image"][key] = value
    (tiny / "config.json").write_text(json.dumps(config))
    refused(tiny, f"config.json: .*image.*{key}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"logit_scale": NaN, "format": 1, "files": {}}', "NaN"),
        ('{"logit_scale": -Infinity, "format": 1, "files": {}}', "-Infinity"),
        ('{"format": 1, "files": {}, "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"format": ' + "9" * 5000 + "}", "cannot be read"),
        (" " * 5_000_000, "larger than"),
        ("\udc80", "cannot be read"),
    ],
)
def test_a_config_that_is_no_plain_json_is_refused(tiny, text, said):
    (tiny / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(tiny, said)


# What the graphs take and give


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"width": 17, "resting": [0.25] * 17},
            r"image\.onnx: gives embedding of size any x 16 where any x 17",
        ),
        ({"frames_per_clip": 4, "image": {"size": 32}}, r"takes pixels of size any x 3 x 16 x 16"),
        ({"image": {"colour": "grey", "mean": [0.5], "std": [0.5]}}, r"where any x 1 x 16 x 16"),
    ],
)
def test_sizes_that_are_not_the_graphs_are_refused(tiny, changes, said):
    config = json.loads((tiny / "config.json").read_text())
    config |= changes | {"image": config["image"] | changes.get("image", {})}
    (tiny / "config.json").write_text(json.dumps(config))
    refused(tiny, said)


def change(folder, name, edit_graph):
    model = onnx.load(folder / name)
    edit_graph(model.graph)
    (folder / name).write_bytes(model.SerializeToString())
    reseal(folder)


@pytest.mark.parametrize(
    ("edit_graph", "said"),
    [
        (lambda graph: setattr(graph.input[0], "name", "x\x1b"), r"takes 'x\\x1b' where tokens belongs"),
        (lambda graph: setattr(graph.input[0].type.tensor_type, "elem_type", 6), "type 6 where 7"),
        (lambda graph: setattr(graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1), "size 1 x any"),
        (lambda graph: graph.output.add(name="vectors"), "gives 'embedding, vectors' where embedding"),
        (lambda graph: setattr(graph.node[0], "domain", "mine"), "needs an operator beside ONNX's own"),
    ],
)
def test_a_graph_of_another_kind_is_refused(tiny, edit_graph, said):
    change(tiny, "text.onnx", edit_graph)
    with pytest.raises(PackageError, match=said):
        Runtime(hub.load(str(tiny))).text(["so"])


def test_what_shows_only_when_it_runs_is_one_line_too(tiny):
    def widen(graph):
        graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((102, 9), np.float32), "table"))
        graph.output[0].type.tensor_type.ClearField("shape")

    change(tiny, "text.onnx", widen)
    with pytest.raises(PackageError, match=r"text\.onnx: gives float32 of size \(1, 9\) where") as caught:
        Runtime(hub.load(str(tiny))).text(["so"])
    assert str(caught.value).isprintable()
    change(
        tiny,
        "image.onnx",
        lambda graph: graph.initializer[0].CopyFrom(
            onnx.numpy_helper.from_array(np.full((48, 16), np.nan, np.float32), "mix")
        ),
    )
    with pytest.raises(PackageError, match=r"image\.onnx: gives numbers that are infinite"):
        Runtime(hub.load(str(tiny))).image(np.zeros((1, 3, 16, 16), np.float32))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"padding": None}, "has no padding"),
        ({"truncation": None}, "has no truncation"),
        ({"padding": {"strategy": {"Fixed": 10**12}}}, "at most 4096"),
        ({"padding": {"pad_to_multiple_of": 10**12}}, "at most 4096"),
        ({"truncation": {"max_length": 10**9}}, "at most 4096"),
        ({"truncation": {"stride": 999}}, "cannot be used"),
        ({"model": {"vocab": {"a": 10**6, "[UNK]": 10**6}}}, "cannot run it"),
        ({"model": {"type": "\x1b"}}, "cannot be used"),
        ({"version": 7}, "cannot be used"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_one_line(tiny, capfd, changes, said):
    whole = json.loads((tiny / "tokenizer.json").read_text())
    for key, value in changes.items():
        whole[key] = whole[key] | value if isinstance(value, dict) else value
    (tiny / "tokenizer.json").write_text(json.dumps(whole))
    reseal(tiny)
    with pytest.raises(PackageError, match=said) as caught:
        Runtime(hub.load(str(tiny))).text(["a", "so what " * 200])
    assert str(caught.value).isprintable()
    assert "onnxruntime" not in capfd.readouterr().err
