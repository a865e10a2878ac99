"""One line for what went wrong, of the thing that it went wrong with."""

import errno
import pickle
from pathlib import Path

import pytest
from packages import tiny_package

from emoclip import EmoCLIP
from emoclip.errors import (
    NO_MEMORY,
    REINSTALL_OPENCV,
    EmoclipError,
    InputError,
    in_one_line,
    nearest,
    reason,
    unloadable,
)
from emoclip.files import write_text
from emoclip.recording import Recording

LABELS = ["smiling", "sad"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return EmoCLIP.load(str(tiny_package(tmp_path_factory.mktemp("tiny") / "p")))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a.mp4: no such file"), "a.mp4: no such file"),
        (ValueError("odd"), "a.mp4: ValueError: odd"),
        (OSError("closed"), "a.mp4: OSError: closed"),
        (
            PermissionError(13, "Permission denied", "kept/a.npz"),
            "kept/a.npz: cannot be used (Permission denied); check name and rights",
        ),
        (MemoryError("Unable to allocate 1.31 MiB"), f"a.mp4: {NO_MEMORY}"),
        (
            RuntimeError("[ONNXRuntimeError] : 1 : FAIL : bfc_arena.cc:360 Failed to allocate memory for"),
            f"a.mp4: {NO_MEMORY}",
        ),
        (RuntimeError("(-4:Insufficient memory) in function 'OutOfMemoryError'"), f"a.mp4: {NO_MEMORY}"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), f"a.mp4: {NO_MEMORY}"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "out of memory.mp4"),
            "out of memory.mp4: cannot be used (No such file or directory); check name and rights",
        ),
        (InputError("a\nb\x1b[31m.mp4: no such file"), r"a\nb\x1b[31m.mp4: no such file"),
        (ValueError("odd\n  \x1bthing"), r"a.mp4: ValueError: odd \x1bthing"),
    ],
)
def test_a_line_names_what_it_is_about(error, line):
    assert in_one_line(error, "a.mp4") == line


def test_a_library_that_cannot_be_loaded_is_not_the_fault_of_a_file():
    with pytest.raises(ImportError, match="failed to map segment"):
        in_one_line(ImportError("libavcodec.so: failed to map segment"), "a.mp4")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ModuleNotFoundError("No module named 'cv2'", name="cv2"),
            f"OpenCV is missing or damaged (No module named 'cv2'); {REINSTALL_OPENCV}",
        ),
        (
            ImportError("OpenCV loader: missing configuration file"),
            f"OpenCV is missing or damaged (OpenCV loader: missing configuration file); {REINSTALL_OPENCV}",
        ),
        (
            ImportError("cv2.abi3.so: failed to map segment from shared object", name="cv2"),
            "cv2.abi3.so: failed to map segment from shared object: cannot be loaded; give more memory, or install "
            "emoclip again",
        ),
        (
            ModuleNotFoundError("No module named 'av'", name="av"),
            "No module named 'av': cannot be loaded; install emoclip again",
        ),
    ],
)
def test_what_helps_a_library_that_cannot_be_loaded(error, told):
    assert unloadable(error) == told


@pytest.mark.parametrize("letter", ["\n", "\r", "\t", "\0", "\x1b", "\x85", "\u2028", "\u2029", "\u202e"])
def test_whatever_a_name_holds_a_message_is_one_line_of_letters(tiny, tmp_path, letter):
    name = f"{tmp_path}/a{letter}b"
    asked = [
        lambda: tiny.classify(name, LABELS),
        lambda: tiny.classify([f"{name}.png"], LABELS),
        lambda: tiny.classify(iter([name]), LABELS),
        lambda: tiny.record(f"{name}.mp4"),
        lambda: tiny.timeline("a.mp4", LABELS, baseline=name).read(),
        lambda: tiny.embed_text(Path(f"{name}.yaml")),
        lambda: tiny.embed_text(f"{name}.yaml"),
        lambda: EmoCLIP.load(name),
        lambda: EmoCLIP.load(Path(name)),
        lambda: Recording.read(f"{name}.npz"),
        lambda: write_text(Path(name, "a.txt"), ""),
    ]
    told = [result.error for result in tiny.classify_many([name], LABELS)]
    for ask in asked:
        with pytest.raises(EmoclipError) as caught:
            ask()
        told.append(str(caught.value))
        assert str(pickle.loads(pickle.dumps(caught.value))) == told[-1]
    assert all(line.isprintable() for line in told)
    assert all(ascii(letter)[1:-1] in line for line in told if "a.png" not in line and "frames" not in line)


def test_rights_are_what_to_mend_where_they_lack():
    assert (
        reason(PermissionError(13, "Permission denied", "p/config.json"))
        == "Permission denied: check its rights"
    )


def test_the_nearest_name_is_the_one_that_differs_by_case_alone():
    assert nearest("Lean", ["paper", "lean", "mean"]) == ["lean"]
    assert nearest("vit-b-32", ["ViT-L-14", "ViT-B-32"]) == ["ViT-B-32"]
    assert nearest("qqq", ["lean"]) == []
