"""Running ahead in threads: the same results in order, within bounds, with errors, and an end to every thread."""

import contextlib
import io
import itertools
import subprocess
import sys
import threading
import time

import av
import cv2
import numpy as np
import pytest
from packages import tiny_package
from videos import noise, write

from emoclip import EmoCLIP
from emoclip.config import FaceConfig
from emoclip.errors import InputError
from emoclip.video.ahead import Ahead, one_opencv_thread, working
from emoclip.video.inputs import Video, open_video

CLIP = "WolfgangLanger_Pexels.mp4"
ALL = FaceConfig(mode="all")


def ahead(items, limit=100):
    return Ahead(iter(items), limit=limit, weigh=lambda item: 10)


def test_interrupted_while_its_thread_starts_it_still_closes_at_exit(monkeypatch):
    at_exit = []

    def interrupted(thread):
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    monkeypatch.setattr("atexit.register", at_exit.append)
    monkeypatch.setattr("emoclip.video.ahead._ending", False)  # put back afterwards
    with pytest.raises(KeyboardInterrupt):
        ahead([1, 2])
    for close in at_exit:
        close()
    assert at_exit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_package(tmp_path_factory.mktemp("tiny") / "p", frames_per_clip=4))


@pytest.fixture(scope="module")
def two(folder):
    model = EmoCLIP.load(folder)
    model.runtime.threads = 2  # stages run ahead, however many cores the tests have
    return model


def raw(seen):
    """Everything of a seen frame, to the byte."""
    return [
        (
            frame.index,
            frame.time_s,
            [
                (one.face, None if one.embedding is None else (one.embedding.tobytes(), one.crop.tobytes()))
                for one in frame.faces
            ],
        )
        for frame in seen
    ]


def test_items_come_whole_and_in_order():
    assert list(ahead(range(1000))) == list(range(1000))
    assert list(ahead([])) == []


def test_no_more_than_the_limit_waits():
    made = []

    def items():
        for item in range(100):
            made.append(item)
            yield item

    with ahead(items(), limit=50) as stream:
        assert next(stream) == 0
        time.sleep(0.2)
        assert len(made) <= 1 + 5 + 1  # taken, waiting, and the one that has no room yet
    with ahead(items(), limit=1) as heavy:  # heavier than the limit, but it must pass
        assert list(heavy) == list(range(100))


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield from range(3)
        raise InputError("the disk is gone")

    stream, taken = ahead(items()), []
    with pytest.raises(InputError, match="the disk is gone"):
        taken.extend(stream)
    assert taken == [0, 1, 2]
    assert list(stream) == []


def test_closing_ends_the_thread_of_an_endless_source():
    before = threading.active_count()
    stream = ahead(iter(int, 1))
    assert next(stream) == 0
    stream.close()
    assert threading.active_count() == before
    assert list(stream) == []
    stream.close()


def test_opencv_gets_its_threads_back():
    before = cv2.getNumThreads()
    with one_opencv_thread():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


def test_opencv_gets_its_threads_back_from_calls_that_overlap():
    before, first, second = cv2.getNumThreads(), one_opencv_thread(), one_opencv_thread()
    cv2.setNumThreads(3)
    try:
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert cv2.getNumThreads() == 1  # the second still needs it
        second.__exit__(None, None, None)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


DAEMON = """
import sys, threading, time
from emoclip import EmoCLIP
model, begun = EmoCLIP.load(sys.argv[1], threads=int(sys.argv[3])), threading.Event()
def work():
    while True:
        found = model.classify(sys.argv[2], ["smiling", "sad"], faces=sys.argv[4], progress=lambda s: begun.set())
        if found.duration_s != 2 or found.faces and found.faces[0].frames != 50:
            print("cut short")
threading.Thread(target=work, daemon=True).start()
begun.wait()
time.sleep(0.1)
"""


