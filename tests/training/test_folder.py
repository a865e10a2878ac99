"""Where a run may begin: told before any work, and without torch."""

import subprocess
import sys

import pytest

from emoclip.errors import ConfigError, OutputError
from emoclip.training.folder import LAST, check_folder


def test_a_run_that_is_there_is_gone_on_with_or_dropped_but_not_both(tmp_path):
    (tmp_path / LAST).touch()
    check_folder(tmp_path, going_on=True, force=False)
    check_folder(tmp_path, going_on=False, force=True)
    with pytest.raises(OutputError, match=r"holds a run already; pass --resume .*, or --force"):
        check_folder(tmp_path, going_on=False, force=False)
    with pytest.raises(ConfigError, match="--resume goes on with the run that --force drops"):
        check_folder(tmp_path, going_on=True, force=True)


def test_a_place_that_cannot_be_is_told_and_nothing_is_left(tmp_path):
    check_folder(tmp_path / "a" / "b", going_on=False, force=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for name, said in (("file", "is a file"), ("file/run", "nothing can be written there")):
        with pytest.raises(OutputError, match=said):
            check_folder(tmp_path / name, going_on=False, force=False)


def test_a_package_that_the_run_would_not_replace_is_told_before_the_work(tmp_path):
    (tmp_path / "package").mkdir()
    check_folder(tmp_path, going_on=False, force=False)
    (tmp_path / "package" / "notes.txt").touch()
    with pytest.raises(OutputError, match="package: exists and is not a model package"):
        check_folder(tmp_path, going_on=False, force=True)


def test_it_is_known_without_torch():
    script = "import sys, emoclip.training.folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
