"""One line for what went wrong, of the thing that it went wrong with."""

import pytest

from emoclip.errors import InputError, in_one_line, reason


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


def test_rights_are_what_to_mend_where_they_lack():
    assert (
        reason(PermissionError(13, "Permission denied", "p/config.json"))
        == "Permission denied: check its rights"
    )
