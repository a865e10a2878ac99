"""Pages and pictures: HTML, charts, predictions drawn on their frame; one palette."""

from emoclip.drawing.charts import new_figure, png
from emoclip.drawing.html import Html, bullets, figure, group, heading, inline_data, page, paragraph, table
from emoclip.drawing.prediction import check_format, draw

__all__ = [
    "Html",
    "bullets",
    "check_format",
    "draw",
    "figure",
    "group",
    "heading",
    "inline_data",
    "new_figure",
    "page",
    "paragraph",
    "png",
    "table",
]
