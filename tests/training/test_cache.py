"""The cache of embeddings: what is in it stays, and it refuses what it was not made for."""

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from clips import TINY, make_clips  # noqa: E402

from emoclip.datasets import Clip  # noqa: E402
from emoclip.errors import InputError, OutputError  # noqa: E402
from emoclip.faces import yunet  # noqa: E402
from emoclip.training import embedding  # noqa: E402
from emoclip.training.assembly import assemble  # noqa: E402
from emoclip.training.cache import EmbeddingCache, fingerprint, stamp  # noqa: E402
from emoclip.training.data import said  # noqa: E402
from emoclip.training.embedding import cache_frames, cache_sentences  # noqa: E402
from emoclip.training.recipe import load_recipe  # noqa: E402
from emoclip.training.samples import choose_samples  # noqa: E402


def quiet(what, done, total):
    pass


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def test_rows_come_back_by_key_also_after_reopening(tmp_path):
    cache = EmbeddingCache(tmp_path / "c", {"model": "a"}, 3)
    cache.add("one", "s1", rows(2, 1))
    cache.add("two", "s2", rows(5, 2))
    np.testing.assert_array_equal(cache.rows("two"), rows(5, 2))
    cache.add("three", "s3", rows(1, 3))  # while rows are mapped
    cache.close()
    again = EmbeddingCache(tmp_path / "c", {"model": "a"}, 3)
    for key, count, seed in (("one", 2, 1), ("two", 5, 2), ("three", 1, 3)):
        np.testing.assert_array_equal(again.rows(key), rows(count, seed))
    assert isinstance(again.rows("one").base, np.memmap | np.ndarray)
    assert again.holds("one", "s1")
    assert not again.holds("four", "s4")


def test_what_a_kill_cut_short_is_dropped_and_the_rest_kept(tmp_path):
    cache = EmbeddingCache(tmp_path / "c", {}, 3)
    cache.add("one", "s", rows(2))
    cache.add("two", "s", rows(3))
    cache.close()
    index = tmp_path / "c" / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-4])  # half a line, its rows whole
    with (tmp_path / "c" / "rows.f32").open("ab") as file:
        file.write(b"half a row")
    again = EmbeddingCache(tmp_path / "c", {}, 3)
    assert list(again.entries) == ["one"]
    again.add("two", "s", rows(3, 9))
    again.close()
    np.testing.assert_array_equal(EmbeddingCache(tmp_path / "c", {}, 3).rows("two"), rows(3, 9))


def test_another_model_or_setting_is_refused_by_name(tmp_path):
    EmbeddingCache(tmp_path / "c", {"image tower": "aaaa", "clips.stride": 4}, 3)
    with pytest.raises(
        InputError,
        match=r"made with image tower=aaaa, this run has image tower=bbbb: other weights .*loop\.seed.*--cache",
    ):
        EmbeddingCache(tmp_path / "c", {"image tower": "bbbb", "clips.stride": 4}, 3)
    with pytest.raises(InputError, match=r"clips\.stride=4"):
        EmbeddingCache(tmp_path / "c", {"image tower": "aaaa", "clips.stride": 2}, 3)
    with pytest.raises(InputError, match="width"):
        EmbeddingCache(tmp_path / "c", {"image tower": "aaaa", "clips.stride": 4}, 8)


def test_a_changed_file_is_refused_by_name(tmp_path):
    cache = EmbeddingCache(tmp_path / "c", {}, 3)
    cache.add("clip7#0", "before", rows(2))
    with pytest.raises(InputError, match=r"made when clip7 was another file"):
        cache.holds("clip7#0", "after")


