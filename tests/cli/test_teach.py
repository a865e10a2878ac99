"""`emoclip teach` as a command: recordings and codings in, a label set that other commands take out."""

import csv
import json
import shutil
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from films import films
from packages import tiny_package

from emoclip.cli import main
from emoclip.engine import EmoCLIP
from emoclip.faces import yunet
from emoclip.files import sha256
from emoclip.recording import Recording


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Return a folder with a model, recordings/v0.npz ... v5.npz and codings/v0.csv ..."""
    folder = tmp_path_factory.mktemp("study")
    model = EmoCLIP.load(str(tiny_package(folder / "model")))
    for name in ("recordings", "codings"):
        (folder / name).mkdir()
    for recording, coding in zip(*films(model), strict=True):
        recording.write(folder / "recordings" / f"{coding.video}.npz")
        with open(folder / "codings" / f"{coding.video}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("onset", "offset", "label", "coder")])
            csv.writer(file).writerows([(m.onset_s, m.offset_s, m.label, coding.coder) for m in coding.marks])
    return folder


def run(capsys, study: Path, *arguments: object) -> tuple[int, str, str]:
    given = ["emoclip", *map(str, arguments), "--model", str(study / "model")]
    with patch.object(sys, "argv", given), pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    return int(stopped.value.code or 0), shown.out, shown.err


def recordings(study: Path) -> list[Path]:
    return sorted((study / "recordings").glob("*.npz"))


def test_labels_are_taught_and_taken_by_other_commands(capsys, study: Path, tmp_path: Path, media: Path):
    labels = tmp_path / "smirk.labels"
    code, out, _ = run(capsys, study, "teach", *recordings(study), "-c", study / "codings", "-o", labels)
    assert code == 0
    assert "kappa with the coders" in out
    assert "ten more minutes" in out.lower()
    assert labels.exists()
    card = (tmp_path / "smirk.card.md").read_text("utf-8")
    assert "| taught | the words alone | chance |" in card

    code, _, err = run(capsys, study, "teach", *recordings(study), "-c", study / "codings", "-o", labels)
    assert (code, err.count("\n")) == (1, 1)
    assert "exists already; pass --force" in err

    code, out, err = run(capsys, study, "prompts", "show", labels)
    assert (code, err.count("\n")) == (0, 1)
    assert "smirk:" in out
    assert "smirk.labels: was taught from codings, in windows of 2 s; what was learnt is read in place" in err

    again = tmp_path / "again.labels"
    assert run(capsys, study, "teach", *recordings(study), "-c", study / "codings", "-o", again)[0] == 0
    assert again.read_bytes() == labels.read_bytes()

    code, _, _ = run(
        capsys, study, "timeline", recordings(study)[0], "-l", labels, "-o", tmp_path / "t", "-f", "csv"
    )
    assert code == 0
    code, out, _ = run_agree(capsys, study / "codings" / "v0.csv", tmp_path / "t")
    assert code == 0
    written = json.loads((tmp_path / "t" / "v0.json").read_text("utf-8"))
    assert set(written["labels"]) == {"smirk", "wink", "none of these"}
    assert written["settings"]["windows"]["length_s"] == json.loads(labels.read_text("utf-8"))["window_s"]
    assert "kappa" in out

    two = {
        "timeline": recordings(study)[:2],
        "predict": [media / "single_face.jpg", media / "single_face.mp4"],
    }
    for command, inputs in two.items():
        for excluded in (["--scores"], ["--baseline", "auto"]):
            code, _, err = run(capsys, study, command, *inputs, "--labels", labels, *excluded)
            assert (code, err.count("labels that were taught have probabilities alone")) == (2, 1)

    code, out, _ = run(capsys, study, "predict", media / "single_face.jpg", "--labels", labels, "--json", "-")
    assert code == 0
    record = json.loads(out)
    assert set(record["labels"]) == {"smirk", "wink", "none of these"}
    assert (record["taught"]["name"], record["taught"]["sha256"]) == ("smirk", sha256(labels))
    assert set(record["taught"]["codings"]) == {sha256(file) for file in (study / "codings").iterdir()}


def test_a_model_is_told_to_have_learnt_from_what_it_is_compared_with(capsys, study: Path, tmp_path: Path):
    pytest.importorskip("pympi")
    for name in ("seen", "dana"):
        (tmp_path / name).mkdir()
    films = []
    for at, file in enumerate(recordings(study)):
        recording = Recording.read(file)
        recording.key = replace(recording.key, input=f"{at}" * 64)
        films.append(tmp_path / "seen" / file.name)
        recording.write(films[-1])

    for at in range(6):
        text = (study / "codings" / f"v{at}.csv").read_text("utf-8").replace("anna", "dana")
        (tmp_path / "dana" / f"v{at}.csv").write_text(text, "utf-8")
    labels, given = tmp_path / "g.labels", ("--codings", study / "codings", "--out", tmp_path / "g.labels")
    assert run(capsys, study, "teach", *films[:4], *given)[0] == 0
    timeline = ("timeline", *films, "-l", labels, "-o", tmp_path / "t", "-f", "csv,eaf,boris,bids")
    assert run(capsys, study, *timeline)[0] == 0
    told = json.loads((tmp_path / "t" / "v0.json").read_text("utf-8"))["taught"]
    assert (told["name"], told["sha256"], told["this_video"]) == ("g", sha256(labels), True)
    assert set(told["codings"]) == {sha256(study / "codings" / f"v{at}.csv") for at in range(4)}
    assert not json.loads((tmp_path / "t" / "v5.json").read_text("utf-8"))["taught"]["this_video"]

    called = "model tiny, taught g"
    code, out, err = run_agree(capsys, study / "codings", tmp_path / "t", "-o", tmp_path / "a")
    line = (
        f"{called} learnt its labels from codings of anna and 4 videos that are compared here, so the figures"
    )
    assert code == 0
    assert err.count(line) == 1
    assert f"M{line[1:]}" in out
    assert f"M{line[1:]}" in (tmp_path / "a" / "methods.txt").read_text("utf-8")
    assert line in (tmp_path / "a" / "report.html").read_text("utf-8")
    assert json.loads((tmp_path / "a" / "agreement.json").read_text("utf-8"))["raters"] == ["anna", called]
    # Somebody who did not teach, on videos that did, and on one that did not.
    _, _, err = run_agree(capsys, tmp_path / "dana", tmp_path / "t")
    assert f"{called} learnt its labels from 4 videos that are compared here" in err
    for ending in (".eaf", "_events.tsv"):
        _, out, err = run_agree(capsys, tmp_path / "dana" / "v1.csv", tmp_path / "t" / f"v1{ending}")
        assert f"{called} learnt its labels from 1 video that" in err
        _, out, err = run_agree(capsys, tmp_path / "dana" / "v5.csv", tmp_path / "t" / f"v5{ending}")
        assert called in out
        assert "learnt" not in out + err
    # BORIS's rows have room for the name alone.
    _, out, err = run_agree(capsys, tmp_path / "dana" / "v5.csv", tmp_path / "t" / "v5.boris.tsv")
    assert called in out
    assert f"{called} learnt its labels from codings, and no file says if these videos are among them" in err


def run_agree(capsys, *arguments: object) -> tuple[int, str, str]:
    with (
        patch.object(sys, "argv", ["emoclip", "agree", *map(str, arguments)]),
        pytest.raises(SystemExit) as stopped,
    ):
        main()
    shown = capsys.readouterr()
    return int(stopped.value.code or 0), shown.out, shown.err


def test_videos_are_watched_once_and_kept(
    capsys, study: Path, tmp_path: Path, media: Path, monkeypatch: pytest.MonkeyPatch
):
    words = tmp_path / "words.yaml"
    words.write_text("toothy: a smile with teeth\nflat: an unmoved face\n", "utf-8")
    kept, to = tmp_path / "kept", tmp_path / "to-code"
    given = ["teach", media / "single_face.mp4", "--recordings", kept, "--words", words, "--suggest", 2]
    code, out, _ = run(capsys, study, *given, "--suggest-to", to, "--window", 0.8)
    assert code == 0
    assert "2 windows to code in 1 ELAN file" in out
    before = (kept / "single_face.npz").stat().st_mtime_ns
    assert run(capsys, study, *given, "--suggest-to", to, "--window", 0.8, "--force")[0] == 0
    assert (kept / "single_face.npz").stat().st_mtime_ns == before
    monkeypatch.setattr(yunet, "_places", lambda: iter([tmp_path / "gone.onnx"]))
    code, _, err = run(capsys, study, *given, "--suggest-to", tmp_path / "more", "--window", 0.8)
    assert code != 0
    assert "is a recording of faces followed in another way" in err
    given[given.index(kept)] = tmp_path / "haar"
    code, _, err = run(capsys, study, *given, "--suggest-to", to, "--window", 0.8, "--force")
    assert (code, err.count("Haar cascades, which miss many")) == (0, 1)


def test_videos_are_watched_for_the_windows_that_are_asked_for(capsys, tmp_path: Path, media: Path):
    words = tmp_path / "words.yaml"
    words.write_text("toothy: a smile with teeth\nflat: an unmoved face\n", "utf-8")
    coding = tmp_path / "single_face.csv"
    coding.write_text("onset,offset,label\n0,0.5,toothy\n0.5,1,flat\n", "utf-8")
    given = ["teach", media / "single_face.mp4", "--words", words, "--suggest", 1]
    tiny_package(tmp_path / "model", frames_per_clip=32)

    def told(kept: str, *options: object) -> str:
        asked = [*given, "--recordings", tmp_path / kept, "--suggest-to", tmp_path / "next", *options]
        code, _, err = run(capsys, tmp_path, *asked)
        assert code == 0, err
        shutil.rmtree(tmp_path / "next")
        return err

    sparse = "record it again with `emoclip watch --window 0.5 --force`"
    assert sparse not in told("asked", "--window", 0.5)
    assert sparse not in told("coded", "--codings", coding, "--gaps", "uncoded")  # half of what a mark lasts
    assert Recording.read(tmp_path / "coded" / "single_face.npz").key.rate == 64
    told("words")
    assert sparse in told("words", "--window", 0.5)  # what is kept from before serves
    assert sparse not in told("words", "--window", 0.5, "--force")


def test_recordings_and_suggestions_mirror_the_folders_of_videos(
    capsys, study: Path, tmp_path: Path, media: Path
):
    words = tmp_path / "words.yaml"
    words.write_text("toothy: a smile with teeth\nflat: an unmoved face\n", "utf-8")
    for day, name in (("monday", "single_face.mp4"), ("tuesday", "face_noface.mov")):
        (tmp_path / "videos" / day).mkdir(parents=True)
        (tmp_path / "videos" / day / f"talk{Path(name).suffix}").symlink_to(media / name)
    kept, to = tmp_path / "kept", tmp_path / "to-code"
    given = ["--recordings", kept, "--words", words, "--suggest", 4, "--suggest-to", to, "--window", 0.8]
    assert run(capsys, study, "teach", tmp_path / "videos", *given)[0] == 0
    talks = {Path("monday/talk"), Path("tuesday/talk")}
    assert {path.relative_to(kept).with_suffix("") for path in kept.rglob("*.npz")} == talks
    assert {path.relative_to(to).with_suffix("") for path in to.rglob("*.eaf")} <= talks
    assert run(capsys, study, "watch", tmp_path / "videos", "--out", kept)[1].startswith("0 recorded")
    assert run(capsys, study, "teach", kept, *given, "--force")[0] == 0


def test_suggestions_do_not_replace_what_was_coded(capsys, study: Path, tmp_path: Path):
    coded = tmp_path / "to-code"
    coded.mkdir()
    for name in ("v0.csv", "v1.csv"):
        (coded / name).write_bytes((study / "codings" / name).read_bytes())
    given = ["teach", *recordings(study), "-c", coded, "--suggest", 2, "--suggest-to", coded, "--force"]
    code, _, err = run(capsys, study, *given)
    assert code == 2
    assert "holds codings that are read; name another folder with --suggest-to" in err
    assert len(list(coded.iterdir())) == 2


def test_labels_are_taught_where_nothing_is_left_to_suggest(capsys, study: Path, tmp_path: Path):
    given = [
        "teach",
        *recordings(study),
        "-c",
        study / "codings",
        "--suggest",
        2,
        "--suggest-to",
        tmp_path / "next",
    ]
    code, _, err = run(capsys, study, *given, "-o", tmp_path / "a.labels")
    assert code == 0
    assert "nothing to suggest: every window was coded already" in err
    assert (tmp_path / "a.labels").exists()
    assert not (tmp_path / "next").exists()
    assert run(capsys, study, *given)[0] == 1


def test_teaching_and_suggesting_in_one_go(capsys, study: Path, tmp_path: Path):
    few = tmp_path / "codings"
    few.mkdir()
    for name in ("v0.csv", "v1.csv", "v2.csv"):
        (few / name).write_bytes((study / "codings" / name).read_bytes())
    (few / "broken.csv").write_text("onset,offset,label\n3,1,smirk\n", "utf-8")
    given = ["teach", *recordings(study), "-c", few, "-o", tmp_path / "a.labels", "--suggest", 6]
    code, out, err = run(capsys, study, *given, "--suggest-to", tmp_path / "next")
    assert code == 1  # one file was bad; the rest is done
    assert "broken.csv" in err
    assert "6 windows to code" in out
    assert {path.stem for path in (tmp_path / "next").iterdir()} <= {"v3", "v4", "v5"}


@pytest.mark.parametrize(("tier", "told"), [("Smil", "there are smirk"), ("smirk", "not an ELAN document")])
def test_of_a_tier_or_file_that_fails_one_true_line_is_said(
    capsys, study: Path, tmp_path: Path, tier: str, told: str
):
    pympi = pytest.importorskip("pympi")
    (tmp_path / "codings").mkdir()
    for number in range(2):
        shutil.copy(study / "codings" / f"v{number}.csv", tmp_path / "codings")
    if tier == "smirk":
        (tmp_path / "codings" / "v2.eaf").write_text("<x/>", "utf-8")
    else:
        document = pympi.Eaf()
        document.rename_tier("default", "smirk")
        document.to_file(tmp_path / "codings" / "v2.eaf")
    given = [*recordings(study)[:2], "-c", tmp_path / "codings", "--tier", tier, "-o", tmp_path / "a.labels"]
    code, _, err = run(capsys, study, "teach", *given)
    assert code == 1
    assert told in err
    assert "no ELAN file was read" not in err


def test_names_and_labels_in_both_forms_of_unicode_are_the_same(capsys, study: Path, tmp_path: Path):
    for folder in ("codings", "recordings"):
        (tmp_path / folder).mkdir()
    for at in range(4):
        text = (study / "codings" / f"v{at}.csv").read_text("utf-8").replace("smirk", "gêne")
        form = ("NFC", "NFD")[at % 2]
        name = unicodedata.normalize("NFD", f"café{at}.csv")
        (tmp_path / "codings" / name).write_text(unicodedata.normalize(form, text), "utf-8")
        recording = Recording.read(study / "recordings" / f"v{at}.npz")
        recording.name = f"café{at}.mp4"
        recording.write(tmp_path / "recordings" / f"café{at}.npz")
    words = tmp_path / "words.yaml"
    words.write_text(unicodedata.normalize("NFD", "gêne: an uneasy smile\nwink: a wink\n"), "utf-8")
    out = ["-c", tmp_path / "codings", "--words", words, "-o", tmp_path / "x.labels"]
    code, _, err = run(capsys, study, "teach", *sorted((tmp_path / "recordings").iterdir()), *out)
    assert (code, "left out" in err) == (0, False)
    assert set(json.loads((tmp_path / "x.labels").read_text("utf-8"))["labels"]) >= {"gêne", "wink"}


def test_codings_and_subjects_of_no_video_given_are_told(capsys, study: Path, tmp_path: Path):
    who = tmp_path / "who.csv"
    who.write_text("video,subject\n" + "".join(f"v{n}.mp4,s{n}\n" for n in (0, 1, 2, 5)), "utf-8")
    given = [*recordings(study)[:3], "-c", study / "codings" / "v0.csv", "-c", study / "codings" / "v1.csv"]
    given += ["-c", study / "codings" / "v5.csv", "--subjects", who, "-o", tmp_path / "a.labels"]
    code, _, err = run(capsys, study, "teach", *given)
    assert code == 0
    lines = err.splitlines()
    assert any("v5: in the table of subjects, but not among the videos" in line for line in lines)
    told = [line for line in lines if "no video given is called so; left out" in line]
    assert len(told) == 1
    assert f"v5 ({study / 'codings' / 'v5.csv'}): coded" in told[0]
    assert told[0].endswith("(videos without a coding: v2)")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "nothing to write"),
        (["--out", "smirk.json"], "name it NAME.labels"),
        (["--out", "absent/x.labels", "--words", "absent.yaml"], "the folder absent does not exist"),
        (["--out", "x.labels"], "learnt from codings, and none is named"),
        (["--out", "x.labels", "--words", "words.yaml", "--suggest", "2"], "leave --out out"),
        (["--suggest", "2"], "no label was marked"),
        (["--out", "x.labels", "--codings", "absent"], "absent: no such file or folder"),
        (["--out", "x.labels", "--codings", "other.csv"], "no coding is of a video given"),
        (["--out", "x.labels", "--codings", "v0.csv"], "only v0 has coded time"),
        (["--out", "x.labels", "--codings", "merged.csv"], "line 3: has no video, which other lines have"),
        (["--out", "x.labels", "--words", "absent.yaml"], "no such prompt file"),
        (["--suggest", "3", "--suggest-to", "."], "exists already"),
        (
            ["--out", "x.labels", "--codings", "v0.csv", "--same", "smrik=smirk"],
            "'smrik' was not marked by anybody; did you mean 'smirk'?",
        ),
        (
            ["--out", "x.labels", "--codings", "v0.csv", "--tier", "Smile"],
            "--tier Smile: no ELAN file was read",
        ),
    ],
)
def test_bad_input_is_one_line(capsys, study: Path, tmp_path: Path, monkeypatch, options: list, told: str):
    monkeypatch.chdir(tmp_path)
    for name in ("v0.csv", "other.csv"):
        Path(name).write_text("onset,offset,label\n1,2,smirk\n3,4,wink\n", "utf-8")
    Path("merged.csv").write_text("video,onset,offset,label\nv0.mp4,1,2,smirk\n,3,4,wink\n", "utf-8")
    Path("words.yaml").write_text("toothy: a smile with teeth\nflat: an unmoved face\n", "utf-8")
    code, out, err = run(capsys, study, "teach", *recordings(study), *options)
    usage = ("nothing to write", "name it", "learnt from codings", "leave --out out")
    assert code == (2 if told.startswith(usage) else 1)
    assert not out
    assert told in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.labels"))


def test_a_bad_recording_is_told_and_the_rest_are_used(capsys, study: Path, tmp_path: Path):
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"no")
    given = ["teach", bad, *recordings(study), "-c", study / "codings", "-o", tmp_path / "a.labels"]
    code, _, err = run(capsys, study, *given)
    assert code == 1
    assert "bad.npz" in err
    assert (tmp_path / "a.labels").exists()


def test_what_was_met_in_a_video_is_told(capsys, study: Path, tmp_path: Path):
    first, *others = recordings(study)
    kept = Recording.read(first)
    kept.warnings.append("at 3.79 s: ends though its header says 8.00 s; cut off?")
    kept.write(tmp_path / "v0.npz")
    given = ["teach", tmp_path / "v0.npz", *others, "-c", study / "codings", "-o", tmp_path / "a.labels"]
    code, _, err = run(capsys, study, *given)
    assert code == 0
    assert f"emoclip: {tmp_path / 'v0.npz'}: {kept.warnings[0]}\n" in err
