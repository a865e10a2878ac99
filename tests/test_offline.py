"""Nothing leaves the machine: a run opens no connection, looks up no name, and leaves nothing at home."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from skimage import data
from videos import write

ROOT = Path(__file__).resolve().parents[1]
STRACE = shutil.which("strace")
# Connections that go nowhere: to a socket in the file system.  A look-up would open one of the internet's, or ask the
# name service's daemon, which its text says: getpwuid asks that daemon too, but never for hosts.
NETWORK = re.compile(r"AF_INET6?|AF_NETLINK|AF_PACKET|resolv\.conf|hosts\b.*O_RDONLY|GETAI|GETHOST")


@pytest.fixture(scope="module")
def portrait(tmp_path_factory):
    """A video with a face in it."""
    return write(tmp_path_factory.mktemp("portrait") / "clip.mp4", [data.astronaut()] * 30)


def environment(home: Path) -> dict[str, str]:
    """What a user has: a home of their own, and no sign of continuous integration, where telemetry keeps still."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "EMOCLIP_", "CI"))}
    ours = {
        key: value for key, value in ours.items() if key not in ("ORT_DISABLE_TELEMETRY", "GITHUB_ACTIONS")
    }
    homes = dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA"), str(home))
    return ours | homes | {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}


def traced(command: list[str], log: Path, home: Path) -> list[str]:
    """Run a command and all it starts; return the system calls that have to do with the network."""
    strace = [STRACE, "-f", "-qq", "-o", str(log), "-e", "trace=network,openat"]
    done = subprocess.run(
        [*strace, *command], env=environment(home), capture_output=True, text=True, check=False, timeout=300
    )
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip("strace is not allowed to trace here")
    assert done.returncode == 0, done.stderr
    return [line for line in log.read_text(errors="replace").splitlines() if NETWORK.search(line)]


def timeline(portrait: Path, out: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "emoclip", "timeline", str(portrait), "--labels", "smiling, sad"]
    return [*command, "--out", str(out), *more]


@pytest.mark.skipif(STRACE is None, reason="strace is not installed: connections cannot be watched")
def test_the_tracer_sees_a_connection_and_a_look_up(tmp_path):
    reach = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"
    assert traced([sys.executable, "-c", reach], tmp_path / "log", tmp_path)
    look_up = "import socket\ntry: socket.getaddrinfo('emoclip.invalid', 80)\nexcept OSError: pass"
    assert traced([sys.executable, "-c", look_up], tmp_path / "log", tmp_path)


@pytest.mark.skipif(STRACE is None, reason="strace is not installed: connections cannot be watched")
def test_a_timeline_reaches_for_nobody(portrait, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    command = timeline(portrait, tmp_path / "out", "--formats", "csv,overlay,html,npz")
    assert traced(command, tmp_path / "log", home) == []
    assert (tmp_path / "out" / "clip.json").is_file()


def test_a_run_leaves_nothing_at_home_but_our_cache(portrait, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(
        timeline(portrait, tmp_path / "out"),
        env=environment(home),
        capture_output=True,
        check=True,
        timeout=300,
    )
    left = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert {name for name in left if "/emoclip/" not in f"/{name}"} == set()


@pytest.mark.parametrize(
    "module", ["model.runtime", "engine", "cli.predict", "model.hub", "training.mini.pack"]
)
def test_reporting_is_off_before_any_engine_is_imported(module):
    """However we are entered, and in whatever we start: the switch stands before onnxruntime is first looked for."""
    if module.startswith("training"):
        pytest.importorskip("torch")
    code = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("onnxruntime", "huggingface_hub"):
            assert os.environ["ORT_DISABLE_TELEMETRY"] == os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1", name
sys.meta_path.insert(0, Watch())
import emoclip.{module}
import onnxruntime
"""
    environ = environment(Path.home()) | {"ORT_DISABLE_TELEMETRY": "0"}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=300)
