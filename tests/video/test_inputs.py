"""Frames and times of real files, written here with PyAV or recorded, against PyAV's own and known pixels."""

import gc
import io
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from videos import noise, read, write

from emoclip.errors import ConfigError, InputError
from emoclip.recording import Key, Recording
from emoclip.video.containers import Clock
from emoclip.video.frames import Notes
from emoclip.video.inputs import Frame, open_video
from emoclip.video.pictures import natural_order


def shade(i, size=(64, 96)):
    """A picture that can be told from its neighbours: a bright corner top left, grey level by number."""
    picture = np.full((*size, 3), 40 + (i % 100), np.uint8)
    picture[: size[0] // 4, : size[1] // 4] = 250
    return picture


def own_times(path):
    """PyAV's timestamps, read in the plainest way."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    "name", ["face_noface.mov", "single_face.mp4", "WolfgangLanger_Pexels.mp4", "no_face.mp4"]
)
def test_times_are_the_containers_own(media, name):
    frames, video = read(media / name)
    assert [frame.time_s for frame in frames] == own_times(media / name)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert video.warnings == []


def test_pixels_equal_pyavs_own_conversion(media):
    path = media / "single_face.mp4"
    with av.open(str(path)) as container:
        truth = next(container.decode(video=0)).to_ndarray(format="rgb24")
    frame = read(path, end_s=0.01)[0][0]
    assert np.abs(frame.image.astype(int) - truth).max() <= 2


def test_grey_is_the_small_luma_of_the_same_picture(media):
    frame = next(iter(open_video(media / "single_face.mp4")))
    grey = frame.grey(320)
    assert grey.shape == (180, 320)
    assert grey.dtype == np.uint8
    from_colour = Frame(0, 0.0, frame.image).grey(320)
    assert np.corrcoef(grey.ravel(), from_colour.ravel())[0, 1] > 0.999


def test_grey_is_never_enlarged():
    assert Frame(0, 0.0, shade(0)).grey(500).shape == (64, 96)


def test_variable_frame_rate_keeps_every_timestamp(tmp_path):
    stamps = [0, 14, 55, 70, 110, 500, 533, 900]
    path = write(tmp_path / "vfr.mkv", [shade(9 * i) for i in range(8)], stamps=stamps)
    frames, _ = read(path)
    assert [frame.time_s for frame in frames] == pytest.approx([stamp / 1000 for stamp in stamps])


@pytest.mark.parametrize(("turn", "corner"), [(90, "bottom left"), (-90, "top right"), (180, "bottom right")])
def test_rotation_flag_turns_the_picture_upright(tmp_path, turn, corner):
    # FFmpeg's display matrix names the counterclockwise turn; the bright corner starts top left.
    path = write(tmp_path / "turned.mp4", [shade(i) for i in range(3)], turn=turn)
    frames, video = read(path)
    size = (64, 96) if turn == 180 else (96, 64)
    assert frames[0].image.shape == (*size, 3)
    assert (video.height, video.width) == size
    rows = slice(-8, None) if "bottom" in corner else slice(0, 8)
    columns = slice(-8, None) if "right" in corner else slice(0, 8)
    assert frames[0].image[rows, columns].min() > 200
    assert frames[0].grey(48)[rows, columns][2:-2, 2:-2].min() > 180


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = tmp_path / "anamorphic.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 144, 108, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(shade(0, (108, 144)), format="rgb24")))
        container.mux(stream.encode())
    assert read(path)[0][0].image.shape == (108, 192, 3)


@pytest.mark.parametrize(
    ("size", "codec", "pix_fmt"),
    [((63, 97), "ffv1", "yuv444p"), ((64, 96), "ffv1", "gray"), ((65, 95), "ffv1", "yuv420p10le")],
)
def test_odd_sizes_grey_and_deep_colour(tmp_path, size, codec, pix_fmt):
    path = write(tmp_path / "odd.mkv", [shade(7, size)] * 2, codec=codec, pix_fmt=pix_fmt)
    frames, _ = read(path)
    assert len(frames) == 2
    assert np.abs(frames[0].image.astype(int) - shade(7, size)).max() <= 6
    assert frames[0].grey(50).shape[1] == 50


def test_transparent_video_is_laid_over_white(tmp_path):
    picture = np.zeros((64, 96, 4), np.uint8)
    picture[:, :48] = (200, 0, 0, 255)
    path = write(tmp_path / "clear.mov", [picture] * 2, codec="png", pix_fmt="rgba")
    image = read(path)[0][0].image
    assert tuple(image[5, 5]) == (200, 0, 0)
    assert tuple(image[5, 90]) == (255, 255, 255)


@pytest.mark.parametrize("sizes", [((96, 64), (128, 96)), ((128, 96), (96, 64)), ((96, 64), (96, 64))])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_of_several_video_streams_it_is_said_which_is_read(tmp_path, sizes, ending):
    path = tmp_path / f"two.{ending}"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in sizes]
        for stream, (stream.width, stream.height) in zip(streams, sizes, strict=True):
            stream.pix_fmt = "yuv420p"
        for i in range(10):
            for stream, (width, height) in zip(streams, sizes, strict=True):
                frame = av.VideoFrame.from_ndarray(shade(i, (height, width)), format="rgb24")
                frame.pts = i
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    for start_s in (0.0, 0.2):
        frames, video = read(path, start_s=start_s)
        number = sizes.index(max(sizes)) + 1
        told = ", ".join(f"{width}x{height}" for width, height in sizes)
        assert video.warnings == [
            f"at 0.00 s: of 2 video streams ({told}) number {number} is read, as none is larger"
        ]
        assert (frames[0].width, frames[0].height) == max(sizes)


def test_start_and_end_give_the_frames_between(media):
    path = media / "WolfgangLanger_Pexels.mp4"
    frames, _ = read(path, start_s=12.0, end_s=13.5)
    assert [frame.time_s for frame in frames] == [t for t in own_times(path) if 12.0 <= t < 13.5]
    whole = next(frame for frame in open_video(path) if frame.time_s >= 12.0)
    assert np.array_equal(frames[0].image, whole.image)  # decoded from a keyframe before, not from rubbish


def test_start_inside_the_first_second_and_on_the_last_frame(media):
    path = media / "single_face.mp4"
    times = own_times(path)
    assert [frame.time_s for frame in read(path, start_s=times[10])[0]] == times[10:]
    assert [frame.time_s for frame in read(path, start_s=times[-1])[0]] == times[-1:]


def test_start_past_the_end_names_the_duration(media, tmp_path):
    with pytest.raises(InputError, match=r"30 s is past the end; it lasts 19\.6"):
        open_video(media / "WolfgangLanger_Pexels.mp4", start_s=30)
    raw = write(tmp_path / "raw.h264", [shade(i) for i in range(50)], format="h264")
    with pytest.raises(InputError, match=r"past the end; it lasts 2\.0"):  # no header: found by reading
        open_video(raw, start_s=3)


def moving(path, kind):
    """Three frames at 0, 0.5 and 1 s."""
    pictures = [shade(i) for i in range(3)]
    if kind == "video":
        return write(path.with_suffix(".mkv"), pictures, fps=2, codec="ffv1")
    if kind == "folder":
        path.mkdir()
        for at, picture in enumerate(pictures):
            Image.fromarray(picture).save(path / f"{at}.png")
        return path
    if kind == "array":
        return np.stack(pictures)
    first, *others = map(Image.fromarray, pictures)
    first.save(path.with_suffix(f".{kind}"), save_all=True, append_images=others, duration=500)
    return path.with_suffix(f".{kind}")


@pytest.mark.parametrize("kind", ["video", "gif", "tiff", "folder", "array"])
def test_a_stretch_without_a_frame_says_where_there_are_some(tmp_path, kind):
    source = moving(tmp_path / "film", kind)
    assert [frame.time_s for frame in open_video(source, start_s=1, fps=2)] == [1.0]
    with pytest.raises(InputError, match=r"no frame from 1\.25 s on; the last is at 1\.00 s, begin earlier"):
        open_video(source, start_s=1.25, fps=2)
    with pytest.raises(InputError, match=r"1\.5 s is past the end; it lasts 1\.50 s, begin earlier"):
        open_video(source, start_s=1.5, fps=2)
    with pytest.raises(InputError, match=r"no frame from 0\.1 to 0\.4 s; name a longer stretch"):
        open_video(source, start_s=0.1, end_s=0.4, fps=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start_s": -1}, "must be 0, the beginning, or later"),
        ({"start_s": float("nan")}, "start_s=nan must be a number"),
        ({"start_s": "1"}, "start_s='1' must be a number"),
        ({"end_s": "1"}, "end_s='1' must be a number"),
        ({"start_s": 2, "end_s": 2}, "after start"),
        ({"fps": 0}, "above 0"),
    ],
)
def test_impossible_times_are_refused(media, options, words):
    with pytest.raises(ConfigError, match=words):
        open_video(media / "single_face.mp4", **options)


def test_a_folder_or_a_pattern_of_videos_is_no_single_input(tmp_path):
    write(tmp_path / "a.ts", noise(3))
    for several in (tmp_path, tmp_path / "*.ts"):
        with pytest.raises(InputError, match=r"single input is asked for; .*`classify_many`"):
            open_video(several)
    with pytest.raises(InputError, match="matches no file"):
        open_video(tmp_path / "*.mp4")


def test_transport_stream_starts_at_zero(tmp_path):
    path = write(tmp_path / "a.ts", [shade(i) for i in range(75)])
    assert own_times(path)[0] > 0  # MPEG-TS clocks start anywhere
    frames, _ = read(path)
    assert frames[0].time_s == pytest.approx(0, abs=1e-6)
    later, _ = read(path, start_s=2.0)
    assert later[0].time_s == pytest.approx(2.0, abs=0.001)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("first", [6000, 7500, 123456, 129000])
def test_the_first_frame_of_a_transport_stream_is_at_exactly_zero(tmp_path, first, count):
    """FFmpeg tells where it starts in microseconds, which a clock of 90 kHz does not fit."""
    path, tick = tmp_path / "a.ts", Fraction(1, 90_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"bf": "0"})
        stream.height, stream.width, stream.codec_context.time_base = 120, 160, tick
        for i, picture in enumerate(noise(count)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = first + 3000 * i, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert own_times(path)[0] > 0
    frames, _ = read(path)
    assert [frame.time_s for frame in frames] == pytest.approx([i / 30 for i in range(count)], abs=1e-12)
    assert frames[0].time_s == 0.0


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        ("mkv", "libx264"),
        ("webm", "libvpx"),
        ("nut", "libx264"),
        ("wmv", "wmv2"),
        ("flv", "libx264"),
        ("mp4", "libx264"),
    ],
)
def test_a_clock_that_starts_late_does_not_change_the_length(tmp_path, ending, codec):
    stamps = [60_000 + 40 * i for i in range(75)]
    options = {"bf": "0"} if codec == "libx264" else {}
    path = write(
        tmp_path / f"a.{ending}", [shade(i) for i in range(75)], codec=codec, stamps=stamps, **options
    )
    first, last = own_times(path)[0], own_times(path)[-1]
    assert first == pytest.approx(60, abs=0.05)
    frames, video = read(path)
    assert video.duration_s == pytest.approx(last - first + 0.04, abs=0.09)
    assert frames[-1].time_s == pytest.approx(last - first)
    assert video.warnings == []
    later, _ = read(path, start_s=2.0)
    assert later[0].time_s == pytest.approx(2.0, abs=0.001)


@pytest.mark.parametrize("writer", ["Lavf", "mkvm"])
def test_other_writers_of_matroska_tell_the_length(tmp_path, writer):
    path = write(
        tmp_path / "a.mkv", [shade(i) for i in range(75)], stamps=[60_000 + 40 * i for i in range(75)]
    )
    path.write_bytes(path.read_bytes().replace(b"Lavf", writer.encode()))
    _, video = read(path)
    assert video.duration_s == pytest.approx(3.0 if writer == "Lavf" else 63.0, abs=0.05)


def test_damaged_middle_is_stepped_over_and_said(tmp_path):
    path = write(tmp_path / "whole.mp4", noise(100), g="10", bf="0")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = np.random.default_rng(1).bytes(20_000)
    path.write_bytes(data)
    frames, video = read(path)
    assert len(frames) > 80
    assert frames[-1].time_s == pytest.approx(99 / 25)
    assert any("damaged" in line for line in video.warnings)


def test_video_cut_off_in_the_middle_gives_what_is_there_and_says_so(tmp_path):
    path = write(tmp_path / "cut.mkv", noise(100), g="10")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, video = read(path)
    assert 30 < len(frames) < 70
    assert any("header says 4.00 s" in line for line in video.warnings)


def test_changed_size_in_the_middle_keeps_going(tmp_path):
    small = write(tmp_path / "a.ts", [shade(i) for i in range(20)]).read_bytes()
    large = write(tmp_path / "b.ts", [shade(i, (96, 128)) for i in range(20)]).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small + large)
    frames, video = read(joined)
    assert frames[0].image.shape == (64, 96, 3)
    assert frames[-1].image.shape == (96, 128, 3)
    assert frames[-1].grey(64).shape == (48, 64)
    times = [frame.time_s for frame in frames]
    assert times == sorted(set(times))  # the second recording's clock starts over
    assert any("128x96" in line for line in video.warnings)


def clock_times(stamps, end_s=None, zero_s=0.0):
    notes = Notes()
    clock = Clock(zero_s, 0.04, end_s, notes)
    return pytest.approx([clock.time(stamp) for stamp in stamps]), notes.lines()


def test_clock_keeps_good_times_and_tells_real_gaps():
    times, lines = clock_times([0, 0.04, 30.0, 30.04], end_s=40)
    assert times == [0, 0.04, 30.0, 30.04]
    assert lines == ["at 0.04 s: timestamps jump ahead by more than 2 s, without a frame between"]
    assert clock_times([0, 0.04, 2.0, 3.9], end_s=40) == ([0, 0.04, 2.0, 3.9], [])


def test_clock_knows_a_time_lapse_from_a_gap():
    notes = Notes()
    clock = Clock(0.0, 5.0, 60.0, notes)
    assert [clock.time(stamp) for stamp in (0.0, 5.0, 15.0, 20.0)] == [0.0, 5.0, 15.0, 20.0]
    assert notes.lines() == []


def test_clock_sets_repeats_half_a_frame_on():
    times, lines = clock_times([0, 0.04, 0.04, 0.08, 0.07, 0.12])
    assert times == [0, 0.04, 0.06, 0.08, 0.10, 0.12]
    assert len(lines) == 1


def test_clock_takes_out_jumps_and_comes_back_from_a_single_wrong_stamp():
    assert clock_times([0, 0.04, 95443.0, 0.12, 0.16], end_s=1)[0] == [0, 0.04, 0.08, 0.12, 0.16]
    assert clock_times([5, 5.04, 0, 0.04], end_s=9)[0] == [5, 5.04, 5.08, 5.12]


def test_clock_counts_frames_that_carry_no_stamp():
    assert clock_times([None, None, None])[0] == [0, 0.04, 0.08]


def sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = np.zeros((1, 16000), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def with_sound(path, shown_s, heard_s):
    """Write a Matroska file whose sound ends when it ends, and its picture when that ends, interleaved."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        pictures = noise(round(10 * shown_s))
        for at in range(round(10 * heard_s)):
            if at < len(pictures):
                container.mux(video.encode(av.VideoFrame.from_ndarray(pictures[at], format="rgb24")))
            part = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            part.sample_rate, part.pts = 8000, 800 * at
            container.mux(sound.encode(part))
        container.mux([*video.encode(), *sound.encode()])
    return path


def test_a_picture_that_ends_before_its_sound_was_not_cut_off(tmp_path):
    path = with_sound(tmp_path / "a.mkv", 2.0, 4.0)
    frames, video = read(path)
    assert (len(frames), video.duration_s, video.warnings) == (20, pytest.approx(4.0, abs=0.01), [])
    assert video.ended_s == pytest.approx(2.0, abs=0.01)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, video = read(path)
    assert [line.split(": ")[1] for line in video.warnings] == [
        "ends though its header says 4.00 s; cut off?"
    ]


@pytest.mark.parametrize(("codec", "pix_fmt"), [("mjpeg", "yuvj420p"), ("mpeg4", "yuv420p")])
def test_an_avi_that_was_cut_off_is_told(tmp_path, codec, pix_fmt):
    path = write(tmp_path / "a.avi", noise(100), codec=codec, pix_fmt=pix_fmt)
    assert read(path)[1].warnings == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, video = read(path)
    assert video.warnings[-1].endswith(": ends though its header says 4.00 s; cut off?")
    assert video.ended_s == pytest.approx(frames[-1].time_s + 0.04)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.mp4", None, "no such file"),
        ("empty.mp4", b"", "empty"),
        ("kept.npz", b"PK", "recording.*`timeline`"),
        ("text.mp4", b"hello world\n" * 50, "not a video"),
        ("notes.txt", b"hello world\n" * 50, "text file"),
        ("text.jpg", b"hello world\n" * 50, "not a picture"),
        ("*.mp4", None, "matches no file"),
    ],
)
def test_what_is_no_video_is_one_clear_line(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        open_video(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_header_cut_off_and_sound_only_are_refused(tmp_path):
    path = write(tmp_path / "cut.mp4", noise(20))
    path.write_bytes(path.read_bytes()[:20_000])  # the index of an mp4 is at its end
    with pytest.raises(InputError, match="cut off"):
        open_video(path)
    with pytest.raises(InputError, match="only sound"):
        open_video(sound_only(tmp_path / "sound.m4a"))


def test_subtitles_alone_are_no_pictures(tmp_path):
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with av.open(str(tmp_path / "a.srt")) as source, av.open(str(tmp_path / "a.mkv"), "w") as made:
        stream = made.add_stream_from_template(source.streams.subtitles[0])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    with pytest.raises(InputError, match="there are no pictures in it"):
        open_video(tmp_path / "a.mkv")


def test_folder_of_frames_in_natural_order_without_what_is_no_picture(tmp_path):
    for i in (1, 2, 10):
        Image.fromarray(shade(i)).save(tmp_path / f"frame{i}.png")
    (tmp_path / "labels.csv").write_text("x")
    (tmp_path / "._frame1.png").write_bytes(b"macOS leaves these")
    frames, video = read(tmp_path, fps=10)
    assert [int(frame.image[-1, -1, 0]) for frame in frames] == [41, 42, 50]
    assert [frame.time_s for frame in frames] == [0, 0.1, 0.2]
    assert video.duration_s == pytest.approx(0.3)


def test_names_that_count_alike_have_one_order_whatever_they_come_in():
    names = ["v1", "v01", "V1", "v2", "v001"]
    assert natural_order(names) == natural_order(names[::-1]) == ["V1", "v001", "v01", "v1", "v2"]


def test_folder_goes_on_over_a_damaged_frame_and_needs_one(tmp_path):
    with pytest.raises(InputError, match="without pictures"):
        open_video(tmp_path)
    (tmp_path / "1.png").write_bytes(b"rubbish")
    Image.fromarray(shade(3)).save(tmp_path / "2.png")
    frames, video = read(tmp_path)
    assert [frame.time_s for frame in frames] == [0.04]
    assert "left out" in video.warnings[0]


def test_picture_follows_exif_and_alpha_and_depth(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    Image.fromarray(shade(0)).save(tmp_path / "turned.png", exif=exif)
    turned = read(tmp_path / "turned.png")[0][0].image
    assert turned.shape == (96, 64, 3)
    assert turned[:8, -8:].min() == 250
    clear = np.zeros((8, 8, 4), np.uint8)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert read(tmp_path / "clear.png")[0][0].image.min() == 255
    deep = np.full((8, 8), 32768, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.abs(read(tmp_path / "deep.png")[0][0].image.astype(int) - 128).max() <= 1


def test_one_picture_is_one_frame_at_zero(media):
    frames, video = read(media / "Image_with_alpha.png")
    assert [(frame.index, frame.time_s) for frame in frames] == [(0, 0.0)]
    assert (video.width, video.height, video.duration_s) == (1524, 1036, 0.0)


@pytest.mark.parametrize(
    ("array", "count"),
    [
        (np.zeros((8, 9), np.uint8), 1),
        (np.zeros((8, 9, 3), np.uint8), 1),
        (np.zeros((8, 9, 4), np.uint16), 1),
        (np.zeros((5, 8, 9), np.uint8), 5),
        (np.zeros((5, 8, 9, 1), bool), 5),
        (np.zeros((5, 8, 9, 3), np.float32), 5),
        ([np.zeros((8, 9, 3), np.uint8), np.zeros((20, 30), np.uint8)], 2),
    ],
)
def test_arrays_become_frames(array, count):
    frames, _ = read(array)
    assert len(frames) == count
    assert all(frame.image.dtype == np.uint8 and frame.image.shape[2] == 3 for frame in frames)


class Readable:
    """Has `read`, and nothing else of a file."""

    def read(self, size=-1):
        return b""


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 8, 9), np.uint8), "channels first"),
        (np.zeros((8, 9, 3), np.float32) + 200, "0-1"),
        (np.zeros((8, 9, 3), np.int64), "int64; give bool, uint8, uint16 or floats of 0 to 1"),
        (np.zeros((2, 8, 9, 7), np.uint8), "7 channels"),
        (np.zeros((8, 9, 2), np.uint8), "2 channels"),
        (np.zeros((0, 8, 9, 3), np.uint8), "array: is empty"),
        ([], "is empty"),
        ([3], "no picture"),
        ([Recording("a", 1.0, Key(""), 4)], "Recording is no picture"),
        (
            Readable(),
            r"a Readable has `read`, but no `readable` and `seekable`, as an open file has; give .*iterator",
        ),
        ({1}, r"a set is nothing.*, or an iterator of arrays"),
        (iter([]), "iterator of frames: is empty; give at least one picture"),
        (iter(["a.png"]), r"iterator of frames\[0\]: a name; give a list of names"),
        (
            iter([None]),
            r"iterator of frames\[0\]: None is no picture; give arrays or Pillow images, or tuples",
        ),
        (
            iter([[0.0, np.zeros((8, 9), np.uint8)]]),
            r"frames\[0\]: a list is no picture; .* or tuples \(time_s",
        ),
        (
            iter([np.zeros((2, 8, 9, 3), np.uint8)]),
            r"iterator of frames\[0\]: shape \(2, 8, 9, 3\) is no picture",
        ),
        (
            iter([(True, np.zeros((8, 9), np.uint8))]),
            r"frames\[0\]: its time True is no number of seconds from 0",
        ),
        (
            iter([(-0.1, np.zeros((8, 9), np.uint8))]),
            r"frames\[0\]: its time -0.1 is no number of seconds from 0",
        ),
        (iter([(0, 1, np.zeros((8, 9), np.uint8))]), r"frames\[0\]: a tuple of 3; give an array, or a pair"),
        (-1, "no number of a camera"),
        (10**30, "no number of a camera"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array, words):
    with pytest.raises(InputError, match=words):
        open_video(array)


def test_an_iterator_gives_whatever_a_list_holds_but_names():
    array = np.arange(216, dtype=np.uint8).reshape(8, 9, 3)
    Image.fromarray(array).save(file := io.BytesIO(), "PNG")
    encoded = file.getvalue()
    kinds = [
        array,
        Image.fromarray(array),
        encoded,
        bytearray(encoded),
        memoryview(encoded),
        io.BytesIO(encoded),
    ]
    with open_video(iter(kinds)) as video:
        assert [np.array_equal(frame.image, array) for frame in video] == [True] * len(kinds)


def test_an_iterator_gives_frames_one_at_a_time_at_its_own_times_or_at_fps():
    given = []
    buffer = np.zeros((8, 9, 3), np.uint8)  # written into again and again, as by a camera's library

    def camera(times=None):
        for at in range(5):
            given.append(at)
            buffer[:] = at
            yield buffer if times is None else (np.float32(times[at]), buffer)

    with open_video(camera(), fps=10) as video:
        assert (video.name, video.fps, video.duration_s, video.live) == ("iterator of frames", 10, None, True)
        seen = [(len(given), frame) for frame in video]
    assert [count for count, _ in seen] == [1, 2, 3, 4, 5]  # none is asked for ahead of its turn
    assert [frame.time_s for _, frame in seen] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [int(frame.image.max()) for _, frame in seen] == [0, 1, 2, 3, 4]
    times = [0.5, 1, 1.25, 7, 8]
    assert [frame.time_s for frame in read(camera(times))[0]] == times
    assert [(frame.index, frame.time_s) for frame in read(camera(times), start_s=1, end_s=7)[0]] == [
        (0, 1),
        (1, 1.25),
    ]
    with pytest.raises(
        InputError, match=r"frames\[3\]: its time 1 s is not after 1\.25 s, .*; give times that grow"
    ):
        read(camera([0.5, 1, 1.25, 1, 8]))
    with pytest.raises(InputError, match=r"no frame from 9 s on; the last is at 8\.00 s"):
        open_video(camera(times), start_s=9)
    with pytest.raises(InputError, match="no frame from 2 to 3 s; name a longer stretch"):
        open_video(camera(times), start_s=2, end_s=3)
    with pytest.raises(
        RuntimeError, match="unplugged"
    ):  # what a program's own camera raises stays what it is
        read(unplugged())


def unplugged():
    yield np.zeros((8, 9, 3), np.uint8)
    raise RuntimeError("unplugged")


def test_float_and_16_bit_arrays_scale_to_the_same_picture():
    eight = shade(5)
    for array in (eight / 255, eight.astype(np.uint16) * 257, eight.astype(np.uint16), eight.astype(">u2")):
        assert np.array_equal(read(array)[0][0].image, eight)


def test_list_of_picture_files(tmp_path, media):
    frames, _ = read([str(media / "single_face.jpg"), media / "multi_face.jpg"])
    assert [frame.image.shape for frame in frames] == [(562, 572, 3), (667, 1000, 3)]


def test_open_file_and_standard_input(media):
    path = media / "single_face.mp4"
    assert len(read(io.BytesIO(path.read_bytes()))[0]) == 72
    program = (
        "from emoclip.video.inputs import open_video; print(sum(1 for _ in open_video('-', start_s=1.0)))"
    )
    with tmp_stream(path) as stream:
        done = subprocess.run([sys.executable, "-c", program], stdin=stream, capture_output=True, check=True)
    assert int(done.stdout) == 42
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as pipe:  # its index is at the end
        done = subprocess.run(
            [sys.executable, "-c", program], stdin=pipe.stdout, capture_output=True, check=False
        )
    assert b"name the file instead" in done.stderr


def test_open_files_are_read_from_their_beginning_and_pipes_whole(media, tmp_path):
    film = io.BytesIO((media / "single_face.mp4").read_bytes())
    film.seek(0, io.SEEK_END)
    assert len(read(film)[0]) == len(read(film)[0]) == 72
    Image.fromarray(shade(5)).save(tmp_path / "a.png")
    with subprocess.Popen(["cat", tmp_path / "a.png"], stdout=subprocess.PIPE) as pipe:
        assert np.array_equal(read([pipe.stdout])[0][0].image, shade(5))
    with (tmp_path / "new").open("wb") as file:
        for source in (file, [file]):
            with pytest.raises(InputError, match="is open for writing"):
                open_video(source)


def test_an_empty_pipe_is_said_to_be_empty(tmp_path):
    program = "from emoclip.video.inputs import open_video; open_video({!r})"
    done = subprocess.run(
        [sys.executable, "-c", program.format("-")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert b"standard input: is empty" in done.stderr
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(
        [sys.executable, "-c", program.format(str(tmp_path / "pipe"))], stderr=subprocess.PIPE
    ) as reader:
        (tmp_path / "pipe").write_bytes(b"")
        assert b"pipe: is empty; check where it comes from" in reader.communicate()[1]


def tmp_stream(path):
    return Path(path).open("rb")


def test_missing_camera_and_address_are_one_line():
    with pytest.raises(InputError, match="camera 97"):
        open_video(97)
    with pytest.raises(InputError, match="cannot be opened"):
        open_video("http://127.0.0.1:9/none.mp4")


def test_frames_that_were_read_are_let_go_without_waiting_for_the_collector(media):
    gc.collect()
    gc.disable()
    try:
        with open_video(media / "WolfgangLanger_Pexels.mp4") as video:
            assert sum(1 for _ in video) == 472
        left = sum(isinstance(each, av.VideoFrame) for each in gc.get_objects())
    finally:
        gc.enable()
    assert left < 20


def test_an_option_after_two_dashes_is_told_where_options_go():
    with pytest.raises(InputError, match=r"^-l: no such file; check the name, and options go before --$"):
        open_video("-l")
