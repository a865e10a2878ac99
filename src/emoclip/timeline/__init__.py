"""What was seen to windows, segments and files: timelines of one input or of many."""

from emoclip.timeline.baseline import Baseline, Rest, parse_baseline
from emoclip.timeline.batch import Outcome, Settings, plan, run
from emoclip.timeline.formats import json_line
from emoclip.timeline.segments import find_segments
from emoclip.timeline.stream import TimelineStream, asked, cut
from emoclip.timeline.watching import record

__all__ = [
    "Baseline",
    "Outcome",
    "Rest",
    "Settings",
    "TimelineStream",
    "asked",
    "cut",
    "find_segments",
    "json_line",
    "parse_baseline",
    "plan",
    "record",
    "run",
]
