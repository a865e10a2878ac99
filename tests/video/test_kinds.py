"""Every kind of file and of object that holds pictures: read rightly, or refused in one line that names it."""

import io
import json
import os
import re
import struct
import sys
import tempfile
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from commands import emoclip
from packages import tiny_package
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from emoclip.codings import read_all
from emoclip.errors import ConfigError, InputError
from emoclip.files import shorten, told, untold
from emoclip.video import called, expand_inputs, open_video, pictures
from emoclip.video.folders import are_frames
from emoclip.video.pictures import EXIF_ORIENTATIONS, read_picture

MOVING = {"webp": {"lossless": True}, "png": {}, "avif": {"quality": 100}, "gif": {}}


def corners():
    """A picture that tells all eight ways of turning and flipping it apart: red top left, green top right."""
    picture = np.full((48, 80, 3), 60, np.uint8)
    picture[:16, :24], picture[:16, -24:] = (250, 30, 30), (30, 250, 30)
    return picture


def greys(count, size=(32, 48)):
    return [np.full((*size, 3), 40 + 15 * i, np.uint8) for i in range(count)]


def read(source, **options):
    with open_video(source, **options) as video:
        return list(video), video


def problem(source):
    """What is said of a source that cannot be read; nothing if it can."""
    try:
        read(source)
    except InputError as error:
        return str(error)
    return ""


def one_line(source, words, **options):
    with pytest.raises(InputError, match=words) as caught:
        read(source, **options)
    assert "\n" not in str(caught.value)


def encode(path, pictures, codec="libx264", **options):
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def with_matrix(path, matrix):
    """Put a display matrix (a b u c d v x y w, as numbers) into the header of a video track."""
    data = bytearray(path.read_bytes())
    at = (
        data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    )  # version and flags, times and number, reserved, layer and volume
    fixed = [round(value * (1 << (30 if place % 3 == 2 else 16))) for place, value in enumerate(matrix)]
    data[at : at + 36] = struct.pack(">9i", *fixed)
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def plain_mp4(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("plain") / "a.mp4", [corners()] * 3)


@pytest.mark.parametrize(
    ("four", "upright"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        ((1, 0, 0, -1), lambda p: p[::-1]),
        ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
        ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
        ((0, -1, -1, 0), lambda p: p[::-1, ::-1].swapaxes(0, 1)),
        ((2, 0, 0, 2), lambda p: p),  # sizes are not its business
    ],
)
def test_every_display_matrix_of_quarter_turns_and_flips(plain_mp4, tmp_path, four, upright):
    path = tmp_path / "turned.mp4"
    path.write_bytes(plain_mp4.read_bytes())
    a, b, c, d = four
    frames, video = read(with_matrix(path, [a, b, 0, c, d, 0, 0, 0, 1]))
    expected = upright(corners())
    assert frames[0].image.shape == expected.shape == (video.height, video.width, 3)
    assert np.abs(frames[0].image.astype(int) - expected).mean() < 12
    assert frames[1].grey(80).shape == expected.shape[:2]
    assert video.warnings == []


@pytest.mark.parametrize(
    ("four", "note"),
    [
        ((0, 0, 0, 0), "makes no sense"),
        ((1, 0, 1, 0), "makes no sense"),
        ((1, 1, 1, 1), "makes no sense"),
        ((0.9, 0.43, -0.43, 0.9), "no quarter turn"),
    ],
)
def test_other_display_matrices_are_shown_as_stored_and_said(plain_mp4, tmp_path, four, note):
    path = tmp_path / "odd.mp4"
    path.write_bytes(plain_mp4.read_bytes())
    a, b, c, d = four
    frames, video = read(with_matrix(path, [a, b, 0, c, d, 0, 0, 0, 1]))
    if not video.warnings:  # FFmpeg drops some of them itself
        assert note == "makes no sense"
    else:
        assert note in video.warnings[0]
    assert np.abs(frames[0].image.astype(int) - corners()).mean() < 12


@pytest.mark.parametrize("number", [1, *EXIF_ORIENTATIONS])
def test_every_exif_orientation_is_pillows_own(tmp_path, number):
    exif = Image.Exif()
    exif[0x0112] = number
    path = tmp_path / "turned.png"
    Image.fromarray(corners()).save(path, exif=exif)
    from PIL import ImageOps

    with Image.open(path) as opened:
        assert np.array_equal(read_picture(path), np.asarray(ImageOps.exif_transpose(opened)))


@pytest.mark.parametrize("number", [1, *EXIF_ORIENTATIONS])
@pytest.mark.parametrize(
    ("mode", "options"),
    [*((mode, {}) for mode in ("RGB", "L", "P", "RGBA")), ("RGB", {"compression": "tiff_lzw"})],
)
def test_a_tiff_is_turned_once_however_it_is_given(tmp_path, number, mode, options):
    exif, path = Image.Exif(), tmp_path / "a.tif"
    exif[0x0112] = number
    picture = Image.fromarray(corners()).convert(mode)
    picture.save(tmp_path / "a.png", exif=exif)
    expected = read_picture(tmp_path / "a.png")
    picture.save(path, tiffinfo={0x0112: number}, **options)
    with Image.open(path) as waiting, Image.open(path) as loaded:
        loaded.load()
        sources = [path, path.read_bytes(), waiting, [path], [Image.open(path), path.read_bytes()]]
        sources += [loaded] if mode == "RGB" else []  # of others, Pillow itself loads something else
        for source in sources:
            assert all(np.array_equal(frame.image, expected) for frame in read(source)[0])
    picture.save(path, tiffinfo={0x0112: number}, save_all=True, append_images=[picture], **options)
    frames, _ = read(path)
    assert len(frames) == 2
    assert all(np.array_equal(frame.image, expected) for frame in frames)