@pytest.mark.parametrize(("threads", "mode"), [(1, "all"), (2, "all"), (2, "full")])
def test_a_program_ends_well_while_a_daemon_thread_of_it_is_at_work(folder, tmp_path, threads, mode):
    film = write(tmp_path / "a.mp4", noise(50, (240, 320)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DAEMON, folder, film, str(threads), mode],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_of_a_program_that_ends_end_as_it_does(monkeypatch):
    given = []

    def work(stream):
        try:
            given.extend(stream)
        except SystemExit:  # silent in a thread
            given.append("ended")

    with ahead(iter(int, 1), limit=10) as endless:
        monkeypatch.setattr("emoclip.video.ahead._ending", True)
        endless.close()
        for stream in (endless, working(iter([1, 2]))):
            thread = threading.Thread(target=work, args=[stream])
            thread.start()
            thread.join()
    assert given == ["ended", "ended"]
    assert list(working(iter([1, 2]))) == [1, 2]  # of the main thread: functions called at the end may ask


@pytest.mark.parametrize(("name", "end_s"), [(CLIP, 3.0), ("face_noface.mov", 3.0), ("multi_face.jpg", None)])
@pytest.mark.parametrize("mode", ["all", "full"])
def test_what_is_seen_is_the_same_to_the_byte_with_one_thread_and_with_stages(two, media, name, end_s, mode):
    def seen(blocking):
        with open_video(media / name, end_s=end_s) as video:
            video.blocking = blocking  # which makes it run without threads
            return raw(two.watch(video, FaceConfig(mode=mode), 12.0)), video.warnings

    assert seen(blocking=False) == seen(blocking=True)


def test_transparent_frames_may_be_asked_in_two_stages(two, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (64, 96, 4), np.uint8)) for _ in range(30)]
    path = tmp_path / "moving.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    with open_video(path) as video:
        assert len(list(two.watch(video, ALL, 25.0))) == 30


@pytest.mark.parametrize("stop", ["break", "error", "close the video"])
def test_stopping_early_ends_the_threads_before_the_video_is_closed(two, media, stop, monkeypatch):
    before = threading.active_count()
    alive = []
    close = Video.close

    def closing(video):
        close(video)
        alive.append(video._ahead._thread.is_alive())

    monkeypatch.setattr(Video, "close", closing)
    with contextlib.suppress(KeyboardInterrupt), open_video(media / CLIP) as video:
        for frame in two.watch(video, ALL, 8.0):
            if frame.index == 40:
                if stop == "error":
                    raise KeyboardInterrupt
                if stop == "close the video":
                    video.close()
                break
    assert not any(alive)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_an_error_in_the_middle_of_a_video_is_raised_to_the_reader(two, media, monkeypatch):
    from emoclip.faces import FaceFollower

    update = FaceFollower.update

    def failing(self, frame):
        if frame.index == 30:
            raise InputError("frame 30 is odd")
        return update(self, frame)

    monkeypatch.setattr(FaceFollower, "update", failing)
    seen = []
    with pytest.raises(InputError, match="frame 30 is odd"), open_video(media / CLIP) as video:
        seen.extend(frame.index for frame in two.watch(video, ALL, 8.0, batch=1))
    assert seen == list(range(30))


def test_damage_is_told_the_same(two, media, tmp_path):
    data = bytearray((media / CLIP).read_bytes())
    data[len(data) // 3 : len(data) // 3 + 4000] = bytes(4000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)

    def read(blocking):
        with open_video(path, end_s=9.0) as video:
            video.blocking = blocking
            return raw(two.watch(video, FaceConfig(mode="full"), 1.0)), video.warnings

    threaded, plain = read(False), read(True)
    assert threaded == plain
    assert plain[1]


def test_what_cannot_be_hurried_is_not_read_ahead(two, media, tmp_path):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    webm = tmp_path / "clip.webm"
    subject = media / CLIP
    with av.open(str(subject)) as source, av.open(str(webm), "w") as target:
        stream = target.add_stream("vp8", rate=25)
        stream.width, stream.height = 64, 48
        for frame in itertools.islice(source.decode(video=0), 5):
            target.mux(stream.encode(frame.reformat(64, 48)))
        target.mux(stream.encode())
    data = webm.read_bytes()
    threads = threading.active_count()
    for source, blocking in ((Pipe(data), True), (io.BytesIO(data), False), (webm, False)):
        with open_video(source) as video:
            assert video.blocking is blocking
            seen = two.watch(video, ALL, 8.0, batch=1)
            assert next(seen).index == 0
            assert (video._ahead is None) is blocking
            assert len(list(seen)) == 4
        assert threading.active_count() == threads
