"""Known models and the hub: a real client against a small hub on this machine."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from packages import tiny_package

from emoclip.errors import PackageError
from emoclip.model import hub as catalogue


class Hub(http.server.ThreadingHTTPServer):
    """The part of the Hugging Face hub that downloads need, for files in memory."""

    def __init__(self, repository, files):
        super().__init__(("127.0.0.1", 0), Requests)
        self.repository, self.files = repository, files
        self.cut_after = None  # bytes of one answer, to break connections
        self.ranges = []


class Requests(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        hub = self.server
        path = self.path.split("?")[0]
        name = path.removeprefix(f"/{hub.repository}/resolve/").partition("/")[2]
        if not path.startswith(f"/{hub.repository}/"):
            return self.reply(404, b"", body, {"X-Error-Code": "RepoNotFound"})
        if name not in hub.files:
            return self.reply(404, b"", body, {"X-Error-Code": "EntryNotFound"})
        content = hub.files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": "a" * 40}
        status, start = 200, 0
        if body and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            hub.ranges.append(start)
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.reply(status, content[start:], body, headers)

    def reply(self, status, content, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = self.server.cut_after
        if body and cut is not None and len(content) > cut:
            self.wfile.write(content[:cut])
            self.server.cut_after = 0
            self.close_connection = True
        elif body:
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path):
    folder = tiny_package(tmp_path / "made", name="theirs")
    (folder / "text.onnx.data").write_bytes(os.urandom(14_000_000))
    config = json.loads((folder / "config.json").read_text())
    config["files"]["text.onnx.data"] = hashlib.sha256((folder / "text.onnx.data").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    server = Hub("someone/theirs", {**files, "pytorch_model.bin": b"never asked for"})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def ask(tmp_path, call, endpoint, **more):
    """Run a call of the catalogue in a process of its own, since the hub's client reads its settings once."""
    code = (
        "import sys\nfrom emoclip.model import hub as catalogue\nfrom emoclip.errors import PackageError\n"
        f"try: print(catalogue.{call})\nexcept PackageError as error: sys.exit(str(error))"
    )
    settings = {
        "EMOCLIP_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | settings | more,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip().splitlines()[-1:] or [""]


def address(hub):
    return f"http://127.0.0.1:{hub.server_address[1]}"


def test_package_is_fetched_verified_and_then_found_offline(hub, tmp_path):
    code, folder, error = ask(tmp_path, "fetch('someone/theirs')", address(hub))
    assert code == 0, error
    assert Path(folder) == tmp_path / "cache" / "someone" / "theirs"
    assert {path.name for path in Path(folder).iterdir()} == set(hub.files) - {"pytorch_model.bin"}
    assert ask(tmp_path, "fetch('someone/theirs')", "http://127.0.0.1:9")[0] == 0
    assert [path.name for path in Path(folder).parent.iterdir()] == ["theirs"]


def test_interrupted_fetch_leaves_no_package_and_goes_on_where_it_stopped(hub, tmp_path):
    hub.cut_after = 12_000_000
    code, _, error = ask(tmp_path, "fetch('someone/theirs')", address(hub))
    assert code == 1
    assert "cannot be reached" in error[0]
    folder = tmp_path / "cache" / "someone" / "theirs"
    assert not folder.exists()
    hub.cut_after = None
    hub.ranges.clear()
    code, _, error = ask(tmp_path, "fetch('someone/theirs')", address(hub))
    assert code == 0, error
    (start,) = hub.ranges
    assert 8 * 2**20 < start <= 12_000_000  # what had arrived, but for the megabytes on their way
    assert (folder / "text.onnx.data").read_bytes() == hub.files["text.onnx.data"]


def test_package_whose_hash_is_wrong_is_not_kept(hub, tmp_path):
    hub.files["image.onnx"] = hub.files["image.onnx"][:-1] + b"!"
    code, _, error = ask(tmp_path, "fetch('someone/theirs')", address(hub))
    assert code == 1
    assert "image.onnx: is damaged" in error[0]
    assert list((tmp_path / "cache" / "someone").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/nothing", "is not on the hub, or is private"),
        ("two words/x", "is no name on the hub"),
    ],
)
def test_names_that_the_hub_does_not_know(hub, tmp_path, name, message):
    code, _, error = ask(tmp_path, f"fetch({name!r})", address(hub))
    assert code == 1
    assert message in error[0]


def test_repository_without_a_package(hub, tmp_path):
    whole = hub.files.pop("config.json")
    code, _, error = ask(tmp_path, "fetch('someone/theirs')", address(hub))
    assert code == 1
    assert "lacks a file that makes an emoclip model" in error[0]
    hub.files["config.json"] = b'{"architectures": ["BertModel"]}'
    assert "not that of an emoclip package" in ask(tmp_path, "fetch('someone/theirs')", address(hub))[2][0]
    hub.files["config.json"] = whole.replace(b'"image.onnx"', b'"../image.onnx"')
    assert "no plain file name" in ask(tmp_path, "fetch('someone/theirs')", address(hub))[2][0]


def test_weights_are_fetched_verified_and_kept(tmp_path):
    server = Hub(
        "timm/vit_base_patch32_clip_224.openai", {"open_clip_model.safetensors": os.urandom(100_000)}
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code, path, error = ask(tmp_path, "fetch_weights('clip-vit-b-32')", address(server))
    assert code == 0, error
    assert Path(path).read_bytes() == server.files["open_clip_model.safetensors"]
    server.shutdown()
    server.server_close()
    assert ask(tmp_path, "fetch_weights('clip-vit-b-32')", "http://127.0.0.1:9")[1] == path


def test_offline_says_which_file_to_put_where_and_takes_it_from_there(tmp_path):
    call = "fetch_weights('clip-vit-b-32')"
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        code, _, error = ask(tmp_path, call, "http://127.0.0.1:9", **more)
        assert code == 1
        assert "cannot be reached" in error[0]
        assert f"save it as {tmp_path}/cache/weights/clip-vit-b-32.safetensors" in error[0]
        assert f"ViT-B-32.pt as {tmp_path}/cache/weights/ViT-B-32.pt" in error[0]
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "ViT-B-32.pt").write_bytes(b"weights")
    assert ask(tmp_path, call, "http://127.0.0.1:9")[1] == f"{tmp_path}/cache/weights/ViT-B-32.pt"
    code, _, error = ask(tmp_path, "fetch('someone/theirs')", "http://127.0.0.1:9")
    assert code == 1
    assert f"copy the package's files to {tmp_path}/cache/someone/theirs" in error[0]


def test_the_authors_weights_are_for_the_user_to_download(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path))
    with pytest.raises(PackageError, match="NickyFot/EmoCLIP") as caught:
        catalogue.fetch_weights("emoclip-mafw")
    assert f"{tmp_path}/weights/emoclip-mafw.pth" in str(caught.value)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "emoclip-mafw.pth").write_bytes(b"weights")
    assert catalogue.fetch_weights("emoclip-mafw") == tmp_path / "weights" / "emoclip-mafw.pth"


def test_every_known_model_has_what_the_list_shows():
    assert list(catalogue.KNOWN) == [
        "mini",
        "clip-vit-b-32",
        "clip-vit-b-16",
        "clip-vit-l-14",
        "emoclip-mafw",
    ]
    for model in catalogue.KNOWN.values():
        assert model.licence
        assert model.source
        assert model.size_mb > 0
