"""`emoclip describe` on the measures of real faces."""

import csv
import subprocess
import sys

import pytest

pytest.importorskip("torch")


def run(*arguments):
    command = [sys.executable, "-m", "emoclip", "describe", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    return done


def test_a_table_becomes_captions_and_again_the_same(shared, tmp_path):
    import pyarrow.parquet as pq

    table = pq.read_table(shared / "faces" / "fer2013_geometry.parquet").slice(0, 300)
    pq.write_table(table, tmp_path / "measures.parquet")
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    for out in (first, second):
        assert run(tmp_path / "measures.parquet", "--count", 2, "--csv", out).returncode == 0
    assert first.read_bytes() == second.read_bytes()
    rows = list(csv.DictReader(first.open()))
    found = sum(table["found"].to_pylist())
    assert len(rows) == 2 * found
    assert len({row["caption"] for row in rows}) > found
    assert run(tmp_path / "measures.parquet", "--csv", first).returncode == 1


def test_a_table_without_measures_is_refused(tmp_path):
    (tmp_path / "bare.csv").write_text("path,label\na,b\n")
    done = run(tmp_path / "bare.csv")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "bare.csv" in done.stderr
