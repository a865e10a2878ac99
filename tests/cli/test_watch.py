import json
import shutil
from xml.etree import ElementTree

import pytest
from commands import emoclip, fails
from packages import tiny_package
from videos import noise, write

from emoclip.recording import Recording


@pytest.fixture(scope="module")
def watched(media, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    (folder / "broken.mp4").write_bytes(b"no video")
    done = emoclip("watch", media / "single_face.mp4", folder / "broken.mp4", "-o", folder / "kept")
    return folder, done


def test_a_bad_file_is_said_and_the_rest_is_recorded(watched):
    folder, done = watched
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "broken.mp4: " in done.stderr
    assert done.stdout.startswith("1 recorded in ")
    assert ", 0 recorded already, 1 failed, " in done.stdout
    assert [path.name for path in (folder / "kept").iterdir()] == ["single_face.npz"]
    assert sum(len(looks) for _, looks in Recording.read(folder / "kept/single_face.npz").frames) == 72


def test_who_is_kept_is_not_chosen(tmp_path):
    """A recording keeps all faces: which of them count is asked of it later."""
    done = emoclip("watch", "talk.mp4", "--faces", "largest", "-o", tmp_path / "kept")
    fails(done, "--faces.*largest.*all.*full", code=2)


def test_a_second_question_decodes_nothing(watched, media, monkeypatch, tmp_path):
    from emoclip import EmoCLIP
    from emoclip.prompts import resolve
    from emoclip.timeline import Settings, plan, run, stream

    def no_video(*arguments, **options):
        raise AssertionError("a video was opened")

    monkeypatch.setattr(stream, "open_video", no_video)
    settings = Settings(
        out=tmp_path, prompts=resolve("calm, joyful"), formats=("csv",), recordings=watched[0] / "kept"
    )
    (outcome,) = run(plan([str(media / "single_face.mp4")], settings), settings, load=EmoCLIP.load)
    assert (outcome.state, outcome.windows) == ("done", 2), outcome.message


@pytest.fixture
def labs(tmp_path):
    """Two folders with a video each of the same name, and a recording of the first by that name."""
    for at, lab in enumerate(("lab", "other")):
        (tmp_path / lab / "w").mkdir(parents=True)
        write(tmp_path / lab / "w/anna.mp4", noise(6 + at))
    model = str(tiny_package(tmp_path / "p"))
    seen = ["--faces", "full", "-m", model]
    done = emoclip("watch", "w/anna.mp4", *seen, "-o", "../kept", cwd=tmp_path / "lab")
    assert done.returncode == 0, done.stderr
    return tmp_path, ["-m", model, "-l", "calm, sad", "-f", "csv,eaf", "-o", "out"], seen


def told(lab):
    """What the results of a video tell of it: the sidecar, ELAN's link, whether there is one by folders, the table."""
    link = ElementTree.parse(lab / "out/anna.eaf").find(".//MEDIA_DESCRIPTOR")
    sidecar = json.loads((lab / "out/anna.json").read_text("utf-8"))["input"]
    table = (lab / "out/anna.csv").read_text("utf-8").splitlines()[1].split(",")[0]
    return sidecar, link.get("MEDIA_URL"), "RELATIVE_MEDIA_URL" in link.attrib, table


def test_a_recording_is_linked_to_its_video_and_to_no_other_of_that_name(labs):
    folder, asked, _ = labs
    for lab, found in (
        ("lab", ("../w/anna.mp4", "../w/anna.mp4", True, "w/anna.mp4")),
        ("other", ("anna.mp4", "anna.mp4", False, "w/anna.mp4")),
    ):
        done = emoclip("timeline", "../kept/anna.npz", *asked, cwd=folder / lab)
        assert done.returncode == 0, done.stderr
        assert told(folder / lab) == found


def test_a_video_that_was_recorded_under_another_name_is_told_as_it_is_named_now(labs):
    folder, asked, seen = labs
    shelf = ["--recordings", "../kept", *seen]
    done = emoclip("timeline", "../lab/w/anna.mp4", *shelf, *asked, cwd=folder / "other")
    assert done.returncode == 0, done.stderr
    way = "../../lab/w/anna.mp4"
    assert told(folder / "other") == (way, way, True, "../lab/w/anna.mp4")


def test_a_recording_among_videos_is_told_and_the_rest_is_recorded(labs):
    folder, _, seen = labs
    out = folder / "more"
    done = emoclip("watch", "w/anna.mp4", "../kept/anna.npz", *seen, "-o", out, cwd=folder / "lab")
    fails(done, r"\.\./kept/anna\.npz: is a recording already; ask it with `emoclip timeline`$")
    assert done.stdout.startswith(f"1 recorded in {out}, 0 recorded already, 1 failed")


def test_recordings_in_the_folder_that_is_watched_need_no_word(labs):
    folder, _, seen = labs
    (folder / "lab/w/notes.txt").touch()
    for out in ("recordings", "."):
        for line in ("1 recorded in", f"0 recorded in {out}, 1 recorded already"):
            done = emoclip("watch", ".", *seen, "-o", out, cwd=folder / "lab")
            assert (done.returncode, done.stdout[: len(line)]) == (0, line)
            assert done.stderr.strip().endswith(
                ": left out, no video or picture that is read by its name: notes.txt"
            )


def test_what_is_recorded_is_left_alone(watched, media):
    before = (watched[0] / "kept/single_face.npz").stat().st_mtime_ns
    done = emoclip("watch", media / "single_face.mp4", "-o", watched[0] / "kept")
    assert (done.returncode, done.stdout) == (0, f"0 recorded in {watched[0] / 'kept'}, 1 recorded already\n")
    assert (watched[0] / "kept/single_face.npz").stat().st_mtime_ns == before


def test_other_settings_are_an_error_that_says_so(watched, media):
    done = emoclip("watch", media / "single_face.mp4", "-o", watched[0] / "kept", "--min-face", 20)
    assert done.returncode == 1
    assert "recording of faces followed in another way; pass --force" in done.stderr


def test_a_folder_of_pictures_at_its_own_rate_and_its_recordings_by_the_folder(media, tmp_path):
    """`--fps` and `--each` as `predict` and `timeline` have them; a folder of recordings stands for them."""
    from PIL import Image

    for person in ("anna", "ben"):
        (tmp_path / "in" / person).mkdir(parents=True)
        for at in range(6):
            Image.open(media / "single_face.jpg").resize((320, 240)).save(tmp_path / f"in/{person}/{at}.png")
    done = emoclip("watch", tmp_path / "in", "-o", tmp_path / "kept", "--fps", 2, "--one-clip")
    assert (done.returncode, done.stderr) == (0, "")
    kept = Recording.read(tmp_path / "kept" / "ben.npz")
    assert [time_s for time_s, _ in kept.frames] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    asked = ["--labels", "calm, joyful", "--formats", "csv"]
    done = emoclip("timeline", tmp_path / "kept", *asked, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.csv")) == ["anna.csv", "ben.csv"]
    shelf = ["--recordings", tmp_path / "kept", "--fps", 2, "--one-clip"]
    done = emoclip("timeline", tmp_path / "in", *shelf, *asked, "-o", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    done = emoclip("watch", tmp_path / "in", "-o", tmp_path / "each", "--each")
    assert sorted(
        path.relative_to(tmp_path / "each").as_posix() for path in tmp_path.rglob("each/*/0.npz")
    ) == [*("anna/0.npz", "ben/0.npz")]


def test_record_reads_a_folder_at_the_rate_given(tmp_path):
    import numpy as np
    from PIL import Image

    from emoclip import EmoCLIP

    for at in range(4):
        Image.fromarray(np.full((48, 64, 3), 50, np.uint8)).save(tmp_path / f"{at}.png")
    kept = EmoCLIP.load().record(tmp_path, fps=4)
    assert [time_s for time_s, _ in kept.frames] == [0.0, 0.25, 0.5, 0.75]


def test_what_cannot_act_on_a_recording_is_said_and_its_own_settings_are_told(watched, tmp_path):
    recording = watched[0] / "kept/single_face.npz"
    asked = ["--labels", "calm, joyful", "--formats", "csv", "--detector", "haar", "--max-faces", 1]
    other = "fp32" if Recording.read(recording).key.form.startswith("int8") else "int8"
    asked += ["--precision", other, "--fps", 3]
    done = emoclip("timeline", recording, *asked, "--min-face", 100, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert (
        "single_face.npz: --detector haar, --max-faces 1, --fps 3, --precision "
        f"{other}: cannot act on a recording; ask the video, or " in line
    )
    told = json.loads((tmp_path / "single_face.json").read_text())
    assert told["settings"]["faces"] | {"detector": "yunet", "max_faces": 250} == told["settings"]["faces"]
    assert told["settings"]["faces"]["min_face_px"] == 100  # below is too_small, as of the video
    assert told["settings"]["recording"] == Recording.read(recording).key.told()
    assert told["warnings"][0] in line
    kept = emoclip("timeline", recording, "--embeddings-only", "-o", tmp_path / "again")
    fails(kept, "is an npz already; leave --embeddings-only out", code=2)


def test_shorter_windows_than_were_recorded_for_are_told_with_and_without_the_video(watched, media, tmp_path):
    asked = ["--labels", "calm, joyful", "--window", 1, "--formats", "csv", "--out"]
    kept = tmp_path / "kept/single_face.npz"
    kept.parent.mkdir()
    shutil.copy(watched[0] / "kept/single_face.npz", kept)
    shelf = [media / "single_face.mp4", "--recordings", kept.parent]
    for number, inputs in enumerate(([kept], shelf)):
        done = emoclip("timeline", *inputs, *asked, tmp_path / str(number))
        assert done.returncode == 0, done.stderr
        assert "recorded for windows of 2 s or longer, those of 1 s have fewer frames" in done.stderr
    assert (tmp_path / "0/single_face.csv").read_text() == (tmp_path / "1/single_face.csv").read_text()
    done = emoclip("timeline", *shelf, *asked, tmp_path / "1", "--force")
    assert (done.returncode, done.stderr) == (0, "")
    assert Recording.read(kept).key.rate == 32


def test_a_rate_makes_no_other_recording_of_a_video(watched, media, tmp_path):
    video, kept = media / "single_face.mp4", watched[0] / "kept"
    done = emoclip("watch", video, "-o", kept, "--fps", 3)
    assert done.returncode == 0, done.stderr
    assert "1 recorded already" in done.stdout
    asked = ["--recordings", kept, "--labels", "calm, joyful", "--formats", "csv", "--fps", 3]
    done = emoclip("timeline", video, *asked, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().endswith(": --fps 3: cannot act on a video, whose frames have their own times")
