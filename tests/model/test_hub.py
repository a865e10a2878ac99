"""Known models and the hub: a real client against a small hub on this machine."""

import hashlib
import http.server
import json
import multiprocessing
import os
import shutil
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

import pytest
from packages import tiny_package

from emoclip.errors import PackageError
from emoclip.model import hub as catalogue


class Hub(http.server.ThreadingHTTPServer):
    """The part of the Hugging Face hub that downloads need, for files in memory."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Requests)
        self.holds("", {})

    def holds(self, repository, files):
        self.repository, self.files = repository, files
        self.cut_after = None  # bytes of one answer, to break connections
        self.ranges = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


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


class Client:
    """The hub's client in a process of its own, since it reads its settings once."""

    def __init__(self, endpoint, home, **more):
        settings = {
            "HF_HOME": str(home),
            "HF_ENDPOINT": endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        self.process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with mock.patch.dict(os.environ, settings | more):
            self.process.submit(os.getpid).result()  # which begins it

    def __call__(self, cache, call, name):
        """Call a function of the catalogue with a cache of the test's own."""
        self.process.submit(exec, f"import os; os.environ['EMOCLIP_CACHE'] = {str(cache)!r}").result()
        return self.process.submit(call, name).result()


@pytest.fixture(scope="module")
def server():
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def ask(server, tmp_path_factory):
    return Client(server.address, tmp_path_factory.mktemp("hf"))


@pytest.fixture(scope="module")
def ask_nobody(tmp_path_factory):
    return Client("http://127.0.0.1:9", tmp_path_factory.mktemp("hf"))


@pytest.fixture
def hub(server, tmp_path):
    folder = tiny_package(tmp_path / "made", name="theirs")
    (folder / "text.onnx.data").write_bytes(os.urandom(14_000_000))
    config = json.loads((folder / "config.json").read_text())
    config["files"]["text.onnx.data"] = hashlib.sha256((folder / "text.onnx.data").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    server.holds("someone/theirs", {**files, "pytorch_model.bin": b"never asked for"})
    return server


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_package_is_fetched_verified_and_then_found_offline(hub, ask, ask_nobody, cache):
    folder = ask(cache, catalogue.fetch, "someone/theirs")
    assert folder == cache / "someone" / "theirs"
    assert {path.name for path in folder.iterdir()} == set(hub.files) - {"pytorch_model.bin"}
    assert ask_nobody(cache, catalogue.fetch, "someone/theirs") == folder
    assert [path.name for path in folder.parent.iterdir()] == ["theirs"]


def test_interrupted_fetch_leaves_no_package_and_goes_on_where_it_stopped(hub, ask, cache, tmp_path):
    hub.cut_after = 12_000_000
    with pytest.raises(PackageError, match="cannot be reached"):
        ask(cache, catalogue.fetch, "someone/theirs")
    folder = cache / "someone" / "theirs"
    assert not folder.exists()
    hub.cut_after = None
    hub.ranges.clear()
    Client(hub.address, tmp_path)(cache, catalogue.fetch, "someone/theirs")  # another process
    (start,) = hub.ranges
    assert 8 * 2**20 < start <= 12_000_000  # what had arrived, but for the megabytes on their way
    assert (folder / "text.onnx.data").read_bytes() == hub.files["text.onnx.data"]


def test_package_whose_hash_is_wrong_is_not_kept(hub, ask, cache):
    hub.files["image.onnx"] = hub.files["image.onnx"][:-1] + b"!"
    with pytest.raises(PackageError, match=r"image\.onnx: is damaged"):
        ask(cache, catalogue.fetch, "someone/theirs")
    assert list((cache / "someone").iterdir()) == []


def test_a_card_that_was_edited_on_the_hub_or_is_not_there_is_no_damage(hub, ask, cache):
    del hub.files["text.onnx.data"], hub.files["README.md"]
    config = json.loads(hub.files["config.json"])
    del config["files"]["text.onnx.data"]
    hub.files["config.json"] = json.dumps(config).encode()
    folder = ask(cache, catalogue.fetch, "someone/theirs")
    assert not (folder / "README.md").exists()
    hub.files["README.md"] = b"---\nlicense: mit\n---\n"
    shutil.rmtree(folder)
    assert (ask(cache, catalogue.fetch, "someone/theirs") / "README.md").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/nothing", "is not on the hub, or is private"),
        ("two words/x", "is no name on the hub"),
    ],
)
def test_names_that_the_hub_does_not_know(hub, ask, cache, name, message):
    with pytest.raises(PackageError, match=message):
        ask(cache, catalogue.fetch, name)


