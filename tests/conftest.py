"""Fixtures shared by all tests."""

from pathlib import Path

import pytest


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
