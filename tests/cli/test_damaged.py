"""`emoclip evaluate` over a set of which some files are damaged: they are counted and named, the rest is scored."""

import io
import json
import sys

import pytest
import trees
from packages import tiny_package
from PIL import Image, features

from emoclip import cli


def without_its_end(path):
    """Half of a file: an index at the end is lost with it, and what it says of the length is wrong."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_decoder(path):
    """A stream of a kind that nobody can decode."""
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz9"))


def not_a_video(path):
    path.write_text("a text\n" * 100)


def broken_avif(path):
    kept = io.BytesIO()
    Image.fromarray(trees.picture(0, 64)).save(kept, "AVIF")
    path.write_bytes(kept.getvalue()[: len(kept.getvalue()) // 2])


DAMAGED = {
    "cut.mov": without_its_end,
    "text.mp4": not_a_video,
    "nobody.mp4": no_decoder,
    "broken.avif": broken_avif,
    "empty.mkv": lambda path: path.write_bytes(b""),
    "header.mkv": lambda path: path.write_bytes(path.read_bytes()[:60]),
}


@pytest.fixture
def damaged(tmp_path):
    """A manifest of four good clips with six damaged ones and one that is not there between them, and a cut mkv,
    of which half can be read."""
    if not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    rows = ["path,label,split"]
    for at, (name, damage) in enumerate([*DAMAGED.items(), ("half.mkv", without_its_end)]):
        if not name.endswith("avif"):
            trees.video(tmp_path / name, 40, seed=at, codec="libx264")
        damage(tmp_path / name)
        rows.append(f"{name},calm,test")
    rows.insert(4, "gone.mp4,calm,test")
    for at in range(4):
        trees.video(tmp_path / f"good{at}.mp4", seed=20 + at)
        rows.insert(1 + 2 * at, f"good{at}.mp4,{'calm' if at % 2 else 'joyful'},test")
    (tmp_path / "set.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_damaged_files_are_named_and_the_rest_is_scored(damaged, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path / "cache"))
    model = tiny_package(tmp_path / "model")
    arguments = [
        "evaluate",
        "manifest",
        "--root",
        damaged / "set.csv",
        "--model",
        model,
        "--out",
        tmp_path / "out",
    ]
    monkeypatch.setattr(sys, "argv", ["emoclip", *map(str, arguments), "--no-pictures"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    shown = capsys.readouterr()
    assert (stopped.value.code or 0) == 0, shown.err  # as docs/commands.md says
    assert "Traceback" not in shown.err
    assert "7 of 12 clips could not be read" in shown.err
    assert "incomplete, 7 of 12 clips could not be read" in shown.out
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    missing = {row["path"]: row["reason"] for row in found["missing"]}
    assert set(missing) == {*DAMAGED, "gone.mp4"}
    assert all("\n" not in reason for reason in missing.values())
    assert found["n"] == 5
