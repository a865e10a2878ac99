"""Pictures that come once, through a pipe or from an address, against the same by name."""

import http.server
import io
import os
import socket
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image
from videos import noise, read, write

from emoclip.errors import InputError
from emoclip.video import containers, open_video, pipes

KINDS = [
    "jpg",
    "png",
    "bmp",
    "tif",
    "webp",
    "avif",
    "gif",
    "jp2",
    "ppm",
    "turned.jpg",
    "clear.png",
    "moving.webp",
]
KINDS += ["moving.png", "moving.gif", "pages.tif"]


class Pipe(io.RawIOBase):
    """Bytes that come a few at a time, and cannot go back."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def read(self, size=-1):
        return self.content.read(min(size, 1000))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_film_with_its_index_at_the_end_is_to_be_named_and_not_piped(tmp_path, codec):
    """OpenCV writes such, of MPEG-4, whose pictures tell their size themselves: it was called too large, or damaged."""
    film = write(tmp_path / "late.mp4", noise(10), codec=codec)
    told = "no frame in it can be decoded; name the file instead, a pipe cannot go back"
    with pytest.raises(InputError, match=f": {told}"):
        open_video(Pipe(film.read_bytes()))
    with open_video(film) as video:
        assert len(list(video)) == 10


def picture(path):
    """A picture as the name says: with EXIF, transparent, moving, with pages, or none of these."""
    one, other, *_ = (Image.fromarray(each) for each in noise(2))
    options = {}
    if "turned" in path.name:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
    if "clear" in path.name:
        one.putalpha(100)
    if "moving" in path.name or "pages" in path.name:
        options |= {"save_all": True, "append_images": [other, one], "duration": 500}
    one.save(path, **options)
    return path.read_bytes()


def seen(source, **options):
    frames, video = read(source, fps=10, **options)
    return [(frame.time_s, frame.image.tolist()) for frame in frames], video.duration_s, video.fps, video.live


@pytest.fixture
def served():
    """A server of one content under any name: (set it, address)."""
    holds = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", "/there")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(holds["content"])))
            self.end_headers()
            self.wfile.write(holds["content"][: None if self.path != "/cut" else 100])

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield lambda content: holds.update(content=content), f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_comes_once_is_the_picture(tmp_path, served, kind):
    content = picture(tmp_path / f"a.{kind}")
    truth = seen(tmp_path / f"a.{kind}")
    assert len(truth[0]) == (3 if "moving" in kind or "pages" in kind else 1)
    assert seen(Pipe(content)) == truth
    serve, address = served
    serve(content)
    for name in (f"a.{kind}", "a", "moved"):
        assert seen(f"{address}/{name}") == truth


@pytest.mark.parametrize("name", ["single_face.jpg", "multi_face.jpg", "Image_with_alpha.png"])
def test_real_pictures_that_come_once(media, served, name):
    content = (media / name).read_bytes()
    served[0](content)
    truth = seen(media / name)
    assert seen(Pipe(content)) == truth
    assert seen(f"{served[1]}/{name}") == truth


def test_a_large_picture_comes_through_a_pipe_and_from_an_address(tmp_path, served):
    Image.new("RGB", (8000, 6000)).save(path := tmp_path / "a.jpg")  # more than a video may have
    served[0](path.read_bytes())
    for source in (Pipe(path.read_bytes()), f"{served[1]}/photo?id=3"):
        with open_video(source) as video:
            assert (video.width, video.height, video.duration_s) == (8000, 6000, 0.0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_standard_input_and_pipes_under_any_name(tmp_path):
    content = picture(path := tmp_path / "pages.tif")
    program = (
        "from emoclip.video import open_video; v = open_video({!r}); print(v.name, *(f.time_s for f in v))"
    )

    def told(name, **options):
        command = [sys.executable, "-c", program.format(name)]
        return subprocess.run(command, capture_output=True, check=True, **options).stdout.decode().strip()

    assert told("-", input=content) == "standard input 0.0 0.04 0.08"
    with path.open("rb") as file:
        assert told("-", stdin=file) == "standard input 0.0 0.04 0.08"
    os.mkfifo(pipe := tmp_path / "pipe")
    feeder = threading.Thread(target=pipe.write_bytes, args=[content])
    feeder.start()
    assert told(str(pipe)) == f"{pipe} 0.0 0.04 0.08"
    feeder.join()


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp", "ppm"])
def test_pictures_one_after_another_are_a_video_whose_first_does_not_wait_for_the_last(
    tmp_path, served, kind
):
    many = []
    for number, each in enumerate(noise(12)):
        Image.fromarray(each).save(path := tmp_path / f"{number}.{kind}")
        many.append(path.read_bytes())
    served[0](b"".join(many))
    assert len(read(f"{served[1]}/a")[0]) == 12
    came = pipes.settle(iter(many), "a")
    assert len(came.read(1 << 20)) <= len(many[0] + many[1])
    assert len(read(Pipe(b"".join(many)))[0]) == 12


def test_a_preview_within_a_picture_is_no_second_one(tmp_path):
    Image.fromarray(noise(1)[0]).save(preview := io.BytesIO(), "JPEG")
    Image.fromarray(noise(1)[0]).save(path := tmp_path / "a.jpg", comment=preview.getvalue()[:60_000])
    assert seen(Pipe(path.read_bytes())) == seen(path)


def test_a_picture_too_large_for_memory_and_one_that_is_damaged_are_one_line(tmp_path, monkeypatch, served):
    content = picture(tmp_path / "a.png")
    with pytest.raises(InputError, match="stream: "):
        read(Pipe(content[:100]))
    monkeypatch.setattr(pipes, "WHOLE_BYTES", 20_000)
    with pytest.raises(
        InputError, match=r"^stream: a picture of more than 0.02 MB; save it to a file, and name that$"
    ):
        read(Pipe(content))
    assert len(read(Pipe(write(tmp_path / "a.ts", noise(5), codec="mpeg2video").read_bytes()))[0]) == 5


def test_a_server_that_stays_silent_is_told_as_that(monkeypatch):
    monkeypatch.setattr(containers, "NETWORK_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg"
        with pytest.raises(
            InputError,
            match=f"^{address}: did not answer within 0.2 s; check the server, or download the file$",
        ):
            open_video(address)


def test_an_address_that_cannot_be_opened_is_told_what_to_check(tmp_path, served):
    served[0](picture(tmp_path / "a.png"))
    for address in ("http://127.0.0.1:9/a.mp4", "http://none.invalid/a.mp4", f"{served[1]}/cut"):
        with pytest.raises(
            InputError, match=f"^{address}: .*; check the address, the server and the connection$"
        ):
            open_video(address)
    served[0](b"")
    with pytest.raises(InputError, match="/a: is empty"):
        open_video(f"{served[1]}/a")


def test_frames_without_a_size_are_told_which_limit_they_may_be_above(monkeypatch, tmp_path):
    content = picture(tmp_path / "a.jpg")
    monkeypatch.setenv("EMOCLIP_MAX_VIDEO_MEGAPIXELS", "0.01")
    words = "no size: above 0.01 megapixels a frame, which EMOCLIP_MAX_VIDEO_MEGAPIXELS raises, or damaged"
    with pytest.raises(InputError, match=words):
        open_video(Pipe(content * 3))


def test_what_has_come_is_not_held_back_until_a_block_is_full():
    reading, writing = os.pipe()
    with open(reading, "rb") as file, open(writing, "wb", buffering=0) as pipe:
        pipe.write(b"a little")
        assert next(pipes.blocks_of(file)) == b"a little"


class Failing(io.BytesIO):
    """A program's open file whose reading fails, or gives something else, from a place on."""

    def __init__(self, content, at, given, can_go_back=True):
        super().__init__(content)
        self.at, self.given, self.can_go_back = at, given, can_go_back

    def seekable(self):
        return self.can_go_back

    def read(self, size=-1):
        if self.tell() < self.at:
            left = self.at - self.tell()
            return super().read(left if size < 0 else min(size, left))
        if isinstance(self.given, Exception):
            raise self.given
        return self.given

    read1 = read


