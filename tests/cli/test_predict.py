"""`emoclip predict` as a user runs it: JSON contract, exit codes, one-line errors, no traceback."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import emoclip, fails
from packages import tiny_package
from PIL import Image
from skimage import data

from emoclip.faces import yunet
from emoclip.files import sha256

LABELS = "smiling, sad, surprised"
FACE_KEYS = ["track_id", "start_s", "end_s", "frames", "coverage", "probs", "top", "seen_at_s", "box"]
KEYS = ["input", "model", "labels", "status", "error", "duration_s", "faces", "warnings", "label_warnings"]
KEYS += ["model_sha256", "detector"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(tiny_package(tmp_path_factory.mktemp("tiny") / "p"))


@pytest.fixture
def frame(tmp_path):
    path = tmp_path / "crop.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    return path


def predict(tiny, *arguments):
    return emoclip("predict", "--model", tiny, "--labels", LABELS, *arguments)


def test_a_photograph_has_no_times(tiny, frame):
    done = predict(tiny, frame, "--faces", "full")
    assert "probability" in done.stdout
    assert "seconds" not in done.stdout


def test_one_input_gives_one_object_and_nothing_else_on_stdout(tiny, frame):
    done = predict(tiny, frame, "--faces", "full", "--json", "-")
    assert done.returncode == 0
    record = json.loads(done.stdout)
    assert list(record) == KEYS
    assert record["labels"] == ["smiling", "sad", "surprised"]
    assert (record["status"], record["error"]) == ("ok", None)
    (face,) = record["faces"]
    assert list(face) == FACE_KEYS
    assert list(face["probs"]) == record["labels"]
    assert sum(face["probs"].values()) == pytest.approx(1, abs=1e-5)


def test_the_most_faces_that_are_read_can_be_set_and_a_line_says_where_that_cuts(tiny, media):
    done = predict(tiny, "--faces", "all", "--max-faces", 1, "--json", "-", media / "multi_face.jpg")
    assert len(json.loads(done.stdout)["faces"]) == 1
    assert "more faces than 1, the largest is read; raise --max-faces" in done.stderr
    done = predict(tiny, "--faces", "full", "--max-faces", 1, "--json", "-", media / "multi_face.jpg")
    assert "--max-faces: of no effect with --faces full, which looks for no face" in done.stderr


def test_scores_of_each_label_alone_where_asked(tiny, frame):
    done = predict(tiny, "--scores", "--faces", "full", "--json", "-", frame)
    face = json.loads(done.stdout)["faces"][0]
    assert list(face) == [*FACE_KEYS[:-2], "scores", *FACE_KEYS[-2:]]
    assert list(face["scores"]) == LABELS.split(", ")
    assert "score" in predict(tiny, "--scores", "--faces", "full", frame).stdout


def test_baselines_that_cannot_be(tiny, frame, tmp_path):
    fails(predict(tiny, "--baseline", "5-2", frame), "must come after the start", code=2)
    nowhere = predict(tiny, "--faces", "full", "--baseline", tmp_path / "neutral.mp4", frame)
    fails(nowhere, "neutral.mp4: no such file")
    grey = tmp_path / "grey.png"
    Image.new("RGB", (200, 200), "grey").save(grey)
    fails(predict(tiny, "--baseline", grey, frame), "baseline: .*grey.png: no face is seen well enough in it")


def test_what_fails_whatever_the_input_is_one_line_for_all_inputs(tiny, frame, tmp_path):
    other = shutil.copy(frame, tmp_path / "other.png")
    (tmp_path / "several").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "several" / name).write_bytes(b"not opened")
    for command in (["predict"], ["timeline", "--out", tmp_path / "out"], ["timeline", "--out", "-"]):
        for named, told in (
            ("gone.mp4", "baseline: .*gone.mp4: no such file"),
            (
                "several",
                "baseline: .*several: stands for 2 inputs, and one file shows a person at rest; name it",
            ),
        ):
            asked = ["--model", tiny, "--faces", "full", "--baseline", tmp_path / named, frame, other]
            fails(emoclip(*command, *asked), told)
    assert not (tmp_path / "out").exists()


def test_one_bad_input_is_reported_and_the_rest_is_done(tiny, frame, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_text("this is no video")
    done = predict(tiny, broken, frame, "--faces", "full", "--json", "-")
    fails(done, r"broken\.mp4")
    bad, good = json.loads(done.stdout)
    assert (bad["status"], good["status"]) == ("error", "ok")
    assert "broken.mp4" in bad["error"]
    assert "\n" not in bad["error"]
    assert bad["faces"] == []


def test_standard_input_has_one_name_whether_it_can_be_read_or_not(tiny, frame, tmp_path):
    (tmp_path / "no.png").write_bytes(b"garbage")
    program = [
        sys.executable,
        "-m",
        "emoclip",
        "predict",
        "--model",
        tiny,
        "--faces",
        "full",
        "--json",
        "-",
        "-",
    ]
    records = []
    for path in (frame, tmp_path / "no.png"):
        with path.open("rb") as file:
            done = subprocess.run(program, stdin=file, capture_output=True, text=True)
        records.append(json.loads(done.stdout))
    assert [record["status"] for record in records] == ["ok", "error"]
    assert [record["input"] for record in records] == ["standard input"] * 2
    assert {record["model_sha256"] for record in records} == {sha256(Path(tiny) / "config.json")}


def test_without_yunet_the_results_say_what_found_the_faces(tiny, monkeypatch, tmp_path):
    Image.fromarray(data.astronaut()).save(tmp_path / "a.png")

    def found(*options):
        done = predict(tiny, tmp_path / "a.png", "--json", "-", *options)
        record = json.loads(done.stdout)
        return record["detector"], record["warnings"], done.stderr

    assert found()[:2] == ("yunet", [])
    assert found("--faces", "full")[0] is None
    monkeypatch.setattr(yunet, "_places", lambda: iter([tmp_path / "gone.onnx"]))
    detector, (note,), told = found()
    assert (detector, note.split(":")[0]) == (
        "haar",
        "faces are looked for with Haar cascades, which miss many",
    )
    assert told == f"emoclip: {tmp_path / 'a.png'}: {note}\n"
    assert found("--detector", "haar") == ("haar", [], "")


def test_no_face_is_a_result(tiny, tmp_path):
    blank = tmp_path / "blank.png"
    Image.new("RGB", (100, 100), "grey").save(blank)
    done = predict(tiny, blank, "--json", "-")
    assert done.returncode == 0
    assert json.loads(done.stdout)["status"] == "no_face"
    assert "no face" in predict(tiny, blank).stdout


def test_json_file_is_not_replaced_unasked(tiny, frame, tmp_path):
    out = tmp_path / "out.json"
    out.write_text("mine")
    fails(predict(tiny, frame, "--faces", "full", "--json", out), "--force")
    assert out.read_text() == "mine"
    assert predict(tiny, frame, "--faces", "full", "--json", out, "--force").returncode == 0
    assert json.loads(out.read_text())["status"] == "ok"


def test_the_table_is_for_people(tiny, frame):
    done = predict(tiny, frame, "--faces", "full")
    assert done.returncode == 0
    assert all(label in done.stdout for label in ("smiling", "sad", "surprised"))


def test_the_picture_is_written(tiny, frame, tmp_path):
    picture = tmp_path / "result.png"
    assert predict(tiny, frame, "--faces", "full", "--picture", picture).returncode == 0
    with Image.open(picture) as image:
        assert min(image.size) > 300


def test_missing_empty_and_foreign_files(tiny, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "note.mp4").write_text("shopping: milk, bread\n" * 50)
    (tmp_path / "pictureless").mkdir()
    fails(predict(tiny, tmp_path / "nowhere.mp4"), r"nowhere\.mp4.*no such")
    fails(predict(tiny, tmp_path / "empty.mp4"), r"empty\.mp4.*empty")
    fails(predict(tiny, tmp_path / "note.mp4"), r"note\.mp4")
    fails(predict(tiny, tmp_path / "pictureless"), "pictureless")


@pytest.mark.parametrize(
    ("labels", "said", "code"),
    [
        (",", "at least 2", 2),
        ("one", "at least 2", 2),
        ("a,b,A", "twice", 2),
        ("x" * 5000 + ",y", "5000 characters", 2),
    ],
)
def test_bad_labels(tiny, frame, labels, said, code):
    fails(emoclip("predict", frame, "--model", tiny, "--labels", labels), said, code)


def test_labels_in_another_script(tiny, frame):
    done = emoclip(
        "predict", frame, "--model", tiny, "--faces", "full", "--labels", "生气, 高兴", "--json", "-"
    )
    assert json.loads(done.stdout)["labels"] == ["生气", "高兴"]


def test_bad_settings(tiny, frame, tmp_path):
    fails(predict(tiny, frame, "--faces", "some"), "largest, all, full", code=2)
    fails(predict(tiny, frame, "--start", 5, "--end", 2), "--end 2 must be after --start 5", code=2)
    fails(predict(tiny, frame, "--json", tmp_path / "no" / "out.json"), "does not exist")
    fails(predict(tiny, frame, "--model", "nothing-like-it"), "models list")
    fails(emoclip("predict", frame, "--bogus"), "bogus", code=2)
    fails(emoclip("predict"), "INPUT", code=2)


def test_a_truncated_video_is_read_as_far_as_it_goes_and_said(tiny, media, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((media / "WolfgangLanger_Pexels.mp4").read_bytes()[:400_000])
    done = predict(tiny, cut, "--json", "-")
    assert done.returncode == 0
    record = json.loads(done.stdout)
    assert record["status"] == "ok"
    assert record["faces"][0]["end_s"] < 10 < record["duration_s"]
    assert re.search(r"cut\.mp4: .*end", done.stderr)


def test_a_rate_that_cannot_act_on_a_video_is_told(tiny, media):
    told = "cannot act on a video, whose frames have their own times"
    video = media / "single_face.mp4"
    done = predict(tiny, video, "--end", 0.5, "--fps", 25, "--json", "-")
    assert json.loads(done.stdout)["warnings"] == [f"--fps 25: {told}"]
    assert f"single_face.mp4: --fps 25: {told}" in done.stderr
    assert told not in predict(tiny, video, "--end", 0.5).stderr


def test_start_past_the_end(tiny, media):
    fails(predict(tiny, media / "single_face.mp4", "--start", 60), r"single_face\.mp4.*2\.4")


def test_help_and_version():
    assert "predict" in emoclip("--help").stdout
    assert "--labels" in emoclip("predict", "--help").stdout
    assert re.match(r"emoclip \d+\.\d+\.\d+", emoclip("--version").stdout)


def test_precision_that_cannot_be_had_is_said_in_one_line_and_the_run_goes_on(tiny, frame):
    done = predict(tiny, frame, "--faces", "full", "--precision", "int8", "--json", "-")
    assert done.returncode == 0
    said = "emoclip: precision=int8: the package was exported without int8; runs as fp32"
    assert done.stderr.strip().splitlines() == [said]
    plain = predict(tiny, frame, "--faces", "full", "--json", "-")
    assert (plain.stdout, plain.stderr) == (done.stdout, "")
    fails(predict(tiny, frame, "--precision", "int7"), "int7", code=2)


def test_a_video_is_opened_once_even_with_a_progress_bar(tiny, media, monkeypatch):
    from emoclip.cli import main
    from emoclip.video import inputs as video

    opened, container = [], video.Container
    monkeypatch.setattr(video, "Container", lambda *given: opened.append(given) or container(*given))
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setattr(
        sys, "argv", ["emoclip", "predict", str(media / "single_face.mp4"), "--end", "0.5", "--model", tiny]
    )
    with pytest.raises(SystemExit, match="0"):
        main()
    assert len(opened) == 1


def test_what_is_read_is_never_written_over(tiny, tmp_path, media):
    picture = tmp_path / "me.jpg"
    picture.write_bytes((media / "multi_face.jpg").read_bytes())
    (tmp_path / "link.jpg").symlink_to(picture)
    for option in (("--json", picture), ("--picture", picture), ("--picture", tmp_path / "link.jpg")):
        fails(predict(tiny, picture, *option, "--force"), "is what is to be read")
    assert picture.read_bytes() == (media / "multi_face.jpg").read_bytes()


def test_a_terminal_of_no_width_gets_whole_lines(tiny, frame, monkeypatch):
    plain = predict(tiny, frame, "--faces", "full").stdout
    monkeypatch.setenv("COLUMNS", "0")
    assert predict(tiny, frame, "--faces", "full").stdout == plain != ""


def test_two_outputs_of_one_place_are_refused_before_any_work(tiny, frame, tmp_path):
    both = tmp_path / "y.png"
    for force in ([], ["--force"]):
        done = predict(tiny, frame, "--json", both, "--picture", tmp_path / "." / "y.png", *force)
        fails(done, "two outputs", code=2)
    assert not both.exists()


def test_json_says_what_was_wrong_with_an_input(tiny, media, tmp_path):
    damaged = bytearray((media / "no_face.mp4").read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    (tmp_path / "cut.mp4").write_bytes(damaged)
    done = predict(tiny, tmp_path / "cut.mp4", "--json", "-")
    warnings = json.loads(done.stdout)["warnings"]
    assert warnings
    assert all(line in done.stderr for line in warnings)


def test_a_file_that_is_named_like_an_option_gets_a_hint(tiny, media, tmp_path):
    (tmp_path / "-dash.mp4").symlink_to(media / "single_face.mp4")
    done = emoclip("predict", "-dash.mp4", cwd=tmp_path)
    fails(done, r"No such option.* \(write \./-dash\.mp4 for the file of that name\)", code=2)
    assert emoclip("predict", "./-dash.mp4", "-m", tiny, cwd=tmp_path).returncode == 0
