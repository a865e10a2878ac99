import pytest
from commands import emoclip

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