def test_a_shortened_data_file_is_told(tmp_path):
    cache = EmbeddingCache(tmp_path / "c", {}, 3)
    cache.add("one", "s", rows(2))
    cache.close()
    os.truncate(tmp_path / "c" / "rows.f32", 10)
    with pytest.raises(InputError, match="shorter than its index"):
        EmbeddingCache(tmp_path / "c", {}, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("index.jsonl", b'["one", "s", 2]\ngarbage\n'),
        ("index.jsonl", b'["one", "s"]\n'),
        ("index.jsonl", b'["one", "s", -2]\n'),
        ("index.jsonl", b'["one", "s", "2"]\n'),
        ("index.jsonl", b'{"one": 1, "s": 2, "n": 3}\n'),
        ("index.jsonl", b"\xff\xfe\n"),
        ("index.jsonl", b"[" * 100_000 + b"\n"),
        ("settings.json", b"[]"),
        ("settings.json", b"\xff"),
        ("settings.json", b"{"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, name, content):
    cache = EmbeddingCache(tmp_path / "c", {}, 3)
    cache.add("one", "s", rows(2))
    cache.close()
    (tmp_path / "c" / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: is damaged; delete .*/c and run again$"):
        EmbeddingCache(tmp_path / "c", {}, 3)


FILLING = """
import sys, time
from pathlib import Path
import numpy as np
from emoclip.training.cache import EmbeddingCache

folder, name, told = Path(sys.argv[1]), sys.argv[2], lambda line: print(line, flush=True)
cache = EmbeddingCache(folder, {}, 3, told)
for number in range(50):
    if not cache.holds(f"shared{number}", ""):
        cache.add(f"shared{number}", "", np.full((2, 3), number, np.float32))
    cache.add(f"{name}{number}", "", np.full((1, 3), number + 100 * ord(name), np.float32))
    if number == 9:
        print("open", flush=True)
        sys.stdin.readline()
cache.close()
"""


@pytest.fixture
def fill(tmp_path):
    """Start processes that fill the cache tmp_path/c, with a pause in the middle until they read a line."""
    started = []

    def start(name):
        command = [sys.executable, "-c", FILLING, str(tmp_path / "c"), name]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_two_runs_fill_one_cache_one_after_the_other(tmp_path, fill):
    first = fill("a")
    assert first.stdout.readline() == "open\n"
    second = fill("b")
    assert "/c: another run is filling this cache; waiting" in second.stdout.readline()
    first.communicate("\n")
    assert second.stdout.readline() == "open\n"
    second.communicate("\n")
    assert (first.returncode, second.returncode) == (0, 0)
    cache = EmbeddingCache(tmp_path / "c", {}, 3)
    assert len(cache.entries) == 150
    for number in range(50):
        assert cache.rows(f"shared{number}").tolist() == [[number] * 3] * 2
        for name in "ab":
            assert cache.rows(f"{name}{number}").tolist() == [[number + 100 * ord(name)] * 3]


def test_a_killed_run_leaves_no_lock_and_what_it_had(tmp_path, fill):
    killed = fill("a")
    assert killed.stdout.readline() == "open\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    told = []
    cache = EmbeddingCache(tmp_path / "c", {}, 3, told.append)
    assert len(cache.entries) == 20
    assert not told


def test_a_closed_cache_is_read_while_another_is_filled_and_in_other_processes(tmp_path, fill):
    cache = EmbeddingCache(tmp_path / "c", {}, 3)
    cache.add("one", "s", rows(2))
    cache.close()
    other = fill("a")
    assert other.stdout.readline() == "open\n"
    np.testing.assert_array_equal(cache.rows("one"), rows(2))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cache)).rows("one"), rows(2))


def test_a_refused_cache_is_not_kept_locked(tmp_path):
    cache = EmbeddingCache(tmp_path / "c", {}, 3)
    cache.add("one", "s", rows(2))
    cache.close()
    index = tmp_path / "c" / "index.jsonl"
    whole = index.read_bytes()
    index.write_bytes(b"garbage\n")
    with pytest.raises(InputError, match="damaged") as kept:
        EmbeddingCache(tmp_path / "c", {}, 3)
    index.write_bytes(whole)
    assert list(EmbeddingCache(tmp_path / "c", {}, 3).entries) == ["one"]
    assert kept.value is not None


