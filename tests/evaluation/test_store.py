"""The store of embeddings when others use it, or it is spoilt."""

import sqlite3
import threading

import numpy as np
import pytest
from packages import tiny_package
from PIL import Image

from emoclip import EmoCLIP, FaceConfig
from emoclip.datasets import Clip
from emoclip.errors import OutputError
from emoclip.evaluation import embeddings
from emoclip.evaluation.embeddings import Store, embed
from emoclip.evaluation.sampling import Sampling

ROW = np.arange(4, dtype=np.float32)


def test_a_clip_that_changes_while_it_is_read_is_not_kept_under_what_it_was(tmp_path, monkeypatch):
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    picture, rng = tmp_path / "a.png", np.random.default_rng(0)
    clips, store = [Clip("a.png", picture)], Store(None)
    read = embeddings.read_clip

    def replace():
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(picture)

    def slow(*arguments):
        sampled = read(*arguments)
        replace()
        return sampled

    replace()
    with monkeypatch.context() as patched:
        patched.setattr(embeddings, "read_clip", slow)
        found = embed(model, clips, Sampling("even", 4), FaceConfig(mode="full"), store)
    assert found.missing == {0: "a.png: changed while it was read; run this again when it is whole"}
    assert not embed(model, clips, Sampling("even", 4), FaceConfig(mode="full"), store).missing


def test_two_stores_write_one_file_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "FLUSH_S", 0.0)
    failed = []

    def fill(number):
        try:
            store = Store(tmp_path / "s.sqlite")
            for row in range(100):
                store.add(f"{number} {row}", ROW[None], ROW + row, ())
            store.close()
        except OutputError as error:
            failed.append(error)

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    store = Store(tmp_path / "s.sqlite")
    assert all(
        np.array_equal(store.clip(f"{n} {row}", 4)[0], ROW + row) for n in range(4) for row in range(100)
    )


def test_between_writes_nobody_is_locked_out(tmp_path):
    ours, theirs = Store(tmp_path / "s.sqlite"), Store(tmp_path / "s.sqlite")
    ours.add("a", ROW[None], ROW, ())
    theirs.add("b", ROW[None], ROW, ())
    theirs.close()  # would wait for ever if `ours` held a transaction open
    assert ours.clip("a", 4) is not None
    assert ours.clip("b", 4) is not None
    ours.close()


def test_a_file_that_stays_locked_is_said_and_does_not_stop_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "BUSY_S", 0.1)
    monkeypatch.setattr(embeddings, "FLUSH_S", 0.0)
    store = Store(tmp_path / "s.sqlite")
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.add("a", ROW[None], ROW, ("odd",))
    assert store.clip("a", 4)[1] == ("odd",)
    with pytest.warns(RuntimeWarning, match="locked"):
        store.close()
    other.execute("ROLLBACK")
    again = Store(tmp_path / "s.sqlite")
    assert again.clip("a", 4) is None


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_spoilt_file_is_one_line(tmp_path, content):
    (tmp_path / "s.sqlite").write_bytes(content)
    with pytest.raises(OutputError, match=r"s\.sqlite.*delete it, or pass --no-cache"):
        Store(tmp_path / "s.sqlite")


@pytest.mark.parametrize(
    "damage", ["clip = x'00'", "clip = NULL", "warnings = 'no json'", "clip = zeroblob(15)"]
)
def test_a_spoilt_row_is_made_again(tmp_path, damage):
    store = Store(tmp_path / "s.sqlite")
    store.add("a", ROW[None], ROW, ())
    store.close()
    with sqlite3.connect(tmp_path / "s.sqlite") as other:
        other.execute(f"UPDATE clips SET {damage}")
    assert Store(tmp_path / "s.sqlite").clip("a", 4) is None
