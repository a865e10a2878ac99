"""Symptom severity from interviews, validated by subject: a research estimate."""

from emoclip.symptoms.fit import Estimator
from emoclip.symptoms.head import NOTE, Estimate, Head
from emoclip.symptoms.interviews import (
    InterviewStore,
    are_recordings,
    frames_note,
    idle_note,
    looked_at,
    read_interview,
)
from emoclip.symptoms.manifest import read_manifest
from emoclip.symptoms.probe import Probe, check_installed
from emoclip.symptoms.report import chance
from emoclip.symptoms.study import Study, ValidationConfig

__all__ = [
    "NOTE",
    "Estimate",
    "Estimator",
    "Head",
    "InterviewStore",
    "Probe",
    "Study",
    "ValidationConfig",
    "are_recordings",
    "chance",
    "check_installed",
    "frames_note",
    "idle_note",
    "looked_at",
    "read_interview",
    "read_manifest",
]
