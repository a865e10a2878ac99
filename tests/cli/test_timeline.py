"""`emoclip timeline` as a user runs it: files, resuming, exit codes, one-line errors, labels of every kind."""

import functools
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from commands import emoclip, fails
from packages import tiny_package

from emoclip.recording import Recording

NASTY = 'a, "b"\tc\nd <e> & f'


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(tiny_package(tmp_path_factory.mktemp("tiny") / "p"))


@pytest.fixture
def timeline(tiny, tmp_path):
    """Return a function that runs it on one model and into one folder, if nothing else is said."""

    def call(*arguments, labels="calm, joyful"):
        return emoclip("timeline", "--model", tiny, "--labels", labels, "--out", tmp_path / "out", *arguments)

    return call


def make_video(path, seconds=2.0, *, fps=10, size=(64, 48), codec="mpeg4"):
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        for at in range(round(seconds * fps)):
            picture = np.full((size[1], size[0], 3), at % 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def served(media, tmp_path):
    """Yield where a server gives a real video to whoever asks, `HOST:PORT`: one that is read front to back."""
    (tmp_path / "served").mkdir()
    with av.open(media / "single_face.mp4") as video, av.open(tmp_path / "served" / "talk.mkv", "w") as copy:
        stream = copy.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Silent, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("video", ["talk.mkv", "no.mkv"])
def test_no_password_or_token_of_an_address_goes_into_an_output_or_message(
    timeline, tiny, served, tmp_path, video
):
    address = f"http://kim:s3cret@{served}/{video}?token=t0ken"
    done = timeline(address, "-f", "csv,html,jsonl,vtt,boris,npz", "--end", "1")
    lines = emoclip("timeline", address, "-m", tiny, "-o", "-", "--end", "1")
    record = emoclip("predict", address, "-m", tiny, "--json", "-", "--end", "1")
    for each in (done, lines, record):
        assert each.returncode == int(video == "no.mkv"), each.stderr
    said = [done.stdout, done.stderr, lines.stdout, lines.stderr, record.stdout, record.stderr]
    made = [path for path in (tmp_path / "out").glob("*") if path.suffix != ".npz"]
    for text in [*said, *map(Path.read_text, made), *map(str, made)]:
        assert not re.search("kim|s3cret|t0ken", text)
    if video == "talk.mkv":
        name = f"{served.replace(':', '-')}-talk"
        sidecar = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert sidecar["input"] == f"http://{served}/talk.mkv"
        assert f"http://{served}/talk.mkv " in sidecar["command"]
        assert Recording.read(tmp_path / "out" / f"{name}.npz").name == sidecar["input"]


def test_by_default_a_table_a_page_and_a_sidecar_are_written(timeline, tmp_path):
    done = timeline(make_video(tmp_path / "talk.mp4", 4.0))
    assert done.returncode == 0
    assert "1 done; results in" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "talk.csv",
        "talk.html",
        "talk.json",
    ]
    rows = pd.read_csv(tmp_path / "out" / "talk.csv")
    seen = "size,sharpness,exposure,yaw,pitch,roll"
    columns = f"input,track_id,start_s,end_s,status,coverage,score,{seen},top,prob:calm,prob:joyful"
    assert ",".join(rows.columns) == columns
    assert list(rows["start_s"]) == [0.0, 0.5, 1.0, 1.5, 2.0]
    record = json.loads((tmp_path / "out" / "talk.json").read_text())
    assert record["command"].startswith("emoclip timeline --model")
    again = timeline(tmp_path / "talk.mp4")
    assert again.returncode == 0
    assert "1 skipped (results there already)" in again.stdout


