"""Prompt files: labels, or one line that names the file, whatever bytes lie in it."""

import json
import os

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoclip.errors import InputError
from emoclip.prompts import PromptSet, read_prompt_file, resolve
from emoclip.prompts.labelfile import MAX_BYTES

MANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)


def refused(path):
    with pytest.raises(InputError) as caught:
        resolve(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    assert len(line) < len(str(path)) + 400
    return line


FAULTS = {
    "deep.json": ("[" * 100_000, "deep"),
    "deep list.yaml": ("[" * 100_000, "deep"),
    "deep map.yaml": ("{a: " * 50_000, "deep"),
    "deep key.yaml": ("? " * 50_000, "deep"),
    "deep block.yaml": ("- " * 50_000, "deep"),
    "third floor.yaml": ("a:\n - [x]\nb: y", "deep"),
    "twice.json": ('{"a": "x", "a": "y"}', "'a' 2 times"),
    "twice.yaml": ("a: x\nb: z\na: y\n", "'a' 2 times"),
    "twice but for case.yaml": ("Sad: x\nsad: y\n", "twice"),
    "twice in Unicode.json": (json.dumps({"caf\u00e9": "x", "cafe\u0301": "y"}), "twice"),
    "laughs.yaml": ("a: &a [x, x]\nb: [*a, *a]\n", "alias"),
    "surrogate label.json": ('{"a\\ud800": "x", "b": "y"}', "surrogate"),
    "surrogate sentence.json": ('{"a": "x \\udfff", "b": "y"}', "surrogate"),
    "surrogate.yaml": ('"a\\ud800": x\nb: y', "YAML"),
    "control.yaml": ("a: x\x00\nb: y", "YAML"),
    "python.yaml": ("a: !!python/object/apply:os.getcwd []\nb: y", "YAML"),
    "empty float.yaml": ('a: !!float ""\nb: y', "YAML"),
    "timestamp.yaml": ("a: !!timestamp x\nb: y", "YAML"),
    "odd bool.yaml": ("a: !!bool maybe\nb: y", "YAML"),
    "month.yaml": ("a: 2001-99-99\nb: y", "YAML"),
    "long number.json": ('{"a": ' + "1" * 5000 + "}", "JSON"),
    "not a number.json": ('{"a": NaN, "b": "y"}', "no sentence"),
    "two documents.yaml": ("a: x\n---\nb: y\n", "YAML"),
    "list.json": ('["a", "b"]', "must map"),
    "empty.yaml": ("", "must map"),
    "empty.json": ("", "JSON"),
    "null.json": ("null", "must map"),
    "one.yaml": ("a: x", "at least 2"),
    "long sentence.yaml": ("a: " + "x" * 10_001 + "\nb: y", "10001 characters"),
    "long label.json": (json.dumps({"x" * 1001: "a", "b": "y"}), "1001 characters"),
    "many.yaml": ("".join(f"l{i}: x\n" for i in range(10_001)), "10001 given"),
    "big.yaml": ("a: x\nb: y\n#" + "x" * (MAX_BYTES - 10), "has 2,000,001 bytes, a prompt file at most 2,000,000;"),
    "binary.yaml": ("? !!binary YQ==\n: x\nb: y", "not text"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_that_names_the_file(tmp_path, name):
    text, said = FAULTS[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert said in refused(path)


@pytest.mark.parametrize("content", [b"\xff\xfea\x00", b"a: \xe9\nb: y", b"\x00" * 100, b"\x1f\x8b\x08"])
def test_other_encodings_and_binary_files(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    assert "UTF-8" in refused(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_devices_folders_and_names_that_cannot_be(tmp_path):
    pipe, folder, device = (tmp_path / f"{name}.yaml" for name in ("pipe", "folder", "device"))
    os.mkfifo(pipe)
    folder.mkdir()
    device.symlink_to("/dev/zero")
    for path in (pipe, folder, device):
        assert "is not a file" in refused(path)
    nameless = tmp_path / "63"  # as a shell's `<(...)`
    os.mkfifo(nameless)
    with pytest.raises(InputError, match="63 is a pipe; write the labels to a"):
        resolve(str(nameless))
    with pytest.raises(InputError, match="cannot be read"):
        resolve("nul\0byte.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        resolve("x" * 5000 + ".yaml")


YAML_LIKE = st.lists(
    st.sampled_from([*"ab:-?[]{},&*!|>%@`'\"#~<=\n\t 01.\\u\ud800é", "!!float ", "!!set ", "<<: ", "a: b\n"])
).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=300) | YAML_LIKE, st.sampled_from([".yaml", ".json"]))
@MANY
def test_any_bytes_are_labels_or_one_line(tmp_path, content, suffix):
    path = tmp_path / f"any{suffix}"
    path.write_bytes(content)
    try:
        assert isinstance(resolve(path), PromptSet)
    except InputError:
        refused(path)


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(str.strip).filter(bool)


@given(
    st.dictionaries(TEXT, TEXT | st.lists(TEXT, min_size=1, max_size=3), min_size=2, max_size=5),
    st.sampled_from([".yaml", ".json"]),
)
@MANY
def test_good_files_come_back_as_written(tmp_path, content, suffix):
    path = tmp_path / f"good{suffix}"
    dump = json.dumps if suffix == ".json" else yaml.safe_dump
    path.write_text(dump(content), encoding="utf-8")
    try:
        prompts = resolve(path)
    except InputError as error:
        if "twice" not in str(error):  # labels that differ in case alone, or in composition
            raise
        return
    assert prompts.labels == list(yaml.safe_load(dump(content)) if suffix == ".yaml" else content)
    for prompt in prompts.prompts:
        given_ = content[prompt.label]
        assert prompt.parts == ((given_,) if isinstance(given_, str) else tuple(given_),)


def test_labels_that_were_taught_are_told_where_sentences_are_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"grief.labels: labels that were taught are more than sentences"):
        read_prompt_file(tmp_path / "grief.labels")
