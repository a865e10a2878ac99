"""What a name stands for: folders, patterns and what cannot be read in them."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from videos import noise, write

from emoclip.video import expand_inputs

PROGRAM = """
from emoclip.errors import InputError
from emoclip.video import expand_inputs, open_video
for name in expand_inputs([{!r}], say=print):
    try:
        print(name, open_video(name).width)
    except InputError as error:
        print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="rights of Unix")
@pytest.mark.parametrize("rights", [0o000, 0o444], ids=["closed", "names alone"])
def test_a_folder_in_a_folder_that_may_not_be_read_is_an_input_that_fails(tmp_path, rights):
    as_others = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root may read everything")
    closed = tmp_path / "in" / "closed"
    closed.mkdir(parents=True)
    for folder in (closed, closed.parent):
        write(folder / "a.mkv", noise(3))
    program = [sys.executable, "-c", PROGRAM.format(str(closed.parent))]
    closed.chmod(rights)
    try:
        done = subprocess.run(
            (as_others if os.geteuid() == 0 else []) + program, capture_output=True, text=True, check=True
        )
    finally:
        closed.chmod(0o755)
    assert done.stdout.splitlines() == [
        f"{closed.parent}/a.mkv 160",
        f"{closed}: this folder cannot be read (Permission denied); check its rights",
    ]


def test_expand_inputs(tmp_path):
    for name in (
        "b10.mp4",
        "b2.MOV",
        "deep/x.mkv",
        "crops/1.png",
        "crops/2.png",
        "notes/a.txt",
        ".hidden/y.mp4",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for name in ("1.png", "2.png"):
        Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / "crops" / name)
    root = str(tmp_path)
    videos = [f"{root}/b2.MOV", f"{root}/b10.mp4", f"{root}/crops", f"{root}/deep/x.mkv"]
    assert expand_inputs([root]) == videos
    assert expand_inputs([f"{root}/b*"]) == videos[:2]
    assert expand_inputs([f"{root}/**/*.mkv"]) == videos[3:]
    assert expand_inputs([videos[1], root]) == [videos[1], videos[0], *videos[2:]]
    assert expand_inputs([f"{root}/crops"]) == [f"{root}/crops"]
    untouched = ["-", "rtsp://host/a?b=[1]", f"{root}/none.mp4", f"{root}/none*", f"{root}/notes"]
    assert expand_inputs(untouched) == untouched
