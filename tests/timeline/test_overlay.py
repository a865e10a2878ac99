"""Overlays, decoded again and looked at."""

import contextlib
import os
import threading

import av
import cv2
import numpy as np
import pytest
from videos import noise, write

from emoclip.config import FaceConfig, SegmentConfig
from emoclip.errors import InputError
from emoclip.faces.detectors import open_detector
from emoclip.results import Timeline, Window
from emoclip.timeline.overlay import write_overlay
from emoclip.timeline.segments import find_segments, summarise
from emoclip.video import read_picture

LABELS = ["smiling", "cry,\ning"]
FACES = FaceConfig(mode="all")
FULL = FaceConfig(mode="full")


def timeline(name, seconds=4.0):
    rows = [
        Window(0, start, start + 2.0, "ok", 1.0, 0.9, "smiling", {"smiling": 0.8, "cry,\ning": 0.2})
        for start in np.arange(0, max(seconds - 2, 0.1), 0.5)
    ]
    segments = find_segments(rows, LABELS, SegmentConfig())
    return Timeline(str(name), "mini", LABELS, seconds, rows, segments, *summarise(rows, segments, LABELS))


def decoded(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def test_frames_keep_their_variable_times_and_show_box_and_labels(media, tmp_path):
    source, out = media / "face_noface.mov", tmp_path / "o.mp4"
    write_overlay(timeline(source, 6.4), source, out, faces=FACES, end_s=1.0)
    drawn = decoded(out)
    with av.open(str(source)) as container:
        originals = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    originals = [frame for frame in originals if frame[0] < 1.0]
    assert [time_s for time_s, _ in drawn] == pytest.approx([time_s for time_s, _ in originals], abs=1e-4)
    # What was drawn is orange (the first track's colour) on black; nothing of it is in the original.
    orange = [np.all(np.abs(picture.astype(int) - (230, 159, 0)) < 60, axis=2).sum() for _, picture in drawn]
    plain = [
        np.all(np.abs(picture.astype(int) - (230, 159, 0)) < 60, axis=2).sum() for _, picture in originals
    ]
    assert min(orange[2:]) > 1500 + max(plain)


def test_the_track_is_as_long_as_its_last_frame_is_shown(tmp_path):
    source, out = tmp_path / "variable.mkv", tmp_path / "o.mp4"
    write(source, noise(30), stamps=[(at + at * at) * 10 // 3 for at in range(30)])  # ever slower
    write_overlay(timeline(source, 3.0), source, out, faces=FULL)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert 2.9 < float(stream.duration * stream.time_base) < 3.0  # the last is shown at 2.9 s


def test_blur_leaves_no_face_to_be_found(media, tmp_path):
    source, out = media / "single_face.mp4", tmp_path / "o.mp4"
    write_overlay(timeline(source), source, out, faces=FACES, end_s=0.8, blur=True)
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def faces(pictures):
        return sum(
            len(cascade.detectMultiScale(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), 1.1, 6, minSize=(60, 60)))
            for p in pictures
        )

    hidden = [picture for _, picture in decoded(out)][::4]
    with av.open(str(source)) as container:
        open_faces = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][
            : 4 * len(hidden) : 4
        ]
    assert faces(open_faces) >= len(hidden)
    assert faces(hidden) == 0


@pytest.mark.parametrize("way", [1, -1])
def test_blur_goes_with_faces_that_come_to_lie_on_their_side(media, tmp_path, way):
    group = cv2.resize(read_picture(media / "multi_face.jpg"), (640, 427), interpolation=cv2.INTER_AREA)
    group = cv2.copyMakeBorder(group, 140, 141, 34, 34, cv2.BORDER_CONSTANT, value=(90, 90, 90))
    angles = [way * min(2 * at, 86) for at in range(60)]

    def turned(picture, angle):
        middle = (picture.shape[1] / 2, picture.shape[0] / 2)
        return cv2.warpAffine(picture, cv2.getRotationMatrix2D(middle, angle, 1), picture.shape[1::-1])

    film = np.stack([turned(group, angle) for angle in angles])
    write_overlay(timeline("array"), film, tmp_path / "o.mp4", faces=FACES, blur=True)
    shown = [
        turned(picture, -angle)
        for (_, picture), angle in zip(decoded(tmp_path / "o.mp4"), angles, strict=True)
    ]
    detector = open_detector("yunet")
    assert len(detector.find(group, 0.7)) >= 5
    assert [at for at, picture in enumerate(shown) if detector.find(picture, 0.7)] == []


def test_odd_sides_become_even_without_scaling(tmp_path):
    pictures = [np.full((51, 63, 3), 200, np.uint8)] * 3
    write_overlay(timeline("array"), np.stack(pictures), tmp_path / "o.mp4", faces=FACES)
    shapes = {picture.shape for _, picture in decoded(tmp_path / "o.mp4")}
    assert shapes == {(52, 64, 3)}


def test_a_size_that_changes_on_the_way_is_fitted(tmp_path):
    pictures = [np.full((120, 160, 3), 200, np.uint8), np.full((240, 200, 3), 200, np.uint8)]
    write_overlay(timeline("list"), pictures, tmp_path / "o.mp4", faces=FULL)
    second = decoded(tmp_path / "o.mp4")[1][1]
    assert second.shape == (120, 160, 3)
    assert second[110, 50].mean() > 150  # 240 x 200 fits as 120 x 100; right of it is black
    assert second[110, 150].mean() < 50


def test_a_pipe_is_refused_since_it_cannot_be_read_twice(tmp_path):
    with av.open(str(tmp_path / "a.ts"), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height = 64, 48
        for _ in range(50):
            picture = np.full((48, 64, 3), 120, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    os.mkfifo(tmp_path / "pipe")
    data = (tmp_path / "a.ts").read_bytes()

    def feed():
        with contextlib.suppress(BrokenPipeError):
            (tmp_path / "pipe").write_bytes(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with pytest.raises(InputError, match="read it twice"):
        write_overlay(timeline("pipe"), tmp_path / "pipe", tmp_path / "o.mp4", faces=FACES)
    feeder.join()
