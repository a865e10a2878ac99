"""A file is read as that file, whatever it is called and whatever stands in it; addresses are what looks like one."""

import functools
import http.server
import io
import os
import subprocess
import sys
import threading

import av
import numpy as np
import pytest
from PIL import Image, ImageCms
from videos import noise, read, write

from emoclip.addresses import is_address
from emoclip.errors import InputError, InputWarning
from emoclip.video import expand_inputs, open_video, sources
from emoclip.video.sources import for_ffmpeg, limits

COLONS = pytest.mark.skipif(os.name == "nt", reason="Windows has no files with colons in their names")


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sources") / "clip.mp4", noise(5))


@COLONS
@pytest.mark.parametrize(
    "name",
    [
        "Interview: Anna.mp4",
        "12:30:45.mp4",
        *("http:x", "https:x.mp4", "rtsp:x.mp4", "file:x.mp4", "pipe:0", "fd:", "data:x", "crypto:x.mp4"),
        *("concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:x.mp4", "async:cache:x.mp4", "lavfi:x", "C:x.mp4"),
        *("-x.mp4", "%d.mp4", "a b.mp4", "ä:ö.mp4", "x?y#z.mp4"),
    ],
)
def test_any_name_is_a_files(clip, tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert expand_inputs([name]) == [name]
    frames, video = read(name)
    assert (len(frames), video.name, video.blocking, video.warnings) == (5, name, False, [])
    write(for_ffmpeg(f"out:{name}.mkv"), noise(2))  # as an overlay is written
    assert (tmp_path / f"out:{name}.mkv").is_file()


def test_what_is_an_address():
    for name in ("rtsp://camera/1", "HTTP://x/y.mp4", "https://x", "rtmp://x", "udp://@:1234", "srt://x:1"):
        assert is_address(name)
        assert for_ffmpeg(name) == name.replace("HTTP", "http")  # FFmpeg knows it in small letters alone
    for name in (
        "http:x",
        "http:/x",
        "file:///x",
        "concat://x",
        "pipe://0",
        "foo://x",
        "://",
        "C://x",
        "xhttp://x",
    ):
        assert not is_address(name)
        with pytest.raises(InputError, match="no such file"):
            open_video(name)


HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nclip.mp4\n#EXT-X-ENDLIST\n"
LISTS = {
    "hls": HLS,
    "hls with a mark": b"\xef\xbb\xbf" + HLS,
    "m3u": b"clip.mp4\n",
    "concat": b"ffconcat version 1.0\nfile clip.mp4\n",
    "pls": b"[playlist]\nFile1=clip.mp4\n",
    "dash": b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize(("kind", "content"), LISTS.items(), ids=LISTS)
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat", "list"])
def test_a_playlist_is_refused_under_any_name(clip, tmp_path, kind, content, name):
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    path = tmp_path / name
    path.write_bytes(content)
    told_by_name = path.suffix in (".m3u8", ".ffconcat")
    words = "playlist" if kind != "m3u" or told_by_name else "not a video"
    with pytest.raises(InputError, match=words):
        open_video(path)
    with path.open("rb") as file, pytest.raises(InputError, match=words):
        open_video(file)


class Pipe(io.BytesIO):
    """Bytes that cannot go back."""

    name = "pipe"

    def seekable(self):
        return False

    def seek(self, *_):
        raise OSError("a pipe")


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_the_decoder_follows_no_list_even_where_it_was_not_recognised(clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    content = LISTS["hls" if name == "list.m3u8" else "concat"]
    (tmp_path / name).write_bytes(content)
    followed = for_ffmpeg(name)
    with av.open(followed) as container:  # what it would do
        assert container.streams.video
    with pytest.raises(av.FFmpegError):
        av.open(followed, options=limits(name))
    with pytest.raises(InputError):
        open_video(Pipe(content))


def test_a_numbered_name_is_no_series(tmp_path):
    series = tmp_path / "a%d.dpx"
    with av.open(str(series), "w") as output:
        stream = output.add_stream("dpx", 25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "rgb24"
        for picture in noise(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    with av.open(str(series)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3
    series.write_bytes((tmp_path / "a2.dpx").read_bytes())
    assert len(read(series)[0]) == 1


@pytest.fixture
def web(clip, tmp_path):
    """A server of one folder: (folder, address, what was asked for)."""
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def test_an_address_is_read_unless_addresses_are_forbidden(web):
    _, address, asked = web
    frames, video = read(f"{address}/clip.mp4")
    assert (len(frames), video.name) == (5, f"{address}/clip.mp4")
    asked.clear()
    with pytest.raises(InputError, match="allow_urls=False"):
        open_video(f"{address}/clip.mp4", allow_urls=False)
    assert asked == []


def test_the_scheme_of_an_address_may_be_in_capitals(web):
    assert len(read(f"{web[1].replace('http', 'HTTP')}/clip.mp4")[0]) == 5


def test_an_index_at_the_end_that_the_server_does_not_give_is_explained(web):
    folder, address, _ = web
    write(folder / "long.mp4", noise(30, (480, 640)))  # more than the decoder has in its buffer
    assert len(read(folder / "long.mp4")[0]) == 30
    with pytest.raises(InputError, match="decoded; download the file and name that"):
        open_video(f"{address}/long.mp4")


def test_a_list_at_an_address_reaches_no_file(web):
    folder, address, _ = web
    write(folder / "clip.ts", noise(5), codec="mpeg2video")
    (folder / "near.m3u8").write_bytes(HLS.replace(b"clip.mp4", b"clip.ts"))
    assert len(read(f"{address}/near.m3u8")[0]) == 5
    (folder / "far.m3u8").write_bytes(HLS.replace(b"clip.mp4", f"file://{folder}/clip.ts".encode()))
    with pytest.raises(InputError):
        open_video(f"{address}/far.m3u8")
    (folder / "far.mp4").write_bytes(f"ffconcat version 1.0\nfile 'file:{folder}/clip.ts'\n".encode())
    with pytest.raises(InputError):
        open_video(f"{address}/far.mp4")


@pytest.mark.parametrize("name", ["ftp://host/a.mp4", "file:///tmp/a.mp4"])
def test_addresses_of_other_kinds_are_refused_as_they_were_given(name):
    (source,) = expand_inputs([name])
    with pytest.raises(
        InputError, match=f"{name}: no such file, and addresses of {name.split(':')[0]}:// are not read"
    ):
        open_video(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("waits", [True, False])
def test_a_pipe_that_nobody_writes_to_is_told_of_once(clip, tmp_path, monkeypatch, waits):
    monkeypatch.setattr(sources, "SILENCE_S", 0.0 if waits else 600.0)
    said, told = [], threading.Event()
    monkeypatch.setattr(sources.warnings, "warn", lambda *given: (said.append(given), told.set()))
    pipe = tmp_path / "pipe.ts"
    os.mkfifo(pipe)

    def feed():
        if waits:
            told.wait(timeout=60)
        with open(pipe, "wb") as end:
            end.write(stream)

    stream = write(tmp_path / "clip.ts", noise(5), codec="mpeg2video").read_bytes()
    feeder = threading.Thread(target=feed)
    feeder.start()
    assert len(read(pipe)[0]) == 5
    feeder.join()
    line = f"{pipe}: nothing comes through this pipe; waiting until a program writes to it (Ctrl-C stops)"
    assert said == [(line, InputWarning)] * waits


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_a_picture_through_a_pipe_is_the_picture(tmp_path, suffix):
    picture, pipe = tmp_path / f"picture.{suffix}", tmp_path / f"pipe.{suffix}"
    Image.fromarray(noise(1)[0]).save(picture)
    os.mkfifo(pipe)
    for content in (picture.read_bytes(), b""):
        feeder = threading.Thread(target=pipe.write_bytes, args=[content])
        feeder.start()
        if content:
            (one,), (other,) = read(picture)[0], read(pipe)[0]
            np.testing.assert_array_equal(one.image, other.image)
        else:
            with pytest.raises(InputError, match=f"pipe.{suffix}: is empty"):
                read(pipe)
        feeder.join()


def test_a_png_with_a_colour_profile_that_ffmpeg_reads_crashes_nothing(tmp_path):
    path = tmp_path / "picture.mp4"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (64, 48)).save(path, format="PNG", icc_profile=profile)
    program = (
        "import gc; from emoclip.video import open_video;"
        f"print(*(f.image.shape for f in open_video({str(path)!r})));"
        "[(gc.collect(), [bytearray(i) for i in range(9999)]) for _ in range(5)]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(48, 64, 3)"


def test_many_threads_may_begin_to_read_pictures_at_once(tmp_path):
    """In a fresh process: the first imports what reads them while the others already ask."""
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / "a.png")
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from emoclip.video.inputs import open_video
ready = Barrier(8)
def size(_):
    ready.wait()
    with open_video(sys.argv[1]) as video:
        return next(iter(video)).image.shape
with ThreadPoolExecutor(8) as pool:
    assert set(pool.map(size, range(8))) == {(8, 9, 3)}
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
