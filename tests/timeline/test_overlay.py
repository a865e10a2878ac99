"""Overlays, decoded again and looked at."""

import contextlib
import os
import threading

import av
import cv2
import numpy as np
import pytest
from PIL import ImageDraw, ImageFont, features
from videos import noise, write

from emoclip.config import FaceConfig, SegmentConfig
from emoclip.drawing.fonts import font
from emoclip.errors import InputError
from emoclip.faces.detectors import open_detector
from emoclip.results import Timeline, Window
from emoclip.timeline.overlay import _draw, write_overlay
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


def panels(boxes, size=(640, 360), label="smiling", letters=14):
    """The rectangles of panels that are drawn for these face boxes, and the text of each."""
    probs = {label: 0.7, "sad": 0.2, "angry": 0.1}
    window = Window(0, 0.0, 2.0, "ok", 1.0, 0.9, label, probs)
    told, filled = [], []
    with pytest.MonkeyPatch.context() as patch:
        text, rectangle = ImageDraw.ImageDraw.multiline_text, ImageDraw.ImageDraw.rectangle

        def tell(self, xy, words, **more):
            told.append((words, self.multiline_textbbox(xy, words, font=more["font"])))
            return text(self, xy, words, **more)

        def fill(self, xy, **more):
            if "fill" in more:
                filled.append(xy)
            return rectangle(self, xy, **more)

        patch.setattr(ImageDraw.ImageDraw, "multiline_text", tell)
        patch.setattr(ImageDraw.ImageDraw, "rectangle", fill)
        drawn = [(at, box, window) for at, box in enumerate(boxes)]
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        _draw(picture, drawn, font(letters), {})
    return [(panel, *told[at]) for at, panel in enumerate(filled)]


def apart(one, other):
    return one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]


def row(count, side, size, gap):
    return [
        (gap + at * (side + gap), 120.0, gap + at * (side + gap) + side, 120.0 + side) for at in range(count)
    ]


@pytest.mark.parametrize(
    ("boxes", "least"),
    [
        (row(5, 90.0, 640, 30.0), 5),
        (row(10, 50.0, 640, 12.0), 5),
        ([(x, y, x + 60.0, y + 60.0) for x in range(4, 600, 70) for y in range(4, 300, 70)], 0),
        ([(560.0, 20.0, 640.0, 120.0)], 1),  # at the right edge
        ([(-20.0, 300.0, 70.0, 380.0)], 1),  # partly outside
    ],
)
def test_no_panel_lies_on_a_face_or_on_another_or_is_cut(boxes, least):
    shown = panels(boxes)
    for at, (panel, _, ink) in enumerate(shown):
        assert all(apart(panel, box) for box in boxes)
        assert all(apart(panel, other) for other, *_ in shown[:at])
        assert min(panel) >= 0
        assert np.all(np.array(panel[2:]) < (640, 360))
        # Every letter, descenders too, has black around it.
        assert np.all(np.sign(np.subtract(ink, panel)) == (1, 1, -1, -1))
    assert len(shown) >= least


def test_a_panel_has_one_line_where_the_whole_finds_no_room_and_is_none_where_that_does_not():
    (_, whole, _), *_ = panels([(200.0, 100.0, 300.0, 220.0)])
    assert whole == "face 0\n0.70 smiling\n0.20 sad\n0.10 angry"
    # Less room takes labels away, the weakest first; then it takes whose they are.
    boxes = [(212.0, 8.0, 413.0, 309.0), (500.0, 69.0, 651.0, 293.0)]  # the second has room above alone
    _, (_, fewer, _) = panels(boxes, (800, 360), "smiling or laughing")
    assert fewer == "face 1\n0.70 smiling or laughing\n0.20 sad"
    ((_, line, _),) = panels([(20.0, 30.0, 620.0, 330.0)])
    assert line == "0.70 smiling"
    assert not panels([(5.0, 5.0, 635.0, 355.0)])


def test_a_label_that_is_cut_says_so():
    ((_, whole, _),) = panels(
        [(200.0, 100.0, 300.0, 220.0)], label="a smile that goes on and on and on and on"
    )
    assert "0.70 a smile that goes on and on and…" in whole.splitlines()


def test_the_whole_frame_has_its_panel_inside():
    ((panel, _, _),) = panels([(0.0, 0.0, 640.0, 360.0)])
    assert panel[0] > 320


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


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow without libraqm tells no directions apart")
@pytest.mark.parametrize("label", ["سعيد", "שמח"])
def test_figures_stand_before_labels_from_right_to_left(label):
    def ink(told, width=300):
        """Columns with ink in the line of its panel, from the panel on."""
        window = Window(0, 0.0, 2.0, "ok", 1.0, 0.9, label, {told: 0.71})
        picture = _draw(
            np.zeros((80, width, 3), np.uint8), [(0, (2.0, 2.0, 60.0, 78.0), window)], letters, {}
        )
        return np.flatnonzero(picture[26:50, 62:].max(axis=(0, 2)) > 100)

    letters = font(14, "سعيدשמח")
    figure = round(letters.getlength("0.71"))
    alone, both = ink("a"), ink(label)
    # The same figure at the same place, whatever follows it.
    assert [at for at in both if at < alone[0] + figure - 1] == [
        at for at in alone if at < alone[0] + figure - 1
    ]


def test_letters_that_take_no_direction_are_drawn():
    letters = ImageFont.load_default(14)  # set without libraqm
    window = Window(0, 0.0, 2.0, "ok", 1.0, 0.9, "smiling", {"smiling": 0.7})
    picture = _draw(np.zeros((80, 300, 3), np.uint8), [(0, (2.0, 2.0, 60.0, 78.0), window)], letters, {})
    assert picture[:, 62:].any()
