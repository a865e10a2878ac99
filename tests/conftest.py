"""Fixtures shared by all tests."""

import signal
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Turn Ctrl-C on where the suite was started in the background, so that the programs it starts can be stopped."""
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
