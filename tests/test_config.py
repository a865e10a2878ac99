"""Settings that are wrong are refused by name."""

from dataclasses import fields

import numpy as np
import pytest

from emoclip.codings import AgreementConfig
from emoclip.config import FaceConfig, SegmentConfig, WindowConfig
from emoclip.errors import ConfigError
from emoclip.symptoms import ValidationConfig

NUMBERS = [
    (kind, field.name)
    for kind in (FaceConfig, WindowConfig, SegmentConfig)
    for field in fields(kind)
    if field.type in (int, float)
]


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
@pytest.mark.parametrize("wrong", ["a", None, float("nan"), -1, True])
def test_what_is_no_number_of_its_range_is_named(kind, name, wrong):
    with pytest.raises(ConfigError, match=rf"^{name}="):
        kind(**{name: wrong})


@pytest.mark.parametrize("kind", [AgreementConfig, ValidationConfig])
def test_settings_of_studies_are_numbers_too(kind):
    with pytest.raises(ConfigError, match="seed='a' must be a whole number"):
        kind(seed="a")
    assert ValidationConfig(folds=None).folds is None
    with pytest.raises(ConfigError, match="folds='a' must be a whole number"):
        ValidationConfig(folds="a")


def test_a_step_is_no_shorter_than_on_the_command_line():
    with pytest.raises(ConfigError, match=r"step_s=1e-09 must be in \[0\.001, length_s=2\.0\]"):
        WindowConfig(step_s=1e-9)


def test_numbers_of_every_library_are_numbers():
    assert WindowConfig(length_s=np.float32(1), step_s=1).length_s == 1
    assert FaceConfig(max_faces=np.int64(3)).max_faces == 3
    with pytest.raises(ConfigError, match=r"detect_every=2\.5 must be a whole number"):
        FaceConfig(detect_every=2.5)
    assert AgreementConfig(skip_gaps=np.True_).skip_gaps
    with pytest.raises(ConfigError, match="skip_gaps='no' must be True or False"):
        AgreementConfig(skip_gaps="no")
