"""One line for what went wrong, of the thing that it went wrong with."""

import pytest

from emoclip.errors import InputError, in_one_line, nearest, reason


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
    ],
)
def test_a_line_names_what_it_is_about(error, line):
    assert in_one_line(error, "a.mp4") == line


def test_a_library_that_cannot_be_loaded_is_not_the_fault_of_a_file():
    with pytest.raises(ImportError, match="failed to map segment"):
        in_one_line(ImportError("libavcodec.so: failed to map segment"), "a.mp4")


def test_rights_are_what_to_mend_where_they_lack():
    assert (
        reason(PermissionError(13, "Permission denied", "p/config.json"))
        == "Permission denied: check its rights"
    )


def test_the_nearest_name_is_the_one_that_differs_by_case_alone():
    assert nearest("Lean", ["paper", "lean", "mean"]) == ["lean"]
    assert nearest("vit-b-32", ["ViT-L-14", "ViT-B-32"]) == ["ViT-B-32"]
    assert nearest("qqq", ["lean"]) == []