GIVEN = [
    (OSError("gone"), r"reading it failed \(gone\)"),
    (
        ConnectionResetError(104, "Connection reset by peer"),
        r"reading it failed \(Connection reset by peer\)",
    ),
    (TimeoutError("timed\nout"), r"reading it failed \(timed\)"),
    (ValueError("I/O operation on closed file"), "reading it failed"),
    ("text", "is open as text; open it in binary mode"),
    (None, "its `read` gives None; let it give bytes"),
]


@pytest.mark.parametrize("kind", ["jpg", "mp4", "moving.webp", "moving.gif"])
@pytest.mark.parametrize("can_go_back", [True, False])
def test_a_file_whose_reading_fails_is_named_with_what_failed(tmp_path, capfd, kind, can_go_back):
    path = tmp_path / f"a.{kind}"
    content = write(path, noise(3)).read_bytes() if kind == "mp4" else picture(path)
    for given, words in GIVEN:
        for at in (0, 8, 500):
            with pytest.raises(InputError, match=f"^stream: {words}") as caught:
                read(Failing(content, at, given, can_go_back))
            assert "\n" not in str(caught.value)
            if kind == "jpg" and at == 0:
                with pytest.raises(InputError, match=f"picture: {words}"):
                    read([Failing(content, at, given)])
    assert capfd.readouterr() == ("", "")  # PyAV prints what it drops


def test_a_video_whose_reading_fails_on_the_way_is_what_came_and_says_so(tmp_path, capfd):
    content = write(tmp_path / "a.ts", noise(60, (240, 320))).read_bytes()
    for can_go_back in (True, False):
        frames, video = read(
            Failing(content, len(content) * 3 // 4, OSError(5, "Input/output error"), can_go_back)
        )
        assert 20 < len(frames) < 60
        assert any("reading it failed (Input/output error)" in line for line in video.warnings)
    assert capfd.readouterr() == ("", "")


def test_a_member_of_a_zip_is_an_open_file(tmp_path):
    content = picture(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", content)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("a.png") as member:
        assert np.array_equal(read(member)[0][0].image, read(content)[0][0].image)