def test_labels_with_every_awkward_character_survive_every_format(timeline, tmp_path, media):
    pytest.importorskip("pympi", reason="pympi-ling (extra formats) is not installed")
    from pympi.Elan import Eaf

    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({NASTY: ["one"], "ordinary": ["a calm face"]}))
    formats = "csv,parquet,jsonl,eaf,vtt,boris,bids,html,overlay"
    source = media / "single_face.mp4"
    done = timeline(
        source, "--end", "0.7", "--formats", formats, "--enter", "0.1", "--leave", "0.1", labels=prompts
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert f"prob:{NASTY}" in pd.read_csv(out / "single_face.csv").columns
    assert f"prob:{NASTY}" in pd.read_parquet(out / "single_face.parquet").columns
    assert NASTY in json.loads((out / "single_face.jsonl").read_text().splitlines()[0])["probs"]
    assert list(Eaf(out / "single_face.eaf").get_tier_names()) == ["track 0"]
    assert NASTY in json.loads((out / "single_face.json").read_text())["labels"]


def test_json_lines_stream_to_stdout_and_nothing_else(timeline, tmp_path):
    done = timeline(make_video(tmp_path / "talk.mp4"), "--out", "-")
    assert done.returncode == 0
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["no_face"]


@pytest.mark.parametrize(
    "given",
    ["--smooth=1", "--enter=1.5", "--leave=1", "--min-segment=1", "--jobs=2", "--blur", "--absolute-paths"],
)
def test_what_cannot_act_on_lines_as_they_come_is_a_usage_error(timeline, tmp_path, given):
    done = timeline(make_video(tmp_path / "talk.mp4"), "--out", "-", given)
    fails(done, f"--out -: {given.split('=')[0]} cannot act on windows that go out as they come", code=2)


def test_lines_are_read_of_recordings_and_what_was_watched_is_kept(timeline, tmp_path, media):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "no.mp4").write_text("no video at all")
    inputs, kept = (tmp_path / "a", media / "single_face.mp4"), tmp_path / "kept"
    asked = ("--out", "-", "--recordings", kept, "--window", "1")
    first, plain = timeline(*inputs, *asked), timeline(media / "single_face.mp4", "--out", "-", "--window=1")
    assert (first.returncode, plain.returncode) == (1, 0)  # of the first, one is no video
    assert first.stdout == plain.stdout
    assert [path.name for path in kept.iterdir()] == ["single_face.npz"]
    made = (kept / "single_face.npz").read_bytes()
    again = timeline(*inputs, *asked)
    assert again.stdout == plain.stdout
    assert (kept / "single_face.npz").read_bytes() == made
    other = timeline(media / "no_face.mp4", *asked)
    assert other.returncode == 0
    Path(kept / "no_face.npz").write_bytes(made)
    both = timeline(media / "no_face.mp4", media / "single_face.mp4", *asked)
    fails(both, r"no_face\.npz: is a recording of another input; pass --force")
    assert both.stdout == plain.stdout  # it stops nobody else


def test_a_pipe_works_like_a_file(tiny, tmp_path):
    make_video(tmp_path / "a.ts", 4.0, fps=25, codec="mpeg2video")
    with open(tmp_path / "a.ts", "rb") as pipe:
        arguments = ["timeline", "-", "--model", tiny, "--out", str(tmp_path / "out"), "--formats", "csv"]
        command = [sys.executable, "-m", "emoclip", *arguments]
        done = subprocess.run(command, stdin=pipe, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "out" / "stdin.csv")) == 5


def test_one_bad_input_among_good_ones_is_told_and_the_rest_are_done(timeline, tmp_path):
    (tmp_path / "text.mp4").write_text("no video at all")
    make_video(tmp_path / "good.mp4")
    done = timeline(tmp_path / "text.mp4", tmp_path / "good.mp4", "--formats", "csv")
    fails(done, r"text\.mp4")
    assert "1 done, 1 failed" in done.stdout
    assert (tmp_path / "out" / "good.csv").exists()
    assert not (tmp_path / "out" / "text.csv").exists()


def test_a_sound_file_has_no_video_stream(timeline, tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    fails(timeline(tmp_path / "sound.mp4"), "only sound")


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (["--formats", "csv,docx"], "'docx' is none of", 2),
        (["--formats", "overlay", "--embeddings-only"], "embeddings-only", 2),
        (["--faces", "some"], "faces='some'", 2),
        (["--baseline", "3-2"], "the end must come after the start", 2),
        (["--labels", "one"], "at least 2", 2),
        (["--start", "60"], "past the end", 1),
    ],
)
def test_settings_that_cannot_be_are_one_line(timeline, tmp_path, options, said, code):
    fails(done := timeline(make_video(tmp_path / "talk.mp4"), *options), said, code)
    assert "results in" not in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--step", "3"], "--step 3 must not be above --window 2"),
        (["--end", "1", "--start", "2"], "--end 1 must be after --start 2"),
        (["--enter", "1", "--leave", "2"], "--leave 2 must not be above --enter 1"),
        (["--out", "-", "--formats", "eaf"], "--out -: streams JSON lines and nothing else"),
    ],
)
def test_options_that_contradict_each_other_are_named(timeline, tmp_path, options, said):
    fails(timeline(make_video(tmp_path / "talk.mp4"), *options), said, code=2)


