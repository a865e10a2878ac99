import csv

import numpy as np
import pytest

pytest.importorskip("torch")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from emoclip.errors import InputError  # noqa: E402
from emoclip.training.mesh import describe_table, measures_of  # noqa: E402
from emoclip.training.mini.faces import MEASURES, read_faces  # noqa: E402


def test_measures_agree_with_those_measured_on_real_faces(shared):
    geometry = shared / "faces" / "fer2013_geometry.parquet"
    numbers = [int(n) for n in pq.read_schema(geometry).metadata[b"keypoints"].split(b",")]
    faces = read_faces(shared / "faces", "val")
    rows = np.nonzero(np.isfinite(faces.measures).all(1))[0][:300]
    mine = np.stack([measures_of(faces.points[row], numbers) for row in rows])
    # The points are stored rounded to about a hundredth of a pixel.
    difference = np.abs(mine - faces.measures[rows])
    assert np.median(difference, axis=0) == pytest.approx(np.zeros(len(MEASURES)), abs=0.02)
    spread = faces.measures[rows].std(0)
    assert (np.median(difference, axis=0) < 0.02 * spread).all()


def test_measures_do_not_change_with_place_size_and_tilt_of_the_picture():
    random = np.random.default_rng(0)
    points = random.normal(size=(478, 2)) * 20
    points[33], points[263] = (-30, 0), (30, 0)
    turn = np.radians(15)
    turned = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) * 1.7 + (40, 90)
    before, after = measures_of(points), measures_of(turned)
    roll = MEASURES.index("head_roll_deg")
    assert after[roll] == pytest.approx(15, abs=1e-3)
    assert np.delete(after, roll) == pytest.approx(np.delete(before, roll), abs=1e-4)


def test_a_table_is_described_row_by_row_and_gaps_give_nothing(tmp_path):
    table = tmp_path / "faces.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *MEASURES])
        writer.writerow(["a.png", *[0.3] * len(MEASURES)])
        writer.writerow(["b.png", "", *[0.3] * (len(MEASURES) - 1)])
    first, second = describe_table(table, count=2)
    assert first[:2] == (f"{table}:2", "a.png")
    assert len(first[2]) == 2
    assert second == (f"{table}:3", "b.png", [])


def test_columns_are_found_in_any_case_in_either_kind_of_table(tmp_path):
    names = ["Path", *(name.title() for name in MEASURES)]
    row = ["a.png", *[0.3] * len(MEASURES)]
    pq.write_table(
        pa.table({name: [value] for name, value in zip(names, row, strict=True)}), tmp_path / "f.parquet"
    )
    (tmp_path / "f.csv").write_text("\n".join(",".join(map(str, line)) for line in (names, row)))
    assert describe_table(tmp_path / "f.parquet")[0][1:] == describe_table(tmp_path / "f.csv")[0][1:]


def test_the_order_of_faces_changes_no_phrasing(tmp_path):
    table, rows = tmp_path / "faces.csv", [[f"{at}.png", *[0.3] * len(MEASURES)] for at in range(6)]
    found = []
    for order in (rows, rows[::-1], rows[2:3]):
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([["path", *MEASURES], *order])
        found.append({name: texts for _, name, texts in describe_table(table, count=3)})
    assert found[0] == found[1]
    assert found[2].items() <= found[0].items()
    assert len({tuple(texts) for texts in found[0].values()}) > 1


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("b.png", "n/a", r"faces\.csv:3: its mouth_open is 'n/a', no number; leave"),
        (" ", "0.3", r"faces\.csv:3: has no path"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, name, value, told):
    table = tmp_path / "faces.csv"
    rest = ",".join(["0.3"] * (len(MEASURES) - 1))
    table.write_text(f"path,{','.join(MEASURES)}\na.png,0.3,{rest}\n{name},{value},{rest}\n")
    with pytest.raises(InputError, match=told):
        describe_table(table)


def test_what_is_infinite_says_nothing_of_the_others(tmp_path):
    table, odd = tmp_path / "faces.csv", "1e999"
    random = np.random.default_rng(0)
    rows = [f"{n}.png,{','.join(map(str, random.normal(size=len(MEASURES))))}" for n in range(250)]
    infinite = [f"i{n}.png,{','.join([odd] * len(MEASURES))}" for n in range(100)]
    header = f"path,{','.join(MEASURES)}"
    table.write_text("\n".join([header, *rows]))
    alone = describe_table(table)
    table.write_text("\n".join([header, *rows, *infinite]))
    together = describe_table(table)
    assert together[:250] == alone
    assert not any(texts for *_, texts in together[250:])


def test_a_table_without_a_measure_names_it(tmp_path):
    table = tmp_path / "faces.csv"
    table.write_text("path,mouth_open\na.png,0.1\n")
    with pytest.raises(InputError, match="mouth_width"):
        describe_table(table)