def test_a_full_disk_is_one_line_and_loses_nothing_written_before(tmp_path):
    cache = EmbeddingCache(tmp_path / "c", {}, 3)
    cache.add("one", "s", rows(2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot be written.*make room"):
            cache.add("two", "s", rows(50))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    cache.close()
    assert list(EmbeddingCache(tmp_path / "c", {}, 3).entries) == ["one"]


def test_stamps_change_with_the_files(tmp_path):
    make_clips(tmp_path, count=1)
    clip = Clip("clip000", tmp_path / "clip000")
    first = stamp(clip)
    assert stamp(clip) == first
    frame = tmp_path / "clip000" / "000.png"
    frame.write_bytes(frame.read_bytes() + b"x")
    assert stamp(clip) != first
    before = stamp(clip)
    (tmp_path / "clip000" / "Thumbs.db").write_bytes(b"x")
    assert stamp(clip) == before
    assert stamp(Clip("a", tmp_path, image=b"1")) != stamp(Clip("a", tmp_path, image=b"2"))
    with pytest.raises(InputError, match="cannot be read"):
        stamp(Clip("gone", tmp_path / "gone"))


def test_fingerprints_tell_models_apart():
    layer = torch.nn.Linear(3, 2)
    first = fingerprint(layer.state_dict())
    assert fingerprint({k: v.clone() for k, v in layer.state_dict().items()}) == first
    with torch.no_grad():
        layer.bias[0] += 1e-6
    assert fingerprint(layer.state_dict()) != first


def test_all_clips_that_cannot_be_read_are_named_and_the_others_kept(tmp_path):
    recipe = load_recipe("own", [*TINY])
    samples = choose_samples(recipe, make_clips(tmp_path, count=24))
    assembly = assemble(recipe.model, said(samples.train, samples.sentences, recipe), 0)
    broken = [samples.train[at].clip for at in (1, 4)]
    for clip in broken:
        for frame in clip.path.iterdir():
            frame.write_bytes(b"no picture")
    with pytest.raises(
        InputError, match=f"2 clips cannot be read: {broken[0].id}, {broken[1].id}; drop them"
    ):
        cache_frames(assembly, recipe, samples, tmp_path / "cache", quiet)
    good = {s.clip.id for s in (*samples.train, *samples.held, *samples.test)} - {clip.id for clip in broken}
    index = (tmp_path / "cache/frames/index.jsonl").read_text().splitlines()
    assert {json.loads(line)[0].rpartition("#")[0] for line in index} == good


def test_towers_run_once_for_every_view_and_sentence(tmp_path):
    manifest = make_clips(tmp_path / "data", count=12, test=3)
    recipe = load_recipe("smoke", TINY + ("data.file=''", "data.measures=''", "model.train_image=false"))
    samples = choose_samples(recipe, manifest)
    assembly = assemble(recipe.model, said(samples.train, samples.sentences, recipe), 0)
    seen = []
    assembly.model.backbone.visual.register_forward_hook(lambda *args: seen.append(len(args[1][0])))
    frames = cache_frames(assembly, recipe, samples, tmp_path / "cache", quiet)
    once = sum(seen)
    # 7 frames a clip; two augmented views to train on, the plain one to select and test on
    assert once == 7 * (2 * len(samples.train) + len(samples.held) + len(samples.test))
    again = cache_frames(assembly, recipe, samples, tmp_path / "cache", quiet)
    assert sum(seen) == once
    assert again.entries == frames.entries
    texts = cache_sentences(assembly, recipe, samples, tmp_path / "cache", quiet)
    captions = {s.captions[0] for part in (samples.train, samples.held, samples.test) for s in part}
    assert set(texts.entries) == captions | {s for known in samples.sentences for s in known}
    frame = samples.train[0].clip.path / "000.png"
    frame.write_bytes(frame.read_bytes() + b"x")
    with pytest.raises(InputError, match="another file than now"):
        cache_frames(assembly, recipe, samples, tmp_path / "cache", quiet)


def test_a_copied_data_set_has_the_same_rows_and_a_file_changed_within_its_size_has_not(tmp_path):
    recipe = load_recipe("own", [*TINY])
    samples = choose_samples(recipe, make_clips(tmp_path / "data", count=24))
    assembly = assemble(recipe.model, said(samples.train, samples.sentences, recipe), 0)
    made = cache_frames(assembly, recipe, samples, tmp_path / "cache", quiet)
    for frame in (tmp_path / "data").rglob("*.png"):
        os.utime(frame, (1, 1))
    again = cache_frames(assembly, recipe, samples, tmp_path / "cache", quiet)
    assert again.entries == made.entries
    clip = samples.train[0].clip
    frame = clip.path / "000.png"
    frame.write_bytes(frame.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=f"made when {clip.id} was another file"):
        cache_frames(assembly, recipe, samples, tmp_path / "cache", quiet)


def test_frames_cropped_to_what_haar_found_are_not_taken_for_yunets(tmp_path, monkeypatch):
    recipe = load_recipe("own", [*TINY])
    recipe = replace(recipe, data=replace(recipe.data, faces="largest"))
    samples = choose_samples(recipe, make_clips(tmp_path, count=24))
    assembly = assemble(recipe.model, said(samples.train, samples.sentences, recipe), 0)
    monkeypatch.setattr(embedding, "embed_views", lambda *_: ())
    cache_frames(assembly, recipe, samples, tmp_path / "cache", quiet)
    monkeypatch.setattr(yunet, "_places", lambda: iter([tmp_path / "gone.onnx"]))
    with pytest.raises(InputError, match="was made with detector=None, this run has detector=haar"):
        cache_frames(assembly, recipe, samples, tmp_path / "cache", quiet)