@pytest.mark.parametrize(
    ("command", "out", "said"),
    [
        ("timeline", "talk.mp4", "is a file"),
        ("watch", "talk.mp4", "is a file"),
        ("watch", "-", "stdout is not"),
    ],
)
def test_a_folder_that_is_none_is_told_before_the_model_is_opened(tmp_path, command, out, said):
    make_video(tmp_path / "talk.mp4")
    fails(emoclip(command, "talk.mp4", "-m", "absent", "--out", out, cwd=tmp_path), f"{out}: .*{said}")


def test_nothing_to_read_is_one_line(timeline):
    fails(timeline(), "name a video", code=2)


def test_a_window_longer_than_the_video_gives_one_row(timeline, tmp_path):
    done = timeline(make_video(tmp_path / "talk.mp4", 1.0), "--window", "60", "--formats", "csv")
    assert done.returncode == 0
    rows = pd.read_csv(tmp_path / "out" / "talk.csv")
    assert list(zip(rows["start_s"], rows["end_s"], strict=True)) == [(0.0, 0.9)]


def test_a_clock_that_jumps_back_is_mended_and_told(timeline, tmp_path):
    part = make_video(tmp_path / "part.ts", 3.0, fps=25, codec="mpeg2video").read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    done = timeline(tmp_path / "joined.ts", "--formats", "csv")
    assert done.returncode == 0, done.stderr
    assert "timestamps jump" in done.stderr
    rows = pd.read_csv(tmp_path / "out" / "joined.csv")
    assert rows["start_s"].is_monotonic_increasing
    assert rows["end_s"].iloc[-1] == pytest.approx(6.0, abs=0.3)


def test_a_picture_size_that_changes_on_the_way_is_followed_and_told(timeline, tmp_path):
    parts = [
        make_video(tmp_path / f"{width}.ts", 2.0, fps=25, size=(width, 48), codec="mpeg2video")
        for width in (64, 96)
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    done = timeline(tmp_path / "joined.ts", "--formats", "csv,html,overlay")
    assert done.returncode == 0, done.stderr
    assert "picture size changes to 96x48" in done.stderr
    assert len(pd.read_csv(tmp_path / "out" / "joined.csv")) == 5
    with av.open(str(tmp_path / "out" / "joined.overlay.mp4")) as overlay:
        assert {(frame.width, frame.height) for frame in overlay.decode(video=0)} == {(64, 48)}


def test_other_peoples_files_in_the_output_folder_stay(timeline, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "talk.csv").write_text("mine")
    make_video(tmp_path / "talk.mp4")
    fails(timeline(tmp_path / "talk.mp4"), r"talk\.csv: exists already; pass --force")
    assert (tmp_path / "out" / "talk.csv").read_text() == "mine"
    assert timeline(tmp_path / "talk.mp4", "--force").returncode == 0


def test_interrupted_it_leaves_nothing_half_done_and_goes_on_afterwards(tiny, tmp_path, media):
    make_video(tmp_path / "in1.mp4")
    part = make_video(tmp_path / "part.ts", 3.0, fps=25, codec="mpeg2video").read_bytes()
    slow = tmp_path / "in2.ts"
    slow.write_bytes(part * 2000)
    arguments = [
        "--model",
        tiny,
        "--labels",
        "calm, joyful",
        "--out",
        str(tmp_path / "out"),
        "--formats",
        "csv",
    ]
    command = [sys.executable, "-m", "emoclip", "timeline", str(tmp_path / "in1.mp4"), str(slow), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for _ in range(300):
        time.sleep(0.1)
        sidecar = tmp_path / "out" / "in1.json"
        if sidecar.exists() and json.loads(sidecar.read_text())["complete"]:
            break
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["in1.csv", "in1.json"]
    done = emoclip("timeline", tmp_path / "in1.mp4", slow, *arguments, "--end", "0.5")
    assert done.returncode == 1  # other settings than before
    assert "holds results of other settings" in done.stderr
    assert "1 done, 1 failed" in done.stdout


def test_blur_makes_an_overlay_and_a_rerun_takes_none_for_an_input(timeline, tmp_path):
    make_video(tmp_path / "study" / "talk.mp4")
    asked = (tmp_path / "study", "--formats", "csv,overlay", "--blur", "--out", tmp_path / "study")
    assert timeline(*asked).returncode == 0
    made = sorted(path.name for path in (tmp_path / "study").iterdir())
    assert made == ["talk.csv", "talk.json", "talk.mp4", "talk.overlay.mp4"]
    again = timeline(*asked)
    assert again.returncode == 0
    assert "1 skipped (results there already)" in again.stdout
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == made
