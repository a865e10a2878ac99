"""Tables of people: whatever separates, however saved; what is broken is told with its line, in one line."""

import csv
import random
from pathlib import Path

import pytest

from emoclip.errors import InputError
from emoclip.tables import number, read_cells, read_rows, spelt_alike

TEXT = 'path,label,caption\na.mp4,fröhlich,"smiles; laughs, then\nrests"\nb.mp4,sad,\n'


def written(tmp_path: Path, text: str, encoding="utf-8") -> Path:
    path = tmp_path / "m.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", "\n,,\n"])
def test_a_table_reads_the_same_however_it_was_saved(tmp_path, encoding, end):
    text = 'path,label\n"a, b.mp4", fröhlich\nc.mp4'.replace("\n", end)
    rows = [row for _, row in read_rows(written(tmp_path, text, encoding), ("path", "label"))]
    assert rows == [{"path": "a, b.mp4", "label": "fröhlich"}, {"path": "c.mp4", "label": ""}]


@pytest.mark.parametrize("mark", ",;\t")
def test_what_python_writes_is_read_whatever_separates_and_each_row_knows_its_line(tmp_path, mark):
    draw = random.Random(3)
    table = [["path", "label", "caption"]]
    table += [[f"{at}.mp4", "x", "".join(draw.choices("ab,;\t\"'\n é", k=9)) + "z"] for at in range(50)]
    path = tmp_path / "m.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=mark, lineterminator="\n", quoting=csv.QUOTE_ALL)
        starts = []
        for row in table:
            file.flush()
            starts.append(path.read_bytes().count(b"\n") + 1)
            writer.writerow(row)
    found = read_cells(path)
    assert [cells for _, cells in found] == [[cell.strip() for cell in row] for row in table]
    assert [line for line, _ in found] == starts


def test_decimal_commas_are_numbers_where_semicolons_separate(tmp_path):
    assert read_cells(written(tmp_path, "a;b\n1,5;x, y\n,5;z\n"))[1:] == [
        (2, ["1.5", "x, y"]),
        (3, [".5", "z"]),
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("line", "mark"), [("sep=;\r\n", ";"), ("SEP=,\n", ","), ("sep=\t\n", "\t"), ("sep=|\n", "|")]
)
def test_the_first_line_of_excel_says_what_separates_and_lines_keep_their_numbers(
    tmp_path, line, mark, encoding
):
    rows = mark.join(["path", "a; b, c"]) if mark == "\t" else mark.join(["path", '"a; b, c"'])
    path = written(tmp_path, f"{line}{rows}\n{mark.join('xy')}\n", encoding)
    assert read_cells(path) == [(2, ["path", "a; b, c"]), (3, ["x", "y"])]
    assert read_rows(path, ("path",)) == [(f"{path}:3", {"path": "x", "a; b, c": "y"})]


def test_a_line_of_excel_alone_is_an_empty_table(tmp_path):
    assert read_cells(written(tmp_path, "sep=;")) == []
    with pytest.raises(InputError, match="has no column path, only an empty line"):
        read_rows(written(tmp_path, "sep=;\n"), ("path",))


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        (TEXT, "latin-1", r"m.csv:2: is not text in UTF-8; save it as CSV in UTF-8"),
        ("path,label\n", "utf-16-le", r"m.csv:1: is not a text file"),
        ("path,label\na\0b,sad\n", "utf-8", r"m.csv:2: is not a text file"),
        ('path,label\na,sad\n"b,sad\nc,sad\n', "utf-8", r"m.csv:3: a quote that opens here is not closed"),
        (f"path,label\na,{'x' * 200_000}\n", "utf-8", r"m.csv:2: a field has more than 131,072 characters"),
        ("path,label,label\na,x,y\n", "utf-8", r"the column label is there twice"),
        ("path,label\na,x,y\n", "utf-8", r"m.csv: line 2 has 3 cells, the header 2; a decimal comma"),
        ("file;label\na;x\n", "utf-8", r"has no column path, only file, label; say path,label$"),
        ("", "utf-8", r"has no column path and label, only an empty line"),
    ],
)
def test_what_is_broken_is_told_in_one_line_that_names_it(tmp_path, text, encoding, told):
    with pytest.raises(InputError, match=told) as error:
        read_rows(written(tmp_path, text, encoding), ("path", "label"), "say path,label")
    assert len(str(error.value).splitlines()) == 1


def test_columns_are_found_in_any_case_unless_two_differ_in_it_alone(tmp_path):
    asked = {"needed": ("path", "label"), "known": ("fold",)}
    [(_, row)] = read_rows(written(tmp_path, "Path,LABEL,Fold,Extra\na,b,1,x\n"), **asked)
    assert row == {"path": "a", "label": "b", "fold": "1", "Extra": "x"}
    [(_, row)] = read_rows(written(tmp_path, "path,label,Label\na,b,c\n"), **asked)
    assert (row["label"], row["Label"]) == ("b", "c")
    with pytest.raises(InputError, match="has no column label"):
        read_rows(written(tmp_path, "path,LABEL,Label\na,b,c\n"), **asked)


def test_a_table_without_rows_and_one_of_nothing(tmp_path):
    assert read_rows(written(tmp_path, "a,b\n")) == read_rows(written(tmp_path, "")) == []


def test_a_number_is_what_people_mean_by_one():
    assert [number(cell) for cell in ("1.5", " -2", "\u22122", "+.5e1", "3.")] == [1.5, -2, -2, 5, 3]
    assert [number(cell) for cell in ("1_0", "1,5", "nan", "inf", "1e999", "", "0x1")] == [None] * 7


def test_names_that_may_mean_the_same_are_found():
    names = ["S01", "s02", "s01", "3", "03", "3.0", "S01", "12345678901234567890", "12345678901234567891"]
    assert spelt_alike(names) == [["S01", "s01"], ["3", "03", "3.0"]]
