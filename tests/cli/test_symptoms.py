"""`emoclip symptoms` as people run it, on small videos made of real pictures' noise and a tiny model."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from commands import emoclip, fails
from packages import tiny_package

from emoclip import EmoCLIP, FaceConfig
from emoclip.faces import yunet
from emoclip.symptoms import fit as symptoms

SUBJECTS = 8


def run(*arguments):
    return emoclip("symptoms", *arguments)


def fails_beside_the_note(shown, message, code=1):
    """Check for one line that says why, after the one that says that folders are read as frames."""
    note, *rest = shown.stderr.splitlines(keepends=True)
    if "read as frames, 25 a second; --fps says otherwise" in note:
        shown.stderr = "".join(rest)
    fails(shown, message, code)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder with a model, eight interviews as folders of crops, brighter with the score, and a manifest."""
    folder = tmp_path_factory.mktemp("lab")
    tiny_package(folder / "model", frames_per_clip=4)
    rng = np.random.default_rng(0)
    lines = ["path,subject,session,age,PANSS_N1"]
    for number in range(SUBJECTS):
        score = 1 + number * 6 / (SUBJECTS - 1)
        (folder / f"v{number}").mkdir()
        for frame in range(38):
            ramp = np.linspace(0, 20 * score, 32)[:, None, None] + 40
            picture = np.clip(ramp + rng.normal(0, 15, size=(32, 32, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"v{number}/{frame:03d}.png"), picture)
        lines.append(f"v{number},s{number},1,{30 + number},{score:.1f}")
    (folder / "v5/038.png").write_bytes(b"no picture")
    lines.append("gone.mp4,s9,1,30,4")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def fitted(lab):
    shown = run(
        *("fit", lab / "cohort.csv", "--targets", "PANSS_N1", "--group", "subject", "--out", lab / "out"),
        *(
            "--estimator",
            "probe",
            "--model",
            lab / "model",
            "--folds",
            4,
            "--permutations",
            19,
            "--faces",
            "full",
        ),
    )
    assert shown.returncode == 0, shown.stderr
    return shown


def test_fit_writes_figures_report_and_package(lab, fitted):
    found = json.loads((lab / "out/metrics.json").read_text())
    assert found["estimators"]["probe"]["targets"]["PANSS_N1"]["pcc"]["value"] > 0.8
    assert found["excluded"][0]["reason"] == "the video is not there"
    for name in ("predictions.csv", "windows.csv", "report.html", "package/symptoms.onnx"):
        assert (lab / "out" / name).is_file()
    assert "not a diagnosis" in fitted.stdout
    assert (
        f"written: {lab}/out/report.html, metrics.json, predictions.csv, windows.csv, package\n"
        in fitted.stdout
    )
    assert "left out: subject s9" in fitted.stderr
    assert "Traceback" not in fitted.stderr
    table = fitted.stdout[: fitted.stdout.index("A research")]
    assert "PCC" in table
    assert "–: not defined" in table
    assert max(map(len, table.splitlines())) <= 80


@pytest.mark.skipif(os.name != "posix", reason="pipes of Unix")
def test_scores_are_written_where_the_reader_of_stdout_went_away(lab, fitted, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [
        sys.executable,
        "-m",
        "emoclip",
        "symptoms",
        "score",
        lab / "out/package",
        lab / "v6",
        lab / "v7",
    ]
    done = subprocess.run(
        [*command, "--faces", "full", "--json", tmp_path / "s.json"], stdout=writing, check=False
    )
    os.close(writing)
    assert done.returncode == 141
    assert [record["status"] for record in json.loads((tmp_path / "s.json").read_text())] == ["ok", "ok"]


def test_score_answers_with_an_interval_and_without_torch(lab, fitted):
    code = (
        "import sys; sys.argv[0] = 'emoclip'\nfrom emoclip.cli import main\ntry: main()\n"
        "finally: print('loaded', sorted({'torch', 'onnx', 'matplotlib'} & sys.modules.keys()), file=sys.stderr)"
    )
    arguments = [
        "symptoms",
        "score",
        str(lab / "out/package"),
        str(lab / "v6"),
        "--faces",
        "full",
        "--json",
        "-",
    ]
    shown = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert shown.stderr.strip().endswith("loaded []")
    record = json.loads(shown.stdout)
    assert "not a diagnosis" in record["note"]
    (score,) = record["scores"]
    assert (score["target"], score["range"]) == ("PANSS_N1", [1.0, 7.0])
    assert abs(score["score"] - 6.1) < 1.5
    assert score["low"] is None  # eight subjects are too few for nine in ten
    assert record["status"] == "ok"


def test_coverage_is_called_a_share_of_clips(lab, fitted):
    shown = run("score", lab / "out/package", lab / "v6", "--faces", "full")
    assert "s, face readable in 100.0% of its clips\n" in shown.stdout


def test_a_recording_of_the_model_that_was_fitted_on_is_scored_as_its_video(lab, fitted, tmp_path):
    """`emoclip watch` and `symptoms score` as docs/timelines.md has them."""
    watched = ["--model", lab / "model", "--faces", "full", "-o", tmp_path, "--window", 1]
    assert emoclip("watch", lab / "v3", *watched).returncode == 0
    seen, kept = (
        run("score", lab / "out/package", source, "--faces", "full", "--json", "-")
        for source in (lab / "v3", tmp_path / "v3.npz")
    )
    assert (seen.returncode, kept.returncode) == (0, 0), kept.stderr
    first, second = (json.loads(shown.stdout) for shown in (seen, kept))
    assert first["scores"] == second["scores"]
    assert (first["detector"], first["warnings"]) == (None, [])
    assert (second["detector"], second["unlike"]) == (None, first["unlike"])
    named = run("score", lab / "out/package", lab / "v3", tmp_path / "v3.npz", "--fps", 25, "--json", "-")
    assert "cannot act" not in named.stderr


def test_options_that_cannot_act_on_a_recording_are_told(lab, fitted, tmp_path):
    kept = tmp_path / "v3.npz"
    assert (
        emoclip("watch", lab / "v3", "--model", lab / "model", "--faces", "full", "-o", tmp_path).returncode
        == 0
    )
    idle = "cannot act on a recording; ask the video, or record it again so"
    given = ("--fps", 10, "--faces", "largest")
    shown = run("score", lab / "out/package", kept, *given, "--json", "-")
    record = json.loads(shown.stdout)
    assert record["warnings"] == [f"--faces largest, --fps 10: {idle}"]
    assert shown.stderr.count(f"{kept}: {record['warnings'][0]}") == 1
    asked = symptoms.score(EmoCLIP.load(str(lab / "out/package")), str(kept), FaceConfig("largest"), fps=10)
    assert asked.warnings == [f"mode=largest, fps=10: {idle}"]
    plain = run("score", lab / "out/package", kept, "--json", "-")
    assert (plain.stderr, json.loads(plain.stdout)["warnings"]) == ("", [])
    assert json.loads(plain.stdout)["scores"] == record["scores"]

    table = tmp_path / "cohort.csv"
    rows = (lab / "cohort.csv").read_text().replace("v3,", f"{kept},").splitlines()[: SUBJECTS + 1]
    table.write_text("\n".join([rows[0], *(row if str(kept) in row else f"{lab}/{row}" for row in rows[1:])]))
    fit = ("fit", table, "-t", "PANSS_N1", "--model", lab / "model", "--folds", 4, "--permutations", 19)
    shown = run(*fit, "--faces", "full", "--fps", 10, "-o", tmp_path / "out")
    assert shown.stderr.count(f"{kept}: --fps 10: {idle}") == 1
    assert f"{kept}: --fps 10: {idle}" in json.loads((tmp_path / "out/metrics.json").read_text())["notes"]


def test_options_that_cannot_act_on_a_study_are_usage_errors(lab, tmp_path):
    table = tmp_path / "cohort.csv"
    rows = (lab / "cohort.csv").read_text().splitlines()[: SUBJECTS + 1]
    own = [f"{lab}/{row},{at % 4}" for at, row in enumerate(rows[1:])]
    fit = (
        "fit",
        table,
        "-t",
        "PANSS_N1",
        "--model",
        lab / "model",
        "--faces",
        "full",
        "-o",
        tmp_path / "out",
    )
    table.write_text("\n".join([f"{rows[0]},fold", *own]))
    fails(
        run(*fit, "--folds", 4),
        f"--folds 4: cannot act, as {table} has folds of its own; leave it out",
        code=2,
    )
    fails(run(*fit, "--folds", "loso"), "--folds loso: cannot act", code=2)
    shown = run(*fit, "--paper-permutations", 19)
    fails(shown, "--paper-permutations 19: cannot act with --estimator probe", code=2)
    shown = run(*fit, "--permutations", 19, "--estimator", "paper")
    fails(shown, "--permutations 19: cannot act with --estimator paper", code=2)
    table.write_text("\n".join([f"{rows[0]},fold", *(row[: row.rindex(",") + 1] for row in own)]))
    assert run(*fit, "--folds", 4, "--permutations", 19).returncode == 0  # an empty column names none
    assert json.loads((tmp_path / "out/metrics.json").read_text())["folds"] == 4


def test_score_looks_as_the_study_did_and_says_where_it_was_told_otherwise(lab, fitted):
    looked = json.loads((lab / "out/metrics.json").read_text())["looked"]
    assert looked == {"faces": "full", "detector": None, "fps": 25.0}
    plain, named, other = (
        json.loads(run("score", lab / "out/package", lab / "v6", *options, "--json", "-").stdout)
        for options in ((), ("--faces", "full"), ("--fps", 5))
    )
    assert plain == named
    assert "fps: 5.0 here, 25.0 in the study" in other["unlike"]
    assert "fps" not in " ".join(plain["unlike"])
    shown = run("score", lab / "out/package", lab / "v6", "--faces", "largest")
    assert (
        "no clip in it shows a readable face; pass --faces full if its frames are face crops" in shown.stderr
    )


def test_what_was_made_otherwise_than_the_study_is_told(lab, fitted, media, tmp_path):
    """A recording says itself how its faces were found; a video has its own times."""
    model = ("--model", lab / "model", "-o", tmp_path)
    assert emoclip("watch", media / "single_face.mp4", "--detector", "haar", *model).returncode == 0
    shown = run("score", lab / "out/package", tmp_path / "single_face.npz", "--json", "-")
    record = json.loads(shown.stdout)
    assert record["detector"] == "haar"
    assert "faces: largest here, full in the study" in record["unlike"]
    shown = run("score", lab / "out/package", media / "single_face.mp4", "--fps", 25, "--json", "-")
    line = "--fps 25: cannot act on a video, whose frames have their own times"
    assert line in json.loads(shown.stdout)["warnings"]
    assert shown.stderr.count(line) == 1


def test_scores_say_where_haar_took_the_place_of_yunet(lab, fitted, media, monkeypatch, tmp_path):
    monkeypatch.setattr(yunet, "_places", lambda: iter([tmp_path / "gone.onnx"]))
    done = run("score", lab / "out/package", media / "single_face.mp4", "--faces", "largest", "--json", "-")
    record = json.loads(done.stdout)
    assert record["detector"] == "haar"
    (note,) = record["warnings"]
    assert "Haar cascades, which miss many" in note
    assert done.stderr.count(note) == 1


def test_what_was_met_in_a_video_is_told_with_its_figures(lab, fitted, tmp_path):
    told = f"{lab / 'v5'}: at 1.52 s: left out: {lab / 'v5/038.png'}: not a picture"
    assert f"emoclip: subject s5, {told}" in fitted.stderr
    (note,) = json.loads((lab / "out/metrics.json").read_text())["notes"]
    assert note.startswith(f"subject s5, {told}")
    assert "<li>subject s5, " in (lab / "out/report.html").read_text()
    shown = run("score", lab / "out/package", lab / "v5", "--faces", "full", "--json", tmp_path / "s.json")
    assert f"emoclip: {told}" in shown.stderr
    (line,) = json.loads((tmp_path / "s.json").read_text())["warnings"]
    assert f"{lab / 'v5'}: {line}" in shown.stderr


def test_score_without_a_face_is_one_line(lab, fitted):
    fails_beside_the_note(
        run("score", lab / "out/package", lab / "v0", "--faces", "largest"), "shows a readable face"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--targets", "PANSS_N1", "--folds", "20"],
            "8 subjects with usable interviews .*, fewer than 20.*; left out: .*gone.mp4: the video is not there$",
        ),
        (["--targets", "PANSS_N9"], "has no column PANSS_N9"),
        (["--targets", "PANSS_N1", "--group", "who"], "has no column who"),
        (["--targets", "PANSS_N1", "--folds", "many"], "must be a number, or loso"),
    ],
)
def test_what_cannot_be_fitted_is_said_in_one_line(lab, fitted, tmp_path, arguments, message):
    shown = run(
        *(
            "fit",
            lab / "cohort.csv",
            "--out",
            tmp_path / "out",
            "--estimator",
            "probe",
            "--model",
            lab / "model",
        ),
        *("--faces", "full", "--cache", lab / "out.cache", *arguments),
    )
    fails_beside_the_note(shown, message, 2 if "many" in arguments else 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("fold", "abbbbbbb", "all subjects with a score are in one fold"),
        ("fold", "ab bbbbb", "has no fold, where other rows do"),
        ("PANSS_N2", "44444444", "is 4 in all 8 interviews"),
    ],
)
def test_what_no_video_can_mend_is_said_before_any_is_watched(lab, tmp_path, column, values, message):
    _, *rows = (lab / "cohort.csv").read_text().splitlines()
    lines = [f"path,subject,session,age,PANSS_N1,{column}"]
    for number, value in enumerate(values):
        path, subject, session, age, score = rows[number].split(",")
        kept = score if number or column != "fold" else ""  # fold a has no score
        lines.append(f"{lab / path},{subject},{session},{age},{kept},{value.strip()}")
    (tmp_path / "cohort.csv").write_text("\n".join(lines))
    targets = ",".join(["PANSS_N1", *([] if column == "fold" else [column])])
    fit = ("fit", tmp_path / "cohort.csv", "-t", targets, "--model", lab / "model", "--faces", "full")
    fails(run(*fit, "--cache", tmp_path / "seen", "-o", tmp_path / "out"), message)
    assert not (tmp_path / "seen").exists()