def test_damaged_exif_does_not_make_a_picture_unreadable(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(corners()).save(path, exif=b"Exif\x00\x00rubbish", quality=95)
    assert read_picture(path).shape == (48, 80, 3)


def test_a_text_of_a_png_is_no_profile(tmp_path):
    note = PngInfo()
    note.add_text("nclx_profile", "transfer_characteristics")
    Image.fromarray(corners()).save(tmp_path / "a.png", pnginfo=note)
    assert (read_picture(tmp_path / "a.png") == corners()).all()


@pytest.mark.parametrize(("transfer", "kind"), [(16, "PQ"), (18, "HLG"), (14, None), (1, None)])
def test_high_dynamic_range_is_told_once(tmp_path, transfer, kind):
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.fromarray(corners()).save(tmp_path / "a.heic", transfer_characteristics=transfer)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "1"})
        stream.height, stream.width, stream.pix_fmt = 48, 80, "yuv420p10le"
        stream.codec_context.color_trc = transfer
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        container.mux(stream.encode())
    for name in ("a.mp4", "a.heic"):
        told = read(tmp_path / name)[1].warnings
        assert len(told) == bool(kind)
        assert all(line.startswith(f"at 0.00 s: high dynamic range ({kind}) read as if") for line in told)


@pytest.mark.parametrize("turns_itself", [True, False])
def test_heic_is_turned_once_by_itself_or_by_its_exif(tmp_path, turns_itself):
    import pillow_heif

    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.heic"
    Image.fromarray(corners()).save(path, quality=90, exif=exif.tobytes())
    content = path.read_bytes()
    if not turns_itself:  # its own box becomes one that need not be known
        content = content.replace(b"\x05\x84\x86", b"\x05\x84\x06").replace(b"\x09irot", b"\x09free")
    path.write_bytes(content)
    for source in (path, content):
        image = read(source)[0][0].image
        assert image.shape == (80, 48, 3)
        assert image[4, -4, 0] > 180
        assert image[-4, -4, 1] > 180


def test_heic_folders_jfif_and_files_without_a_suffix(tmp_path):
    import pillow_heif

    pillow_heif.register_heif_opener()
    for i, picture in enumerate(greys(3)):
        Image.fromarray(picture).save(tmp_path / f"{i}.heic")
    frames, _ = read(tmp_path)
    assert [int(frame.image.mean()) for frame in frames] == pytest.approx([40, 55, 70], abs=3)
    for name in ("photo.jfif", "photo", "photo.dat"):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(corners()).save(tmp_path / name, format="JPEG", exif=exif)
        assert read(tmp_path / name)[0][0].image.shape == (80, 48, 3)


@pytest.mark.parametrize("kind", MOVING)
def test_moving_pictures_are_videos_with_their_own_times(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    first, *rest = map(Image.fromarray, greys(5))
    durations = [100, 300, 100, 200, 100]
    first.save(path, save_all=True, append_images=rest, duration=durations, **MOVING[kind])
    opened = Image.open(path)
    opened.seek(2)
    for source in (path, path.read_bytes(), opened):
        frames, video = read(source)
        assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.4, 0.5, 0.7])
        assert [int(frame.image.mean()) for frame in frames] == pytest.approx([40, 55, 70, 85, 100], abs=4)
        assert video.duration_s == pytest.approx(0.8, abs=0.11)
        assert not video.live
    assert [frame.time_s for frame in read(path, start_s=0.4, end_s=0.7)[0]] == pytest.approx([0.4, 0.5])
    one_line(path, "past the end", start_s=5)
    assert opened.tell() == 2  # whoever asks about each picture of it goes on from there
    assert [int(frame.image.mean()) for frame in read([opened])[0]] == pytest.approx([70], abs=4)
    still, _ = read(opened.convert("RGB"))
    assert [int(frame.image.mean()) for frame in still] == pytest.approx([70], abs=4)
    one_line(opened, "^Pillow image: 5 s is past the end", start_s=5)
    opened.close()
    one_line(opened, "^Pillow image.*cannot be read .*; open it again")


def test_pages_of_a_tiff_are_frames_and_a_thumbnail_is_none(tmp_path):
    first, *rest = map(Image.fromarray, greys(4))
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest)
    frames, video = read(tmp_path / "a.tif", fps=2)
    assert [frame.time_s for frame in frames] == [0, 0.5, 1, 1.5]
    assert (video.duration_s, video.fps) == (2, 2)
    small = Image.fromarray(greys(2)[1])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "b.tif", save_all=True, append_images=[small])
    assert len(read(tmp_path / "b.tif")[0]) == 1


def test_an_animation_cut_off_gives_what_is_there_and_says_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3)).astype(np.uint8)
    first, *rest = map(Image.fromarray, noise)
    first.save(tmp_path / "a.png", save_all=True, append_images=rest, duration=100)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    frames, video = read(tmp_path / "a.png")
    assert 1 <= len(frames) < 6
    assert "damaged" in video.warnings[0]


def test_a_file_that_does_not_tell_its_length_is_a_file(tmp_path):
    path = encode(tmp_path / "a.webm", greys(12), "libvpx", options={"live": "1"})
    frames, video = read(path)
    assert len(frames) == 12
    assert video.duration_s is None
    assert not video.live
    with path.open("rb") as file:
        assert not read(file)[1].live


