"""`emoclip describe` on the measures of real faces."""

import csv

import pytest
from commands import emoclip, fails

pytest.importorskip("torch")


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
    assert len(rows) == 2 * found
    assert len({row["caption"] for row in rows}) > found
    fails(emoclip("describe", tmp_path / "measures.parquet", "--csv", first), "--force")


def test_a_table_without_measures_is_refused(tmp_path):
    (tmp_path / "bare.csv").write_text("path,label\na,b\n")
    fails(emoclip("describe", tmp_path / "bare.csv"), r"bare\.csv")