def test_a_target_that_is_named_twice_is_a_usage_error(lab, tmp_path):
    shown = run("fit", lab / "cohort.csv", "-t", "PANSS_N1, PANSS_N1", "-o", tmp_path / "out")
    fails(shown, "--targets PANSS_N1: is named twice; leave one out", code=2)


def test_a_seed_beyond_a_generators_bits_is_a_usage_error(tmp_path):
    shown = run("fit", tmp_path / "c.csv", "--targets", "PANSS_N1", "--out", tmp_path, "--seed", 10**20)
    assert shown.returncode == 2
    assert "--seed" in shown.stderr
    assert "4294967295" in shown.stderr


def test_nothing_is_overwritten_unasked(lab, fitted):
    shown = run("fit", lab / "cohort.csv", "--targets", "PANSS_N1", "--out", lab / "out")
    assert (shown.returncode, "--force" in shown.stderr) == (1, True)


def test_what_no_force_may_delete_is_told_before_any_video_is_watched(lab, tmp_path):
    (tmp_path / "out/package").mkdir(parents=True)
    (tmp_path / "out/package/thesis.tex").write_text("mine")
    fit = ("fit", lab / "cohort.csv", "-t", "PANSS_N1", "--model", lab / "model", "--folds", 4)
    shown = run(*fit, "--cache", tmp_path / "seen", "-o", tmp_path / "out", "--force")
    fails_beside_the_note(shown, "out/package: exists and is not a model package; name another folder")
    assert not (tmp_path / "seen").exists()
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["thesis.tex"]


def test_a_pattern_is_no_interview_and_the_others_are_scored(lab, fitted):
    shown = run("score", lab / "out/package", lab / "v[67]", lab / "v6", "--faces", "full", "--json", "-")
    first, second = json.loads(shown.stdout)
    assert (shown.returncode, first["status"], second["status"]) == (1, "error", "ok")
    assert f"{lab}/v[67]: patterns are not read here" in first["error"]
    assert shown.stderr.count("patterns are not read here") == 1


def test_a_package_without_a_head_is_refused(lab):
    fails(run("score", lab / "model", lab / "v0"), "has no severity head")


def test_scales_lists_ranges():
    shown = run("scales")
    assert "PANSS_N1" in shown.stdout
    assert "0 to 16" in shown.stdout
