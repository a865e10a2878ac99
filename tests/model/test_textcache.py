"""Sentences' embeddings on disk: the same numbers, no tower the second time, and no harm from a bad disk."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from packages import tiny_package

from emoclip import EmoCLIP
from emoclip.errors import ConfigError, PackageError
from emoclip.model import textcache
from emoclip.model.runtime import Runtime

LABELS = {"smiling": ["a smile", "a broad grin"], "sad": "a face about to cry"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "text"


@pytest.fixture
def folder(tmp_path):
    return tiny_package(tmp_path / "p")


@pytest.fixture
def towers(monkeypatch):
    """Return the list of runs of text towers."""
    runs, read = [], Runtime.read
    monkeypatch.setattr(
        Runtime, "read", lambda self, sentences: runs.append(sentences) or read(self, sentences)
    )
    return runs


def embed(folder, labels=LABELS):
    return EmoCLIP.load(str(folder)).embed_text(labels)


def test_the_second_time_the_tower_is_not_even_loaded(cache, folder, towers):
    first = embed(folder)
    assert len(towers) == 1
    model = EmoCLIP.load(str(folder))
    assert np.array_equal(model.embed_text(LABELS), first)
    assert len(towers) == 1
    assert not {"_text", "_tokenizer"} & vars(model.runtime).keys()


def test_another_package_or_other_sentences_are_embedded_anew(cache, folder, towers, tmp_path):
    embed(folder)
    other = embed(tiny_package(tmp_path / "other", seed=1))
    embed(folder, LABELS | {"sad": "a sad face"})
    assert len(towers) == 3
    assert not np.array_equal(other, embed(folder))
    assert len(towers) == 3


def test_a_changed_tower_spoils_nothing(cache, folder, tmp_path):
    intact = shutil.copytree(folder, tmp_path / "intact")
    model = EmoCLIP.load(str(folder))
    other = tiny_package(tmp_path / "other", seed=1)
    shutil.copy(other / "text.onnx", folder / "text.onnx")
    with pytest.raises(PackageError, match=r"text\.onnx: is damaged or was changed"):
        model.embed_text(LABELS)
    assert not cache.exists()
    expected = embed(intact)
    assert np.array_equal(model.embed_text(LABELS), expected)  # which it knows by now


@pytest.mark.parametrize(
    "damage", [b"", b"\x93NUMPY", b"not numbers", "other shape", "pickle", "not finite", "zip"]
)
def test_a_damaged_file_is_made_again(cache, folder, towers, damage):
    first = embed(folder)
    [path] = cache.iterdir()
    kept = np.load(path)
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    elif damage == "zip":  # numpy opens it as something else
        np.savez(path.with_suffix(".npz"), kept)
        path.with_suffix(".npz").replace(path)
    else:
        bad = {"other shape": kept[:1], "pickle": np.array([{}, []], object), "not finite": kept * np.nan}
        np.save(path, bad[damage])
    assert np.array_equal(embed(folder), first)
    assert len(towers) == 2
    assert np.array_equal(np.load(path), kept)


def test_a_disk_that_cannot_be_written_is_no_error(folder, towers, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path / "file" / "beneath"))
    assert np.array_equal(embed(folder), embed(folder))
    assert len(towers) == 2


def test_it_can_be_turned_off(cache, folder, towers, monkeypatch):
    monkeypatch.setenv("EMOCLIP_TEXT_CACHE", "0")
    embed(folder)
    embed(folder)
    assert len(towers) == 2
    assert not cache.exists()


def test_no_word_can_be_read_from_it(cache, folder):
    embed(folder, ["my secret study", "another"])
    [path] = cache.iterdir()
    assert b"secret" not in path.name.encode() + path.read_bytes()


def test_many_at_once_leave_whole_files(cache, folder):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: embed(folder), range(16)))
    assert all(np.array_equal(one, made[0]) for one in made)
    assert [path.suffix for path in cache.iterdir()] == [".npy"]


def test_the_oldest_files_go_first(cache, folder, monkeypatch):
    monkeypatch.setattr(textcache, "KEPT", 2)
    made = []
    for age, word in enumerate(("one", "two", "three")):
        embed(folder, [word, "other"])
        [new] = set(cache.iterdir()) - set(made)
        os.utime(new, (age, age))
        made.append(new)
    assert set(cache.iterdir()) == set(made[1:])


@pytest.mark.parametrize("value", ["0", "no", "False", "off"])
def test_switched_off_nothing_is_kept(cache, folder, towers, monkeypatch, value):
    monkeypatch.setenv("EMOCLIP_TEXT_CACHE", value)
    assert np.array_equal(embed(folder), embed(folder))
    assert len(towers) == 2
    assert not cache.exists()


def test_a_switch_that_is_neither_on_nor_off_is_refused(cache, folder, monkeypatch):
    monkeypatch.setenv("EMOCLIP_TEXT_CACHE", "never")
    with pytest.raises(ConfigError, match="EMOCLIP_TEXT_CACHE='never' is not one of"):
        embed(folder)
