"""`emoclip agree` as a command: files in, figures and files out, one line for what cannot be."""

import csv
import json
import shutil
import sys
import unicodedata
from pathlib import Path
from unittest.mock import patch

import pytest

from emoclip.cli import main
from emoclip.codings import DASH

ROWS = "0,6.3,crying or sad\n6.3,10,worried or afraid\n10,19.685,smiling or laughing\n"
LABELS = "crying or sad, worried or afraid, smiling or laughing"


def call(*arguments: object) -> int:
    """Run the command and return its exit code."""
    with patch.object(sys, "argv", ["emoclip", *map(str, arguments)]), pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr of the command."""
    code = call(*arguments)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def table(folder: Path, name: str, rows: str, head: str = "onset,offset,label") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text(f"{head}\n{rows}", encoding="utf-8")
    return path


def figures(folder: Path) -> dict:
    return json.loads((folder / "agreement.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def timelines(tmp_path_factory, media: Path) -> Path:
    """Return what `timeline` writes of a real recording with the bundled model."""
    pytest.importorskip("pympi")
    out = tmp_path_factory.mktemp("timelines") / "out"
    video, formats = media / "WolfgangLanger_Pexels.mp4", "csv,eaf,boris,bids"
    assert call("timeline", video, "--labels", LABELS, "--formats", formats, "--out", out) == 0
    return out


@pytest.mark.parametrize("suffix", [".eaf", ".boris.tsv", "_events.tsv", ".csv", ".json"])
def test_what_timeline_writes_agrees_with_the_timeline(capsys, tmp_path: Path, timelines: Path, suffix: str):
    written = timelines / f"WolfgangLanger_Pexels{suffix}"
    code, out, _ = run(capsys, "agree", timelines, written, "--step", "0.01", "-o", tmp_path / "out")
    assert code == 0
    assert figures(tmp_path / "out")["overall"]["kappa"]["value"] == 1
    assert "Cohen's kappa was 1.00" in out


def test_a_timeline_of_a_stretch_agrees_alike_from_every_file(capsys, tmp_path: Path, media: Path):
    pytest.importorskip("pympi")
    video, out = media / "WolfgangLanger_Pexels.mp4", tmp_path / "part"
    options = ("--labels", LABELS, "--formats", "eaf,boris,bids", "--start", 8, "--end", 12)
    assert call("timeline", video, *options, "--out", out) == 0
    phases = table(tmp_path, "phases.csv", ROWS)
    found = []
    for suffix in (".json", ".eaf", ".boris.tsv", "_events.tsv"):
        code, _, _ = run(
            capsys,
            "agree",
            phases,
            out / f"{video.stem}{suffix}",
            "--anyone",
            "--force",
            "-o",
            tmp_path / "a",
        )
        told = figures(tmp_path / "a")
        found.append((code, told["seconds"], told["overall"]["agreement"], told["confusion"]))
        # It begins at 8 s because the reading does.
        assert told["labels"]["worried or afraid"]["onsets"]["events"] == [0, 0]
    assert found[0][:2] == (0, 4.0)
    assert found[1:] == found[:1] * 3


def test_what_a_cut_off_leaves_out_is_not_coded_alike_from_every_file(capsys, tmp_path: Path, media: Path):
    pytest.importorskip("pympi")
    video, out = media / "WolfgangLanger_Pexels.mp4", tmp_path / "part"
    options = ("--labels", LABELS, "--formats", "eaf,boris,bids", "--end", 10, "--max-yaw", 8)
    assert call("timeline", video, *options, "--out", out) == 0
    record = json.loads((out / f"{video.stem}.json").read_text())
    unread_s = sum(end - start for start, end in record["unread"]["track 0"])
    assert unread_s > 1
    phases = table(tmp_path, "phases.csv", ROWS)
    found = []
    for suffix in (".json", ".eaf", ".boris.tsv", "_events.tsv"):
        _, text, err = run(
            capsys, "agree", phases, out / f"{video.stem}{suffix}", "--force", "-o", tmp_path / "a"
        )
        line = f"or {unread_s:.1f} s faces could not be read by model mini, so that these count as not coded"
        assert f"f{line}" in err
        assert f"F{line}" in text
        told = figures(tmp_path / "a")
        found.append((told["seconds"], told["overall"], told["confusion"]))
    assert found[0][0] == pytest.approx(10 - unread_s, abs=0.3)
    assert found[1:] == found[:1] * 3


def test_a_real_recording_agrees_with_the_coding_of_its_three_phases(capsys, tmp_path: Path, timelines: Path):
    phases = table(tmp_path, "phases.csv", ROWS)
    code, _, err = run(capsys, "agree", phases, timelines, "--out", tmp_path / "out")
    assert code == 0
    assert "one video only" in err
    assert figures(tmp_path / "out")["overall"]["kappa"]["value"] >= 0.8


def test_a_timeline_that_somebody_corrected_is_a_coding(capsys, tmp_path: Path, timelines: Path):
    shutil.copytree(timelines, tmp_path / "both")
    code, _, err = run(capsys, "agree", tmp_path / "both")
    assert code == 1
    assert "only model mini coded" in err
    events = tmp_path / "both" / "WolfgangLanger_Pexels_events.tsv"
    lines = events.read_text("utf-8").splitlines()
    events.write_text("\n".join(lines[:-1]) + "\n", "utf-8")
    code, _, _ = run(capsys, "agree", tmp_path / "both", "--out", tmp_path / "out")
    assert code == 0
    assert 0 < figures(tmp_path / "out")["overall"]["kappa"]["value"] < 1


def test_two_folders_of_codings(capsys, tmp_path: Path):
    for number in range(12):
        table(tmp_path / "anna", f"v{number}.csv", f"{number},{number + 5},smile\n20,21,frown\n")
        table(tmp_path / "ben", f"v{number}.csv", f"{number},{number + 4},smile\n20,21,frown\n")
    table(tmp_path / "ben", "broken.csv", "3,1,smile\n")
    code, out, err = run(
        capsys, "agree", tmp_path / "anna", tmp_path / "ben", "--end", 30, "-o", tmp_path / "out"
    )
    assert code == 1  # one file was bad; the rest is done
    assert "broken.csv" in err
    found = figures(tmp_path / "out")
    assert (found["raters"], found["groups"], found["resampled"]) == (["anna", "ben"], 12, "videos")
    assert found["labels"]["smile"]["seconds"]["bland_altman"]["mean"] == pytest.approx(-1)
    assert found["overall"]["kappa"]["ci95"] is not None
    assert "ICC(2,1)" in out
    with open(tmp_path / "out" / "disagreements.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert {(row["anna"], row["ben"]) for row in rows} == {("smile", "(no label)")}


def test_names_and_labels_in_both_forms_of_unicode_are_the_same(capsys, tmp_path: Path):
    for form, coder in (("NFC", "anna"), ("NFD", "ben")):
        for at in range(2):
            name, rows = f"café {at}.csv", f"{at},3,gêne\n4,5,joie\n"
            table(tmp_path / coder, unicodedata.normalize(form, name), unicodedata.normalize(form, rows))
    who = table(tmp_path, "who.csv", unicodedata.normalize("NFD", "café 0.mp4,Zoé\n"), "video,subject")
    asked = ["--subjects", who, "--labels", unicodedata.normalize("NFD", "gêne"), "-o", tmp_path / "out"]
    code, _, err = run(capsys, "agree", tmp_path / "anna", tmp_path / "ben", "--end", 10, *asked)
    assert (code, "left out" in err) == (0, False)
    found = figures(tmp_path / "out")
    assert (list(found["labels"]), found["overall"]["kappa"]["value"]) == (["gêne"], 1)
    same = unicodedata.normalize("NFD", "gêne=joie")
    assert run(capsys, "agree", tmp_path / "anna", tmp_path / "ben", "--same", same)[0] == 0


def test_two_coders_in_one_file(capsys, tmp_path: Path):
    rows = "v.mp4,a,0,5,[b]smile\nv.mp4,b,0,4,[b]smile\n"
    both = table(tmp_path, "both.csv", rows, "video,coder,onset,offset,label")
    code, out, _ = run(capsys, "agree", both, "--end", 10)
    assert code == 0
    assert "a and b" in out
    assert " [b]smile " in out
    assert " over all " in out


def test_a_file_that_is_compared_with_itself_is_told(capsys, tmp_path: Path):
    file = table(tmp_path, "v.csv", ROWS)
    code, _, err = run(capsys, "agree", file, file)
    assert code == 0
    assert f"{file}: compared with itself" in err
    assert "compared with" not in run(capsys, "agree", file, table(tmp_path / "ben", "v.csv", ROWS))[2]


def test_options_that_nothing_read_takes_are_one_line(capsys, tmp_path: Path):
    tables = [table(tmp_path / coder, "v.csv", ROWS) for coder in ("anna", "ben")]
    code, out, err = run(capsys, "agree", *tables, "--tier", "Smile")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "--tier Smile: no ELAN file was read, and nothing else has tiers; leave it out" in err
    frames = [table(tmp_path / coder, "f.csv", "0,50,sad\n60,90,glad\n") for coder in ("anna", "ben")]
    assert run(capsys, "agree", *frames, "--fps", 25)[0] == 0


def test_a_tier_that_no_file_has_is_one_line(capsys, tmp_path: Path):
    pympi = pytest.importorskip("pympi")
    for coder, tier in (("anna", "Smile"), ("ben", "Face 1")):
        table(tmp_path / coder, "v1.csv", "1,2,smile\n")
        document = pympi.Eaf()
        document.remove_tier("default")
        document.add_tier(tier)
        document.add_annotation(tier, 1000, 2000, "smile")
        document.to_file(tmp_path / coder / "v0.eaf")
    folders = (tmp_path / "anna", tmp_path / "ben")
    assert run(capsys, "agree", *folders, "--tier", "Smile", "--tier", "face*")[0] == 0
    for tiers in (["Nope"], ["Smile", "Face*", "Nope"]):
        code, out, err = run(
            capsys, "agree", *folders, *(part for tier in tiers for part in ("--tier", tier))
        )
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "--tier Nope: no file has a tier of that name; there are Face 1, Smile" in err


def test_a_coding_without_a_mark_is_named(capsys, tmp_path: Path):
    anna, ben = table(tmp_path / "anna", "v.csv", ROWS), table(tmp_path / "ben", "v.csv", "")
    code, _, err = run(capsys, "agree", anna, ben, "--end", 10)
    assert code == 0
    assert f"{ben}: no mark in it; was it coded to the end?" in err
    assert f"{anna}: no mark" not in err


def test_a_dash_is_explained_in_the_terminal_and_on_the_page(capsys, tmp_path: Path):
    anna, ben = (table(tmp_path / coder, "v.csv", ROWS) for coder in ("anna", "ben"))
    code, out, _ = run(capsys, "agree", anna, ben, "--out", tmp_path / "out")  # one video has no ICC
    assert code == 0
    assert " ".join(out.split()).count(" ".join(DASH.split())) == 1
    assert DASH in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_subjects_come_from_a_table(capsys, tmp_path: Path):
    for coder in ("a", "b"):
        for number in range(4):
            table(tmp_path / coder, f"v{number}.csv", "1,2,smile\n")
    who = table(tmp_path, "who.csv", "".join(f"v{n}.mp4,s{n % 2}\n" for n in range(4)), "video,subject")
    options = ("agree", tmp_path / "a", tmp_path / "b", "--end", 9)
    assert run(capsys, *options, "--subjects", who, "-o", tmp_path / "out")[0] == 0
    assert (figures(tmp_path / "out")["groups"], figures(tmp_path / "out")["resampled"]) == (2, "subjects")
    code, _, err = run(capsys, *options, "--subjects", tmp_path / "a" / "v0.csv")
    assert (code, err.count("\n")) == (1, 1)
    assert "columns video and subject" in err


def test_subjects_and_videos_without_each_other_are_told(capsys, tmp_path: Path):
    for coder in ("a", "b"):
        for number in range(3):
            table(tmp_path / coder, f"v{number}.csv", "1,2,smile\n")
    folders = (tmp_path / "a", tmp_path / "b")
    some = table(tmp_path, "some.csv", "x/v0.mp4,s0\nv1.mp4,s0\nv7.mp4,s1\n", "video,subject")
    code, _, err = run(capsys, "agree", *folders, "--end", 9, "--subjects", some, "-o", tmp_path / "out")
    assert code == 0
    assert figures(tmp_path / "out")["groups"] == 2  # s0, and v2 for itself
    assert "v2: no subject in the table of subjects" in err
    assert "v7: in the table of subjects, but not among the videos" in err
    none = table(tmp_path, "none.csv", "v7.mp4,s1\n", "video,subject")
    code, _, err = run(capsys, "agree", *folders, "--end", 9, "--subjects", none)
    assert (code, err.count("\n")) == (1, 1)
    assert "no subject is of a video given (subjects of v7; v0, v1, v2)" in err
    empty = table(tmp_path, "empty.csv", "v0.mp4,\n", "video,subject")
    assert "names no subject" in run(capsys, "agree", *folders, "--subjects", empty)[2]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("v0,p1\nv1,p2\nv0.mp4,p2\n", "who.csv:4: gives v0 the subject p2, who.csv:2 p1; a video has one"),
        ("mon/v0,p1\ntue/v0,p2\n", "mon/v0, tue/v0: rows of the table of subjects that are all of v0"),
        ("v0,p1\n,p2\n", "who.csv:3: has a subject and no video"),
        ("v0,NA\nv1,-\n", "who.csv: names no subject"),
    ],
)
def test_a_table_of_subjects_that_contradicts_itself_is_one_line(
    capsys, tmp_path: Path, monkeypatch, rows: str, told: str
):
    monkeypatch.chdir(tmp_path)
    for coder in ("a", "b"):
        for number in range(2):
            table(Path(coder), f"v{number}.csv", "1,2,smile\n")
    table(Path(), "who.csv", rows, "video,subject")
    code, out, err = run(capsys, "agree", "a", "b", "--end", 9, "--subjects", "who.csv", "-o", "out")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert told in err
    assert not Path("out").exists()


def test_a_missing_subject_is_nobody_and_a_row_may_be_there_twice(capsys, tmp_path: Path):
    for coder in ("a", "b"):
        for number in range(4):
            table(tmp_path / coder, f"v{number}.csv", "1,2,smile\n")
    rows = "v0,p\u00a01\nC:\\films\\v1.mp4,p 1\nv0.mp4,p 1\nx/v0,NA\nv2,NA\nv3,n/a\n"
    who = table(tmp_path, "who.csv", rows, "video,subject")
    folders = (tmp_path / "a", tmp_path / "b")
    code, _, err = run(capsys, "agree", *folders, "--end", 9, "--subjects", who, "-o", tmp_path / "out")
    assert code == 0
    assert "v2, v3: no subject in the table of subjects" in err
    assert "not among the videos" not in err
    assert figures(tmp_path / "out")["groups"] == 3  # p 1, and v2 and v3 each for itself


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["absent.csv"], "absent.csv: no such file or folder"),
        (["anna.csv"], "only anna coded anna.csv"),
        (["anna.csv", "case.csv"], "nearest is 'Smile'"),
        (["anna.csv", "case.csv", "--same", "Smile"], "write it as OTHER=LABEL"),
        (["anna.csv", "anna.csv", "--same", "nosuch=smile"], "label 'nosuch' was not marked by anybody"),
        (["anna.csv", "anna.csv", "--labels", "smyle"], "did you mean 'smile'"),
        (["anna.csv", "anna.csv", "--start", "5", "--end", "5"], "must be after --start"),
        (["anna.csv", "ben.csv", "--start", "9"], "has no coded time there; check --start and --end"),
        (["anna.csv", "anna.csv", "--tier", "x", "--out", "there"], "exists already; pass --force"),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path: Path, monkeypatch, options: list, told: str):
    monkeypatch.chdir(tmp_path)
    table(Path(), "anna.csv", "1,2,smile\n3,4,smile\n")
    table(Path(), "ben.csv", "1,2,smile\n3,4,smile\n")
    table(Path(), "case.csv", "1,2,Smile\n3,4,Smile\n")
    Path("there").mkdir()
    code, out, err = run(capsys, "agree", *options)
    assert code == (2 if "must be" in told or "write it" in told else 1)
    assert not out
    assert told in err
    assert err.count("\n") == 1


def test_labels_that_are_one_may_be_called_the_same(capsys, tmp_path: Path):
    one = table(tmp_path, "anna.csv", "1,2,smile\n3,4,frown\n")
    two = table(tmp_path, "ben.csv", "1,2,Smile\n3,4,frown\n")
    code, out, _ = run(capsys, "agree", one, two, "--same", "Smile=smile", "--end", 9)
    assert code == 0
    assert "kappa was 1.00" in out


def test_files_of_one_name_in_several_folders_are_of_several_videos(capsys, tmp_path: Path):
    """Outputs mirror their inputs' folders: two cameras call their first recording the same."""
    for coder, onset in (("anna", 1), ("ben", 2)):
        table(tmp_path / coder / "monday", "talk.csv", f"{onset},4,smile\n")
        table(tmp_path / coder / "tuesday", "talk.csv", f"{onset + 4},8,smile\n")
    code, _, told = run(
        capsys, "agree", tmp_path / "anna", tmp_path / "ben", "--end", 10, "--out", tmp_path / "out"
    )
    assert code == 0, told
    assert figures(tmp_path / "out")["videos"] == ["monday/talk", "tuesday/talk"]
    who = table(tmp_path, "who.csv", "monday/talk.mp4,s0\ntuesday/talk.mp4,s1\n", "video,subject")
    again = ("agree", tmp_path / "anna", tmp_path / "ben", "--end", 10, "--out", tmp_path / "out", "--force")
    assert run(capsys, *again, "--subjects", who)[0] == 0
    assert (figures(tmp_path / "out")["groups"], figures(tmp_path / "out")["resampled"]) == (2, "subjects")


