"""Settings that are wrong are refused by name."""

import json
from dataclasses import asdict, fields

import numpy as np
import pytest

from emoclip import Baseline
from emoclip.codings import AgreementConfig
from emoclip.config import (
    FaceConfig,
    Limits,
    SegmentConfig,
    WindowConfig,
    check_fps,
    check_span,
    switch,
)
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


@pytest.mark.parametrize(
    "settings",
    [
        FaceConfig(min_face_px=np.int64(40), min_score=np.float32(0.5), bridge_s=np.int64(1)),
        WindowConfig(length_s=np.float32(2), max_yaw=np.int64(90)),
        SegmentConfig(enter=np.float32(1.5), min_s=np.uint8(0)),
        AgreementConfig(skip_gaps=np.True_, seed=np.int64(0)),
        Baseline(start_s=np.float32(0), end_s=np.int64(2), auto=np.False_),
    ],
)
def test_numbers_of_every_library_are_kept_as_pythons_own(settings):
    """As JSON, hashes of settings and other processes take them."""
    told = json.dumps(asdict(settings))
    assert type(settings)(**json.loads(told)) == settings


def test_what_a_call_is_given_becomes_pythons_own():
    assert [type(value) for value in check_span(np.float32(0.5), np.int64(2))] == [float, float]
    assert type(check_fps(np.float32(25))) is float
    with pytest.raises(ConfigError, match="fps=inf must be a number above 0 that is not infinite"):
        check_fps(np.inf)
    with pytest.raises(ConfigError, match=r"fps=.* must be a number$"):
        check_fps(10**400)


def test_a_switch_of_the_environment_takes_the_usual_words_and_no_others(monkeypatch):
    monkeypatch.delenv("EMOCLIP_X", raising=False)
    assert switch("EMOCLIP_X")
    for value, on in (
        ("", True),
        ("1", True),
        ("Yes", True),
        ("0", False),
        ("off", False),
        (" FALSE ", False),
    ):
        monkeypatch.setenv("EMOCLIP_X", value)
        assert switch("EMOCLIP_X") is on
    monkeypatch.setenv("EMOCLIP_X", "never")
    with pytest.raises(
        ConfigError, match=r"^EMOCLIP_X='never' is not one of 1, yes, true, on, 0, no, false, off$"
    ):
        switch("EMOCLIP_X")


@pytest.mark.parametrize("wrong", ["1e30", "0", "-1", "nan", "lots"])
def test_a_limit_outside_its_range_is_told_the_range(monkeypatch, wrong):
    monkeypatch.setenv("EMOCLIP_MAX_FRAMES", wrong)
    with pytest.raises(ConfigError, match=rf"^EMOCLIP_MAX_FRAMES={wrong} .* above 0, at most 1e\+12$"):
        Limits.current()
