"""`emoclip describe` on the measures of real faces."""

import csv

import pytest
import trees
from commands import emoclip, fails

pytest.importorskip("torch")

from emoclip.training.mini.faces import MEASURES


def test_a_table_becomes_captions_and_again_the_same(shared, tmp_path):
    import pyarrow.parquet as pq

    table = pq.read_table(shared / "faces" / "fer2013_geometry.parquet").slice(0, 300)
    pq.write_table(table, tmp_path / "measures.parquet")
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    for out in (first, second):
        assert emoclip("describe", tmp_path / "measures.parquet", "--count", 2, "--csv", out).returncode == 0
    assert first.read_bytes() == second.read_bytes()
    rows = list(csv.DictReader(first.open()))
    found = sum(table["found"].to_pylist())
    assert len({row["path"] for row in rows}) == found
    assert 1.9 * found < len(rows) <= 2 * found  # two phrasings of a face may be one
    assert len({row["caption"] for row in rows}) > found
    fails(emoclip("describe", tmp_path / "measures.parquet", "--csv", first), "--force")


def test_a_table_without_measures_is_refused(tmp_path):
    (tmp_path / "bare.csv").write_text("path,label\na,b\n")
    fails(emoclip("describe", tmp_path / "bare.csv"), r"bare\.csv")


def test_what_it_writes_can_be_checked_and_trained_on(shared, tmp_path):
    import pyarrow.parquet as pq

    from emoclip.training.recipe import load_recipe
    from emoclip.training.samples import choose_samples

    table = pq.read_table(shared / "faces" / "fer2013_geometry.parquet").slice(0, 40)
    pq.write_table(table, tmp_path / "measures.parquet")
    out = tmp_path / "captions.csv"
    assert emoclip("describe", tmp_path / "measures.parquet", "--count", 3, "--csv", out).returncode == 0
    rows = list(csv.DictReader(out.open()))
    for row in rows:
        trees.frame_folder(tmp_path / row["path"], 1)
    assert emoclip("data", "check", "manifest", "--root", out).returncode == 0
    samples = choose_samples(load_recipe("own", ["data.text=captions", "selection.select=last"]), out)
    assert {(s.clip.id, caption) for s in samples.train for caption in s.captions} == {
        (row["path"], row["caption"]) for row in rows
    }
    assert max(len(s.captions) for s in samples.train) == 3
    fails(emoclip("evaluate", "manifest", "--root", out, "--out", tmp_path / "e"), "has no labels to score")


def measured(path, *names, value="0.3"):
    rows = "".join(f"{name},{','.join([value] * len(MEASURES))}\n" for name in names)
    path.write_text(f"path,{','.join(MEASURES)}\n{rows}")
    return path


def test_paths_are_those_of_the_manifest(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    table, out = measured(tmp_path / "m.csv", "./a.png", tmp_path / "b.png"), tmp_path / "c.csv"
    assert emoclip("describe", table, "--csv", out, cwd="/").returncode == 0
    assert [row["path"] for row in csv.DictReader(out.open())] == ["a.png", "b.png"]
    for away in (tmp_path / "m.csv", measured(tmp_path / "n.csv", "../a.png")):
        told = emoclip("describe", away, "--csv", tmp_path / "elsewhere" / "c.csv")
        fails(told, r"must lie in or above the folder of the clips|leaves the manifest's folder")
    picture = tmp_path / "x.png"
    picture.touch()
    told = emoclip("describe", picture, "--csv", tmp_path / "elsewhere" / "c.csv")
    fails(told, r"must lie in or above the folder of the clips; .*x\.png is elsewhere")


def test_a_path_that_is_there_twice_is_told_with_both_places(tmp_path):
    first, second = measured(tmp_path / "m.csv", "a.png", "b.png"), measured(tmp_path / "n.csv", "b.png")
    fails(emoclip("describe", first, second), r"n\.csv:2: b\.png is there twice, first in .*m\.csv:3")


def test_measures_that_are_not_finite_are_told_as_that(tmp_path):
    told = emoclip("describe", measured(tmp_path / "m.csv", "a.png", value="inf"))
    assert told.returncode == 0
    assert "1 of 1 face without a description: a measure is missing or not finite" in told.stderr


def test_a_table_that_is_named_twice_is_read_once(tmp_path):
    measured(tmp_path / "m.csv", "a.png")
    out = tmp_path / "captions.csv"
    table = tmp_path / "m.csv"
    assert emoclip("describe", table, tmp_path / "." / "m.csv", "--csv", out).returncode == 0
    assert len(list(csv.DictReader(out.open()))) == 1


def test_a_path_that_no_manifest_can_hold_is_told(tmp_path):
    measured(tmp_path / "m.csv", '"new\nline.png"')
    fails(
        emoclip("describe", tmp_path / "m.csv", "--csv", tmp_path / "c.csv"),
        r"m\.csv:2: its path has a line break",
    )
    assert not (tmp_path / "c.csv").exists()