@pytest.mark.parametrize("order", [("anna", "ben"), ("ben", "anna")])
def test_a_coder_of_one_of_them_is_compared_on_that_one(capsys, tmp_path: Path, order: tuple[str, str]):
    for coder, day in (("anna", "monday"), ("anna", "tuesday"), ("ben", "tuesday")):
        table(tmp_path / coder / day, "talk.csv", "1,4,smile\n")
    code, _, told = run(
        capsys, "agree", *(tmp_path / coder for coder in order), "--end", 10, "--out", tmp_path / "out"
    )
    assert code == 0, told
    assert "monday/talk: coded by anna, but not by all; left out" in told
    assert figures(tmp_path / "out")["videos"] == ["tuesday/talk"]


def test_a_column_of_videos_tells_those_of_one_name_apart_by_their_folders(capsys, tmp_path: Path):
    head = "video,onset,offset,label"
    rows = "mon/talk.mp4,1,4,smile\ntue/talk.mp4,5,8,smile\n"
    anna = table(tmp_path, "anna.csv", rows, head)
    out = ("--end", 10, "--out", tmp_path / "out", "--force")
    ben = table(tmp_path, "ben.csv", rows.replace("mon/", "C:\\films\\mon\\"), head)
    cleo = tmp_path / "cleo"
    for day in ("mon", "tue"):
        table(cleo / day, "talk.csv", "1,4,smile\n")
        table(tmp_path / "dora", f"{day}.csv", f"{day}/talk.mp4,1,4,smile\n", head)
    for other in (ben, cleo, tmp_path / "dora"):
        code, _, told = run(capsys, "agree", anna, other, *out)
        assert code == 0, told
        assert figures(tmp_path / "out")["videos"] == ["mon/talk", "tue/talk"]
    tuesday = table(tmp_path, "tuesday.csv", "tue/talk.mp4,5,8,smile\n", head)
    assert run(capsys, "agree", anna, tuesday, *out)[0] == 0
    assert figures(tmp_path / "out")["videos"] == ["tue/talk"]
    assert figures(tmp_path / "out")["overall"]["agreement"]["value"] == 1