def test_frames_of_changing_size_come_out_right(tmp_path):
    small, large = greys(4), [np.full((64, 96, 3), 200, np.uint8)] * 4
    parts = [encode(tmp_path / f"{i}.ts", part).read_bytes() for i, part in enumerate((small, large))]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    frames, _ = read(tmp_path / "both.ts")
    assert {frame.image.shape for frame in frames} == {(32, 48, 3), (64, 96, 3)}
    assert all((frame.width, frame.height) == frame.image.shape[1::-1] for frame in frames)


def damaged(path, seed):
    """Random bytes in its header, which is what decoders stumble over."""
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for at in random.integers(4, min(len(data), 1500), 12):
        data[at] = random.integers(256)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["avif", "webp", "png", "jpg", "heic", "tif", "mp4", "mov", "mkv"])
def test_damaged_files_are_one_line_or_read(tmp_path, kind):
    import pillow_heif

    pillow_heif.register_heif_opener()
    for seed in range(12):
        path = tmp_path / f"{seed}.{kind}"
        if kind in ("mp4", "mov", "mkv"):
            encode(path, greys(3))
        else:
            Image.fromarray(corners()).save(path)
        said = problem(damaged(path, seed))
        assert "\n" not in said
        assert not said or path.name in said


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
def test_cut_files_are_one_line_or_read(tmp_path, kind):
    path = encode(tmp_path / f"a.{kind}", greys(10))
    whole = path.read_bytes()
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "\n" not in problem(path)


def test_pixels_of_absurd_shape_take_no_memory(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(60_000, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(greys(1, (48, 64))[0], format="rgb24")))
        container.mux(stream.encode())
    assert read(path)[0][0].image.shape == (48, 64, 3)