def test_repository_without_a_package(hub, ask, cache):
    whole = hub.files.pop("config.json")
    with pytest.raises(PackageError, match="lacks a file that makes an emoclip model"):
        ask(cache, catalogue.fetch, "someone/theirs")
    hub.files["config.json"] = b'{"architectures": ["BertModel"]}'
    with pytest.raises(PackageError, match="not that of an emoclip package"):
        ask(cache, catalogue.fetch, "someone/theirs")
    hub.files["config.json"] = whole.replace(b'"image.onnx"', b'"../image.onnx"')
    with pytest.raises(PackageError, match="no plain file name"):
        ask(cache, catalogue.fetch, "someone/theirs")


def test_weights_are_fetched_verified_and_kept(server, ask, ask_nobody, cache):
    content = os.urandom(100_000)
    server.holds("timm/vit_base_patch32_clip_224.openai", {"open_clip_model.safetensors": content})
    path = ask(cache, catalogue.fetch_weights, "clip-vit-b-32")
    assert path.read_bytes() == content
    assert ask_nobody(cache, catalogue.fetch_weights, "clip-vit-b-32") == path


def test_offline_says_which_file_to_put_where_and_takes_it_from_there(ask_nobody, cache, tmp_path):
    turned_off = Client("http://127.0.0.1:9", tmp_path / "hf", HF_HUB_OFFLINE="1")
    for client in (ask_nobody, turned_off):
        with pytest.raises(PackageError, match="cannot be reached") as caught:
            client(cache, catalogue.fetch_weights, "clip-vit-b-32")
        assert f"save it as {cache}/weights/clip-vit-b-32.safetensors" in str(caught.value)
        assert f"ViT-B-32.pt as {cache}/weights/ViT-B-32.pt" in str(caught.value)
    (cache / "weights").mkdir(parents=True)
    (cache / "weights" / "ViT-B-32.pt").write_bytes(b"weights")
    assert ask_nobody(cache, catalogue.fetch_weights, "clip-vit-b-32") == cache / "weights" / "ViT-B-32.pt"
    with pytest.raises(PackageError) as caught:
        ask_nobody(cache, catalogue.fetch, "someone/theirs")
    assert f"copy the package's files to {cache}/someone/theirs" in str(caught.value)


def test_the_authors_weights_are_for_the_user_to_download(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path))
    with pytest.raises(PackageError, match="NickyFot/EmoCLIP") as caught:
        catalogue.fetch_weights("emoclip-mafw")
    assert f"{tmp_path}/weights/emoclip-mafw.pth" in str(caught.value)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "emoclip-mafw.pth").write_bytes(b"weights")
    assert catalogue.fetch_weights("emoclip-mafw") == tmp_path / "weights" / "emoclip-mafw.pth"


@pytest.mark.parametrize(
    "fetch", [lambda: catalogue.find("hub:a/b"), lambda: catalogue.fetch_weights("clip-vit-b-32")]
)
def test_without_the_hubs_client_it_is_said_what_to_install(fetch, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(PackageError, match="asks the hub is not installed; pip install huggingface-hub, or "):
        fetch()


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


def test_a_file_of_a_package_is_told_from_its_folder(tmp_path, monkeypatch):
    config = tiny_package(tmp_path / "pk") / "config.json"
    monkeypatch.chdir(tmp_path)
    for name in (config, str(config), "pk/config.json", config.relative_to(tmp_path)):
        with pytest.raises(PackageError, match=f"^{name}: is a file; name the package's folder$"):
            catalogue.load(name)
