"""Fixtures shared by all tests."""

import html
import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--virtual-time-budget=2000", "--dump-dom"),
]


def pytest_configure() -> None:
    """Let examples take as long as a machine needs, and turn Ctrl-C on, so that programs can be stopped."""
    settings.register_profile("any machine", deadline=None)
    settings.load_profile("any machine")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real recordings, golden numbers and crops that lies beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside the checkout: real recordings and golden numbers are absent")
    return folder


@pytest.fixture(scope="session")
def media(shared: Path) -> Path:
    return shared / "media"


@pytest.fixture(params=[("GBK", "zh_CN"), ("SHIFT_JIS", "ja_JP"), ("ISO-8859-1", "de_DE"), None])
def foreign(request, tmp_path):
    """Return the variables of a locale whose names are no UTF-8: compiled here, or POSIX, as cron has it."""
    env = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "LC_ALL": "POSIX"}
    if request.param is None:
        return env
    if not shutil.which("localedef") or not Path("/usr/share/i18n/charmaps").is_dir():
        pytest.skip("no localedef or charmaps: install Debian's package locales to test other locales")
    characters, language = request.param
    place = tmp_path / "locales" / f"{language}.{characters}"
    place.parent.mkdir()
    command = ["localedef", "--no-archive", "-f", characters, "-i", language, place]
    subprocess.run(command, capture_output=True, timeout=60, check=False)  # warns of Shift JIS, and makes it
    assert place.is_dir()
    return env | {"LOCPATH": str(place.parent), "LC_ALL": place.name}


@pytest.fixture
def browse(tmp_path):
    """Return a function that opens HTML in headless Chromium, runs a script in it and gives what it returned."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no chromium: install Debian's package chromium to test pages in a browser")

    def run(page, script, *, size="1000,900"):
        probe = """<script>const wrong = []; addEventListener("error", (event) => wrong.push(event.message));</script>
            {page}<script>addEventListener("load", () => {
              let found;
              try { found = (() => {{script}})(); } catch (error) { found = String(error); }
              document.body.dataset.found = JSON.stringify({wrong, found});
            });</script>"""
        path = tmp_path / "page.html"
        head, body = page.split("<body>", 1)
        text = head + "<body>" + probe.replace("{page}", body).replace("{script}", "{" + script + "}")
        path.write_text(text, encoding="utf-8")
        command = [
            chromium,
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={size}",
            path.as_uri(),
        ]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        answer = json.loads(html.unescape(re.search(r'data-found="([^"]*)"', dom)[1]))
        assert answer["wrong"] == []
        return answer["found"]

    return run