def test_a_stream_without_decoder_is_one_line(plain_mp4, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(plain_mp4.read_bytes().replace(b"avc1", b"zzz9"))
    one_line(path, "no decoder")


def test_limits_are_checked_before_decoding_and_can_be_set(tmp_path, monkeypatch):
    Image.new("1", (12_000, 12_000)).save(tmp_path / "large.png")
    one_line(tmp_path / "large.png", "12000x12000 is above 100 megapixels.*EMOCLIP_MAX_PICTURE_MEGAPIXELS")
    Image.new("P", (12_000, 12_000)).save(tmp_path / "large.gif")
    one_line(tmp_path / "large.gif", "above 36 megapixels")
    first, *rest = map(Image.fromarray, greys(3))
    first.save(tmp_path / "a.webp", save_all=True, append_images=rest)
    encode(tmp_path / "a.mp4", greys(3))
    monkeypatch.setenv("EMOCLIP_MAX_FRAMES", "2")
    for name in ("a.webp", "a.mp4"):
        one_line(tmp_path / name, "EMOCLIP_MAX_FRAMES")
    monkeypatch.delenv("EMOCLIP_MAX_FRAMES")
    monkeypatch.setenv("EMOCLIP_MAX_VIDEO_MEGAPIXELS", "0.001")
    for name in ("a.webp", "a.mp4"):
        one_line(tmp_path / name, r"48x32 is above 0\.001 megapixels")
    monkeypatch.setenv("EMOCLIP_MAX_VIDEO_MEGAPIXELS", "3000")  # above what FFmpeg can count to
    with open_video(tmp_path / "a.mp4") as video:
        assert len(list(video)) == 3
    monkeypatch.setenv("EMOCLIP_MAX_VIDEO_MEGAPIXELS", "lots")
    with pytest.raises(ConfigError, match="EMOCLIP_MAX_VIDEO_MEGAPIXELS=lots"):
        open_video(tmp_path / "a.mp4")


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp", "avif"])
def test_the_limit_of_pillow_is_the_programs_own(tmp_path, monkeypatch, kind):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(corners()).save(path)
    seen = []
    reader, accepts = Image.OPEN[{"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper())]

    def looked_at(*arguments):
        seen.append(Image.MAX_IMAGE_PIXELS)
        return reader(*arguments)

    monkeypatch.setitem(Image.OPEN, Image.EXTENSION[path.suffix], (looked_at, accepts))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80 * 48 - 1)  # of which Pillow warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr("emoclip.video.pictures.BLOCK_PIXELS", 800)
        assert read(path)[0][0].image.shape == (48, 80, 3)
    assert set(seen) == {80 * 48 - 1}


def test_a_picture_above_the_limit_of_pillow_is_told_with_that(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"  # which Pillow checks once more when it decodes
    Image.fromarray(corners()).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80 * 48 // 2 - 1)
    one_line(path, r"a.tif: has more pixels than Pillow reads in .*MAX_IMAGE_PIXELS; make it smaller")


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_large_pictures_are_read_at_a_reduced_size_and_said(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("emoclip.video.pictures.WHOLE_PIXELS", 2_000)
    monkeypatch.setattr("emoclip.video.pictures.BLOCK_PIXELS", 800)
    Image.fromarray(corners()).save(tmp_path / f"a.{kind}", quality=95)
    frames, video = read(tmp_path / f"a.{kind}")
    assert frames[0].image.shape == (24, 40, 3)
    assert frames[0].image[2, 2, 0] > 200
    assert frames[0].image[2, -3, 1] > 200
    assert "40x24 instead of 80x48" in video.warnings[0]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_large_arrays_are_read_as_the_same_picture_is_and_said(monkeypatch, channels):
    monkeypatch.setattr("emoclip.video.pictures.WHOLE_PIXELS", 2_000)
    array = np.random.default_rng(0).integers(0, 255, (49, 81, channels)).astype(np.uint8)
    picture = Image.fromarray(array[..., 0] if channels == 1 else array)
    (expected, *_), _ = read(picture)
    for source, count in ((array, 1), (np.stack([array] * 3), 3), (iter([array]), 1), ([array, picture], 2)):
        frames, video = read(source)
        assert len(frames) == count
        assert all(np.array_equal(frame.image, expected.image) for frame in frames)
        assert "larger than 0.002 megapixels, read at 41x25 instead of 81x49" in video.warnings[0]


def test_arrays_above_the_limit_are_refused_as_pictures_are(monkeypatch):
    monkeypatch.setenv("EMOCLIP_MAX_PICTURE_MEGAPIXELS", "0.003")
    for source in (Image.fromarray(corners()), corners(), np.stack([corners()] * 2), iter([corners()])):
        one_line(source, "80x48 is above 0.003 megapixels; make it smaller, or raise EMOCLIP_MAX_PICTURE")


FADE = (50_000, 20_000, 5_000, 255, 0)  # as cameras of 16 bits see a lamp go out


def fade(dtype=np.uint16):
    return [np.full((8, 9), value, dtype) for value in FADE]


def fading(tmp_path):
    pages = [Image.fromarray(picture) for picture in fade()]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    for at, page in enumerate(pages):
        page.save(tmp_path / f"{at}.png")
    floats = [Image.fromarray(picture) for picture in fade(np.float32)]
    return {
        "array": np.stack(fade()),
        "other order of bytes": np.stack(fade(">u2")),
        "list": fade(),
        "iterator": iter(fade()),
        "Pillow": pages,
        "floats": floats,
        "names": [tmp_path / f"{at}.png" for at in range(5)],
        "bytes": iter([(tmp_path / f"{at}.png").read_bytes() for at in range(5)]),
        "pages": tmp_path / "a.tiff",
    }


@pytest.mark.parametrize(
    "kind",
    ["array", "other order of bytes", "list", "iterator", "Pillow", "floats", "names", "bytes", "pages"],
)
def test_a_dark_picture_has_the_scale_of_the_clip_that_it_is_in(tmp_path, kind):
    frames, video = read(fading(tmp_path)[kind])
    assert [int(frame.image.max()) for frame in frames] == pytest.approx([195, 78, 19, 1, 0], abs=1)
    assert video.warnings == []


def test_a_clip_that_begins_dark_has_one_scale_or_says_where_it_changes():
    for whole in (np.stack(fade()[::-1]), fade()[::-1]):
        frames, video = read(whole)
        assert [int(frame.image.max()) for frame in frames] == pytest.approx([0, 1, 19, 78, 195], abs=1)
        assert video.warnings == []
    assert read(np.stack(fade()[::-1]), start_s=0.04, end_s=0.08)[0][0].image.max() < 2
    for coming in (iter(fade()[::-1]), [Image.fromarray(picture) for picture in fade()[::-1]]):
        frames, video = read(coming)
        assert [int(frame.image.max()) for frame in frames] == pytest.approx([0, 255, 19, 78, 195], abs=1)
        assert video.warnings == [
            "at 0.08 s: a value above 255: white is 65535 from here on, and was 255; scale all alike"
        ]
    frames, video = read(iter([np.full((8, 9), value, np.uint16) for value in (0, 9_000)]))
    assert video.warnings == []  # black is that on either scale
    frames, _ = read([np.full((8, 9), 200, np.uint16)] * 2)
    assert frames[1].image.max() == 200


def test_strips_give_the_whole_picture(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (50, 30, 4)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(tmp_path / "b.png")
    whole = [read_picture(tmp_path / name) for name in ("a.png", "b.png")]
    monkeypatch.setattr("emoclip.video.pictures.BLOCK_PIXELS", 100)
    assert all(
        np.array_equal(read_picture(tmp_path / name), picture)
        for name, picture in zip(("a.png", "b.png"), whole, strict=True)
    )
    assert np.array_equal(whole[1][..., 0], noise[..., 0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_pictures_that_are_no_numbers_are_one_line(tmp_path, value):
    grey = np.full((20, 20), 0.5, np.float32)
    grey[3, 4] = value
    Image.fromarray(grey).save(tmp_path / "a.tif")
    one_line(tmp_path / "a.tif", "NaN or infinite")
    one_line(grey, "NaN or infinite")
    one_line(np.full((20, 20), 1.5), "0-1")


class Tensor:
    """What PyTorch's tensors look like from outside."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    cpu = float = detach

    def is_floating_point(self):
        return self.array.dtype.kind == "f"

    def __array__(self, *_, **__):
        return self.array


def sources():
    picture = corners()
    first = picture.transpose(2, 0, 1)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return {
        "Pillow": (Image.fromarray(picture), 1),
        "bytes": (buffer.getvalue(), 1),
        "bytearray": (bytearray(buffer.getvalue()), 1),
        "open file": (buffer, 1),
        "channels first": (np.stack([first] * 4), 4),
        "tensor": (Tensor(first), 1),
        "tensors": (Tensor(np.stack([first] * 4)), 4),
        "float tensor": (Tensor(np.stack([first] * 4).astype(np.float32) / 255), 4),
        "list": ([Image.fromarray(picture), buffer.getvalue(), Tensor(first), picture], 4),
    }


@pytest.mark.parametrize("name", sources())
def test_what_programs_hold_is_read(name):
    source, count = sources()[name]
    frames, _ = read(source)
    assert len(frames) == count
    assert all(np.array_equal(frame.image, corners()) for frame in frames)


def test_real_tensors_are_read():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(corners().transpose(2, 0, 1).copy())
    assert np.array_equal(read(tensor)[0][0].image, corners())
    half = (tensor[None] / 255).to(torch.bfloat16).requires_grad_()
    assert np.abs(read(half)[0][0].image.astype(int) - corners()).max() <= 1


@pytest.mark.parametrize("source", [None, True, 1.5, {}, {"a"}, object(), range(3)])
def test_anything_else_is_refused_by_its_name(source):
    one_line(source, "^None is nothing" if source is None else type(source).__name__)


def test_a_pillow_image_that_is_empty_or_damaged_is_told_as_that(tmp_path):
    one_line(Image.new("RGB", (0, 0)), r"is empty \(0x0\); give a picture with pixels in it$")
    one_line([Image.new("L", (3, 0))], r"is empty \(3x0\); give")
    noise = np.random.default_rng(0).integers(0, 255, (50, 30, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    cut = io.BytesIO((tmp_path / "a.png").read_bytes()[:2000])
    for source in (Image.open(cut), iter([Image.open(cut)])):
        one_line(source, r"cannot be read \(.*truncated.*\); convert it elsewhere$")


@pytest.mark.parametrize("mode", ["La", "LA", "RGBa", "RGBA"])
def test_every_kind_of_transparency_is_laid_over_white(mode):
    clear = Image.fromarray(np.dstack([np.full((8, 9, 3), 100, np.uint8), np.full((8, 9), 51, np.uint8)]))
    clear = clear.convert("LA") if mode == "La" else clear  # Pillow knows no other way
    assert read(clear.convert(mode))[0][0].image == pytest.approx(np.full((8, 9, 3), 224), abs=2)


def test_a_name_in_bytes_is_told_to_be_none(tmp_path):
    Image.fromarray(corners()).save(tmp_path / "é.png")
    Image.fromarray(corners()).save(file := io.BytesIO(), "PPM")
    name = os.fsencode(tmp_path / "é.png")
    for source in (name, bytearray(name), memoryview(name), [name], iter([name]), b"a\xe9.mp4"):
        one_line(source, r"a line of text; bytes are a file's content, give a name as text \(os.fsdecode\)$")
    assert np.array_equal(read(file.getvalue())[0][0].image, corners())
    assert read(b"P3 1 1 255 9 8 7 ")[0][0].image.tolist() == [[[9, 8, 7]]]


def test_text_files_bytes_that_are_no_picture_and_odd_names(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("x" * 300)
    with path.open(encoding="utf-8") as file:
        one_line(file, "binary mode")
    one_line(io.StringIO("x"), "binary mode")
    one_line(b"x" * 300, "not a video")
    one_line("", "without a name")
    one_line("x" * 5000 + ".mp4", "long|no such file")
    one_line("a\0b.mp4", "null|no such file")


def test_names_that_are_no_text_are_told_as_addresses_that_turn_back(plain_mp4, tmp_path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9 %41.mp4"
    try:
        Path(os.fsdecode(raw)).write_bytes(plain_mp4.read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    frames, video = read(os.fsdecode(raw))
    assert len(frames) == 3
    from urllib.parse import unquote_to_bytes

    assert unquote_to_bytes(video.name.removeprefix("file://")) == raw
    assert told("plain é.mp4") == "plain é.mp4"


def test_long_names_are_cut_with_a_hash():
    assert shorten("a" * 200) == "a" * 200
    one, other = shorten("é" * 120 + "1"), shorten("é" * 120 + "2")
    assert one != other
    assert max(len(os.fsencode(name)) for name in (one, other)) <= 200


def photographs(folder, count=6):
    random = np.random.default_rng(1)
    for i in range(count):
        coarse = random.integers(0, 255, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((60, 60)).save(folder / f"{i}.png")


def clip(folder, count=6):
    coarse = np.random.default_rng(2).integers(0, 255, (6, 6, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((60, 60)))
    for i in range(count):
        Image.fromarray(np.roll(picture, i, axis=1)).save(folder / f"{i}.png")


def test_a_folder_is_one_clip_or_so_many_photographs_and_says_which(tmp_path):
    for make, name in ((photographs, "photographs"), (clip, "clip")):
        (tmp_path / name).mkdir()
        make(tmp_path / name)
    said = []
    found = expand_inputs([str(tmp_path)], say=said.append)
    assert found == [str(tmp_path / "clip"), *(str(tmp_path / "photographs" / f"{i}.png") for i in range(6))]
    assert any("--each" in line for line in said)
    assert any("--one-clip" in line for line in said)
    said.clear()
    assert len(expand_inputs([str(tmp_path / "clip")], each=True, say=said.append)) == 6
    assert expand_inputs([str(tmp_path / "photographs")], each=False) == [str(tmp_path / "photographs")]
    assert said == []
    Image.fromarray(corners()).save(tmp_path / "clip" / "2.png")  # another size: no clip has that
    assert len(expand_inputs([str(tmp_path / "clip")])) == 6


def test_a_lone_picture_beside_other_inputs_is_one_by_itself(tmp_path):
    (tmp_path / "deep" / "crops").mkdir(parents=True)
    Image.fromarray(corners()).save(tmp_path / "lone.png")
    assert expand_inputs([str(tmp_path)]) == [str(tmp_path)]
    Image.fromarray(corners()).save(tmp_path / "deep" / "crops" / "1.png")
    assert expand_inputs([str(tmp_path)]) == [f"{tmp_path}/deep/crops", f"{tmp_path}/lone.png"]
    (tmp_path / "deep" / "crops" / "a.mp4").write_bytes(b"x")
    inside = [f"{tmp_path}/deep/crops/{name}" for name in ("1.png", "a.mp4")]
    assert expand_inputs([str(tmp_path)]) == [*inside, f"{tmp_path}/lone.png"]
    (tmp_path / "lone.MP4").write_bytes(b"x")  # whose outputs have the same name
    assert expand_inputs([str(tmp_path)]) == [str(tmp_path), *inside, f"{tmp_path}/lone.MP4"]
    (tmp_path / "lone.MP4").unlink()
    clip(tmp_path)
    (tmp_path / "lone.png").unlink()
    assert expand_inputs([str(tmp_path)]) == [str(tmp_path), *inside]


def test_pictures_of_which_no_two_can_be_read_are_told_one_by_one(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_text("no picture")
    Image.fromarray(corners()).save(tmp_path / "d.png")
    assert expand_inputs([str(tmp_path)]) == [str(tmp_path / f"{name}.png") for name in "abcd"]


def test_frames_of_real_videos_are_alike_and_real_faces_are_not(media, shared, tmp_path):
    for name in ("single_face.mp4", "face_noface.mov", "WolfgangLanger_Pexels.mp4"):
        folder = tmp_path / name
        folder.mkdir()
        for frame in open_video(media / name):
            if frame.index % 25 == 0:
                Image.fromarray(frame.image).save(folder / f"{frame.index:04d}.png")
        assert are_frames(sorted(folder.iterdir()))
    photos = sorted((shared / "scenes").rglob("*.jpg"))[:20]
    if len(photos) > 2:
        assert not are_frames(photos)


def test_nothing_in_a_folder_is_left_out_silently(tmp_path):
    for name in ("a.mp4", "notes.txt", "b.jxl", "deep/c.cr2", "deep/d.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "deep" / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    said = []
    assert expand_inputs([str(tmp_path)], say=said.append) == [f"{tmp_path}/a.mp4", f"{tmp_path}/deep/d.mp4"]
    (line,) = said
    assert "and 2 more" in line
    for i, picture in enumerate(greys(2)):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    assert "b.jxl" in " ".join(read(tmp_path)[1].warnings)


def test_an_overlay_in_a_folder_is_called_that_and_read_where_it_is_named(tmp_path):
    drawn = tmp_path / "study/x.overlay.mp4"
    drawn.parent.mkdir()
    drawn.write_bytes(b"x")
    said, why = (
        [],
        "left out, taken for an overlay that `emoclip timeline` drew, name it to read it: x.overlay.mp4",
    )
    assert expand_inputs([str(drawn.parent)], say=said.append) == [str(drawn.parent)]
    (tmp_path / "study/x.mp4").write_bytes(b"x")
    assert expand_inputs([str(drawn.parent)], say=said.append) == [str(tmp_path / "study/x.mp4")]
    assert said == [f"{drawn.parent}: {why}"] * 2
    assert expand_inputs([str(drawn)], say=said.append) == [str(drawn)]


def test_a_picture_that_may_not_be_read_is_called_that(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    Image.fromarray(corners()).save(path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setitem(Image.OPEN, "JPEG", (refuse, Image.OPEN["JPEG"][1]))
    one_line(path, r"a.jpg: cannot be opened \(Permission denied\); check name and rights$")


def test_a_wrong_limit_is_not_the_pictures_fault(tmp_path, monkeypatch):
    Image.fromarray(corners()).save(tmp_path / "a.png")
    monkeypatch.setenv("EMOCLIP_MAX_PICTURE_MEGAPIXELS", "nan")
    with pytest.raises(
        ConfigError, match=r"^EMOCLIP_MAX_PICTURE_MEGAPIXELS=nan must be a number above 0, at most 1e\+12"
    ):
        read(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"^EMOCLIP_MAX"):
        read(Image.fromarray(corners()))


def test_without_pillow_heif_all_but_heif_is_read(tmp_path, monkeypatch):
    import pillow_heif

    Image.fromarray(corners()).save(tmp_path / "a.jpg")
    pillow_heif.from_pillow(Image.fromarray(corners())).save(tmp_path / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    pictures._formats.cache_clear()
    try:
        assert len(read(tmp_path / "a.jpg")[0]) == 1
        one_line(
            tmp_path / "a.heic", "a.heic: HEIF, and what reads it is not installed; pip install pillow-heif"
        )
    finally:
        pictures._formats.cache_clear()


@pytest.mark.parametrize("target", ["nothing.mp4", "dl.mp4"])
def test_a_link_to_nothing_is_called_that(tmp_path, target):
    (tmp_path / "dl.mp4").symlink_to(target)
    pattern = str(tmp_path / "*.mp4")
    assert expand_inputs([pattern]) == [
        str(tmp_path / "dl.mp4")
    ]  # nothing else matches: for `open_video` to tell
    with pytest.raises(InputError, match=r"dl.mp4: a link to a file that is not there .*; mend the link"):
        open_video(tmp_path / "dl.mp4")
    (tmp_path / "a.mp4").write_bytes(b"x")
    for name in (str(tmp_path), pattern):
        said = []
        assert expand_inputs([name], say=said.append) == [str(tmp_path / "a.mp4")]
        assert said == [f"{name}: left out, a link to a file that is not there or out of reach: dl.mp4"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_folders_named_like_pictures_are_none_of_a_folder(tmp_path):
    for i, picture in enumerate(greys(3)):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").rename(tmp_path / "kept")
    (tmp_path / "2.png").symlink_to("kept")
    os.mkfifo(tmp_path / "3.png")
    (tmp_path / "4.png").mkdir()
    frames, video = read(tmp_path)
    assert len(frames) == 3
    assert all(name in " ".join(video.warnings) for name in ("3.png", "4.png", "kept"))


def test_a_batch_of_odd_files_is_done_beside_the_broken_ones(plain_mp4, tmp_path):
    tiny = str(tiny_package(tmp_path / "tiny"))
    inputs = tmp_path / "in"
    inputs.mkdir()
    good = plain_mp4.read_bytes()
    names = [b"caf\xe9.mp4", b"z" * 240 + b".mp4", b"good.mp4"]
    try:
        for name in names:
            Path(os.fsdecode(os.fsencode(inputs) + b"/" + name)).write_bytes(good)
    except OSError:
        pytest.skip("this file system has no such names")
    (inputs / "bad.mp4").write_bytes(good.replace(b"avc1", b"zzz9"))
    (inputs / "bad.avif").write_bytes(good[:300])
    shared = ("--model", tiny, "--labels", "smiling, sad", "--faces", "full")
    done = emoclip("predict", str(inputs), *shared, "--json", str(tmp_path / "r.json"), cwd=inputs)
    assert done.returncode == 1
    records = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert [record["status"] for record in records].count("ok") == 3
    assert len(records) == 5
    assert any(record["input"].startswith("file:///") for record in records)
    done = emoclip(
        "timeline", str(inputs), *shared, "--formats", "csv,overlay", "--out", str(tmp_path / "out")
    )
    assert done.returncode == 1
    assert "3 done, 2 failed" in done.stdout
    sidecars = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "out").glob("*.json")]
    assert len(sidecars) == 3
    assert all(record["complete"] for record in sidecars)
    json.dumps(sidecars, ensure_ascii=False).encode()  # it is text, all of it
    [place] = [record["input"] for record in sidecars if record["input"].startswith("file:///")]
    assert untold(place) == str(inputs / os.fsdecode(names[0]))
    assert "caf%E9" in {coding.video for coding in read_all(tmp_path / "out")[0]}
    done = emoclip(
        "timeline", str(inputs), *shared, "--formats", "csv,overlay", "--out", str(tmp_path / "out")
    )
    assert "3 skipped" in done.stdout


def test_fps_on_the_command_line_sets_the_times_of_pictures(tmp_path):
    tiny = str(tiny_package(tmp_path / "tiny"))
    (tmp_path / "in").mkdir()
    clip(tmp_path / "in")
    arguments = ("--model", tiny, "--labels", "smiling, sad", "--faces", "full", "--fps", "2")
    done = emoclip("predict", str(tmp_path / "in"), *arguments, "--json", "-")
    record = json.loads(done.stdout)
    assert (record["duration_s"], record["faces"][0]["end_s"]) == (3.0, 2.5)
    assert "--each" in done.stderr
    done = emoclip("predict", str(tmp_path / "in"), *arguments, "--each", "--json", "-")
    assert len(json.loads(done.stdout)) == 6


def test_times_are_never_minus_zero(tmp_path):
    from emoclip import EmoCLIP
    from emoclip.timeline import json_line

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, picture in enumerate(greys(12)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = 100 * i, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    model = EmoCLIP.load(str(tiny_package(tmp_path / "tiny")), threads=1)
    result = model.classify(path, ["smiling", "sad"], faces="full")
    timeline = model.timeline(path, ["smiling", "sad"], faces="full").read()
    from dataclasses import replace

    early = replace(timeline, windows=[replace(timeline.windows[0], start_s=-1e-9, end_s=-0.0)])
    texts = [json.dumps(result.to_dict()), json_line("a", early.windows[0]), repr(next(early.rows()))]
    assert not any("-0.0" in text for text in texts)


def test_what_is_closed_or_no_number_is_one_line(tmp_path):
    image = Image.fromarray(corners())
    image.save(tmp_path / "a.png")
    closed = Image.open(tmp_path / "a.png")
    closed.close()
    one_line(closed, "open it again")
    with Image.open(tmp_path / "a.png") as left:
        pass
    for source in (left, [left]):
        one_line(source, r"cannot be read \(it is closed\); open it again")
    with (tmp_path / "a.png").open("rb") as file:
        pass
    one_line(file, "is closed already")
    one_line(np.full((9, 9, 3), np.nan), "no number")
    one_line("a\ud800b.mp4", "no such file")
    with pytest.raises(ConfigError, match="fps='a' must be a number"):
        open_video(corners(), fps="a")


def test_a_list_of_which_nothing_is_a_picture_says_what_it_is(plain_mp4, tmp_path):
    Image.fromarray(corners()).save(tmp_path / "a.png")
    video = str(plain_mp4)
    one_line([video], f"^{re.escape(video)}: a video in a list of pictures; .*`classify_many`")
    one_line([video, video], f"no frame in it .* the first, {re.escape(video)}: a video in a list")
    one_line(["no.jpg", "no.png"], r"^list of pictures: no frame .* the first, no\.jpg: no such file; check")
    one_line(["no.mp4"], "no such file")
    one_line(["http://h/a.jpg?token=1"], "^http://h/a.jpg: an address, and a list takes files alone")
    for beside in (video, "http://h/a.jpg"):
        _, read_so = read([tmp_path / "a.png", beside])
        assert f"left out: {beside}: a" in read_so.warnings[0]
    for empty in (b"", io.BytesIO(), [b""], [b"", b""]):
        one_line(empty, "empty")


def test_what_has_no_name_is_a_stream_and_a_name_may_be_bytes(plain_mp4, tmp_path):
    content = plain_mp4.read_bytes()
    reading, writing = os.pipe()
    with (
        tempfile.SpooledTemporaryFile() as upload,
        tempfile.TemporaryFile() as unnamed,
        os.fdopen(reading) as text,
    ):
        os.close(writing)
        for file in (upload, unnamed):
            assert called(file) == "stream"
            file.write(b"x" * 300)
            one_line(file, "^stream: not a video")
            one_line([file], "^picture: not a picture")
            file.seek(0)
            file.write(content)
            with open_video(file) as video:
                assert video.name == "stream"
        one_line(text, "^stream: is open as text")
    one_line(upload, "^stream: is closed already")
    with open(os.fsencode(plain_mp4), "rb") as file:
        assert called(file) == str(plain_mp4)
    with (tmp_path / "a.mp4").open("wb") as file:
        one_line(file, "a.mp4: is open for writing")


@pytest.mark.parametrize("name", ["a.heic", "a.avif"])
def test_a_picture_cut_off_or_empty_is_said_to_be_so(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:300])  # within the boxes that say what follows
    one_line(path, "cut off or damaged")
    path.write_bytes(b"")
    one_line(path, "the file is empty")
    with pytest.raises(InputError, match="the file is empty"):
        read_picture(path)


def test_what_lies_beside_the_frames_of_a_clip_is_named_where_it_is(tmp_path):
    for name in ("1.png", "2.png"):
        Image.fromarray(corners()).save(tmp_path / name)
    other = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    try:
        other.write_bytes(b"x")
    except OSError:
        pytest.skip("this file system has no such names")
    _, video = read(tmp_path)
    assert video.warnings == [
        f"at 0.00 s: not part of the clip of its pictures: {other.parent.as_uri()}/caf%E9.mp4"
    ]


def test_a_gif_cut_off_is_said_to_be_so(tmp_path):
    path = tmp_path / "a.gif"
    pictures = [Image.fromarray(np.roll(corners(), 9 * at, axis=1)) for at in range(6)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    assert read(path)[1].warnings == []
    path.write_bytes(path.read_bytes()[:-20])
    for source in (path, path.read_bytes()):
        assert "cut off?" in read(source)[1].warnings[-1]


@pytest.mark.parametrize("said", [{}, {"duration": 0, "disposal": 2}, {"duration": 80, "disposal": 2}])
def test_a_gifs_rate_and_length_are_those_of_its_frames(tmp_path, said):
    path = tmp_path / "a.gif"
    pictures = [Image.fromarray(np.roll(corners(), 9 * at, axis=1)) for at in range(5)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **said)
    each_s = 0.08 if said.get("duration") else 0.1  # a frame that says no delay is shown as browsers do
    for source in (path, path.read_bytes()):
        frames, video = read(source)
        assert [frame.time_s for frame in frames] == pytest.approx([each_s * at for at in range(5)])
        assert (video.fps, video.duration_s) == pytest.approx((1 / each_s, 5 * each_s))
        assert video.warnings == []


@pytest.mark.parametrize("left", [0, 3])
def test_frames_of_a_gif_without_control_blocks_are_frames(tmp_path, left):
    noise = np.random.default_rng(0).integers(0, 255, (32, 48), np.uint8)
    pictures = [Image.fromarray(noise + np.uint8(at)) for at in range(40)]  # no pixel stays
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=0)
    blocks = re.compile(rb"\x21\xf9\x04....\x00(?=[\x21\x2c])", re.DOTALL)
    content = (tmp_path / "a.gif").read_bytes()
    stripped = blocks.sub(b"", content, len(blocks.findall(content)) - left)
    (tmp_path / "a.gif").write_bytes(stripped)
    (tmp_path / "named.png").write_bytes(stripped)
    for source in (tmp_path / "a.gif", stripped, tmp_path / "named.png"):
        frames, video = read(source)
        assert [frame.time_s for frame in frames] == pytest.approx([0.1 * at for at in range(40)])
        assert (video.fps, video.duration_s) == pytest.approx((10, 4))
        same = [np.array_equal(a.image[..., 0], b) for a, b in zip(frames, pictures, strict=True)]
        assert all(same)


def test_what_pillow_warns_of_damaged_notes_stays_out(tmp_path, recwarn):
    warnings.simplefilter("always")
    refused = 0  # Pillow 12 refuses what 13 reads with a warning
    for at, pages in enumerate((1, 1, 3)):
        first, *others = [
            Image.fromarray(np.full((20, 30, 3), 50 * page + at, np.uint8)) for page in range(pages)
        ]
        path = tmp_path / f"{at}.tif"
        first.save(path, save_all=True, append_images=others, description="a note " * 9)
        note = struct.pack("<HHI", 270, 2, len("a note " * 9) + 1)  # ImageDescription, longer than the file
        path.write_bytes(path.read_bytes().replace(note, struct.pack("<HHI", 270, 2, 1 << 27)))
        try:
            with Image.open(path) as picture:
                picture.load()
        except UnidentifiedImageError:
            refused += 1
    assert refused == 3 or len(recwarn) > 1  # Pillow's own
    recwarn.clear()
    sources = expand_inputs([str(tmp_path)])
    if refused:
        for path in tmp_path.iterdir():
            with pytest.raises(InputError, match=path.name):
                open_video(path)
    else:
        assert len(sources) == 1
        assert [sum(1 for _ in open_video(path)) for path in sorted(tmp_path.iterdir())] == [1, 1, 3]
    assert not [str(each.message) for each in recwarn]