def test_coders_may_keep_the_same_video_in_folders_of_their_own(capsys, tmp_path: Path):
    rows = "C:/anna/v.mp4,1,4,smile,anna\nD:/ben/v.mp4,2,4,smile,ben\n"
    both = table(tmp_path, "both.csv", rows, "video,onset,offset,label,coder")
    code, _, told = run(capsys, "agree", both, "--out", tmp_path / "out")
    assert code == 0, told
    assert figures(tmp_path / "out")["videos"] == ["v"]
    assert "v: taken for the same in C:/anna and in D:/ben; if they are not" in told.replace("\n", " ")


def test_videos_of_one_name_in_one_folder_are_no_doubt(capsys, tmp_path: Path):
    rows = "C:/films/v.mp4,1,4,smile,anna\nfilms/v.mp4,2,4,smile,ben\n"
    both = table(tmp_path, "both.csv", rows, "video,onset,offset,label,coder")
    code, _, told = run(capsys, "agree", both)
    assert code == 0, told
    assert "taken for the same" not in told


def test_a_lag_too_small_to_show_has_no_sign_of_its_own(capsys, tmp_path: Path):
    anna, ben = (table(tmp_path, f"{at}.csv", f"{at},4,sad\n4,6,calm\n") for at in (2, 1.999))
    code, out, _ = run(capsys, "agree", anna, ben)
    assert code == 0
    assert "+0.00 s" in out
    assert "-0.00" not in out
