"""What was seen to windows, segments and files: timelines of one input or of many."""

from emoclip.timeline.baseline import Baseline, Rest, check_baseline
from emoclip.timeline.batch import run
from emoclip.timeline.formats import json_line
from emoclip.timeline.outputs import InputOutcome, on_shelf, open_stream
from emoclip.timeline.plan import DEFAULT_FORMATS, Input, Settings, plan
from emoclip.timeline.segments import find_segments
from emoclip.timeline.stream import TimelineStream
from emoclip.timeline.watching import (
    as_recorded,
    as_watched,
    clip_rate,
    embedding_rate,
    looks,
    record,
    recorded,
    too_sparse,
)
from emoclip.timeline.windows import EDGE_S, Draft, cut, read_until

__all__ = [
    "DEFAULT_FORMATS",
    "EDGE_S",
    "Baseline",
    "Draft",
    "Input",
    "InputOutcome",
    "Rest",
    "Settings",
    "TimelineStream",
    "as_recorded",
    "as_watched",
    "check_baseline",
    "clip_rate",
    "cut",
    "embedding_rate",
    "find_segments",
    "json_line",
    "looks",
    "on_shelf",
    "open_stream",
    "plan",
    "read_until",
    "record",
    "recorded",
    "run",
    "too_sparse",
]
