"""The report, opened and used in a real browser."""

import math
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from emoclip.config import SegmentConfig
from emoclip.results import Peak, Quality, Timeline, Window
from emoclip.timeline.report import report
from emoclip.timeline.segments import find_segments, summarise

LABELS = ["smiling", "crying </script><script>alert(1)</script>", 'worried & "so"\n on']


def timeline(labels=LABELS, tracks=(0, 2), count=30):
    rows = []
    for track in tracks:
        for at in range(count):
            readable = at % 10 != 9
            best = at * len(labels) // count
            shares = [0.8 if place == best else 0.2 / (len(labels) - 1) for place in range(len(labels))]
            probs = dict(zip(labels, shares, strict=True)) if readable else dict.fromkeys(labels, math.nan)
            status = "ok" if readable else "blurred"
            top = labels[best] if readable else ""
            rows.append(Window(track, 0.5 * at, 0.5 * at + 1.96, status, 1.0, 0.9, top, probs))
    segments = find_segments(rows, labels, SegmentConfig())
    found, summary = summarise(rows, segments, labels)
    picture = cv2.imencode(".jpg", np.full((96, 96, 3), 90, np.uint8))[1].tobytes()
    peaks = [Peak(track, labels[0], 2.0, 0.8, picture) for track in tracks]
    return Timeline(
        "in/<b>talk<b>.mp4", "mini", labels, 16.5, rows, segments, found, summary, peaks, ["at 3.00 s: <i>"]
    )


POINT = """
const point = (canvas, type, share, extra = {}) => {
  const box = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new PointerEvent(type, {bubbles: true, pointerId: 1, pointerType: "mouse", button: 0,
    clientX: box.left + 42 + share * (box.width - 50), clientY: box.top + 40, ...extra}));
};
const canvas = document.querySelector("canvas"), tip = document.querySelector(".tip");
const range = () => document.querySelector(".range").textContent;
"""


def test_hovering_shows_the_values_of_the_window_under_the_pointer(browse):
    found = browse(
        report(timeline()),
        POINT
        + 'point(canvas, "pointermove", 0.1); const at = tip.innerText; point(canvas, "pointermove", 0.99);'
        'const hidden = document.querySelectorAll(".tip[hidden]").length;'
        'point(canvas, "pointerleave", 0.99); return [at, tip.hidden, hidden];',
    )
    # The chart spans 0 to 16.46 s; at a tenth, the window centred at 1.48 s is nearest (1.646 s).
    assert found[0].split("\n") == [
        "0:00.50 – 0:02.46",
        "0.80 smiling",
        "0.10 crying </script><script>alert(1)</script>",
        '0.10 worried & "so" on',
    ]
    assert found[1:] == [True, 0]


def test_dragging_zooms_and_double_click_shows_all_again(browse):
    found = browse(
        report(timeline()),
        POINT
        + 'const before = range(); point(canvas, "pointerdown", 0.25); point(canvas, "pointermove", 0.75);'
        'point(canvas, "pointerup", 0.75); const zoomed = range();'
        'canvas.dispatchEvent(new MouseEvent("dblclick")); const after = range();'
        """document.querySelector('[data-action="in"]').click(); return [before, zoomed, after, range()];""",
    )
    assert found == ["0:00.0 – 0:16.5", "0:04.1 – 0:12.3", "0:00.0 – 0:16.5", "0:04.1 – 0:12.3"]


def test_the_legend_switches_labels_off_in_chart_and_tip(browse):
    found = browse(
        report(timeline()),
        POINT
        + """
        const blue = () => {
          const seen = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let count = 0;
          for (let at = 0; at < seen.length; at += 4) {
            count += seen[at] === 0 && seen[at + 1] === 114 && seen[at + 2] === 178;
          }
          return count;
        };
        const button = document.querySelector(".legend button"), before = blue();
        button.click();
        point(canvas, "pointermove", 0.1);
        const told = tip.innerText.includes("smiling");
        return [button.textContent, button.getAttribute("aria-pressed"), before > 50, blue() < before / 4, told];""",
    )
    assert found == ["smiling", "false", True, True, False]


def test_a_picture_leads_to_its_moment_and_keys_step_through_windows(browse):
    found = browse(
        report(timeline(count=120)),
        POINT
        + """
        const key = (name) => canvas.dispatchEvent(new KeyboardEvent("keydown", {key: name, cancelable: true}));
        const first = () => tip.innerText.split("\\n")[0];
        const whole = range();
        document.querySelector("[data-time]").click();
        const there = range(), one = first();
        key("ArrowRight");
        const two = first();
        key("0");
        return [there, one, two, range() === whole];""",
    )
    assert found == ["0:00.0 – 0:20.0", "0:01.00 – 0:02.96", "0:01.50 – 0:03.46", True]


INK = """
const canvas = document.querySelector("canvas"), pen = canvas.getContext("2d");
// Pixels that are neither clear nor of the grid's grey between two shares of the chart's width.
const ink = (from, to) => {
  const left = Math.round(42 + from * (canvas.width - 50)), right = Math.round(42 + to * (canvas.width - 50));
  const seen = pen.getImageData(left, 0, right - left, canvas.height - 20).data;
  const line = pen.getImageData(Math.round(canvas.width / 2), 8, 1, 1).data;
  let count = 0;
  for (let at = 0; at < seen.length; at += 4) {
    count += seen[at + 3] > 40 && Math.abs(seen[at] - line[0]) + Math.abs(seen[at + 2] - line[2]) > 60;
  }
  return count;
};
"""


def of_rows(rows, labels, **more):
    segments = find_segments(rows, labels, SegmentConfig())
    return Timeline("a.mp4", "mini", labels, None, rows, segments, *summarise(rows, segments, labels), **more)


@pytest.mark.parametrize("status", ["ok", "blurred"])
def test_nothing_is_drawn_over_a_stretch_without_a_picture(browse, status):
    probs = {"smiling": 0.9, "crying": 0.1}
    unread = dict.fromkeys(probs, math.nan)
    seen = Quality(118.0, 0.25, 0.75, -12.5, 3.0, 0.0)
    starts = [0.5 * at for at in range(8)] + [30 + 0.5 * at for at in range(8)]
    rows = [Window(0, at, at + 1.96, "ok", 1.0, 0.9, "smiling", probs, None, seen) for at in starts]
    for at in (7, 8):
        if status != "ok":
            rows[at] = replace(rows[at], status=status, probs=unread, top="")
    found = browse(
        report(of_rows(rows, list(probs))), INK + "return [ink(0, 0.15), ink(0.2, 0.8), ink(0.85, 1)];"
    )
    assert found[0] > 100
    assert found[1] == 0
    assert found[2] > 100


def test_nothing_is_drawn_where_the_face_is_not_in_the_picture(browse):
    probs, seen = {"smiling": 0.9, "crying": 0.1}, {0: (0.0, 1.96)}
    quality = Quality(118.0, 0.25, 0.75, -12.5, 3.0, 0.0)
    rows = [
        Window(0, 0.5 * at, 0.5 * at + 1.96, "ok", 1.0, 0.9, "smiling", probs, None, quality, 0.04)
        for at in range(8)
    ]
    segments = find_segments(rows, list(probs), SegmentConfig(), seen)
    tracks, summary = summarise(rows, segments, list(probs), seen)
    made = replace(
        of_rows(rows, list(probs), read_s=(0.0, 6.0)), segments=segments, tracks=tracks, summary=summary
    )
    found = browse(report(made), INK + "return [ink(0, 0.3), ink(0.35, 1)];")  # the face is gone at a third
    assert found[0] > 100
    assert found[1] == 0


def test_the_title_of_the_axis_stands_clear_of_its_figures(browse):
    script = """
        const texts = {}, write = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
          texts[text] = [this.getTransform(), this.measureText(text), x];
          write.call(this, text, x, y);
        };
        point(canvas, "pointermove", 0.5);
        const [turned, title] = texts["probability"], [, figure, right] = texts["0.5"];
        return [turned.e / devicePixelRatio - title.actualBoundingBoxAscent,
          turned.e / devicePixelRatio + title.actualBoundingBoxDescent, right - figure.width];"""
    left, ends, begins = browse(report(timeline()), POINT + script)
    assert left >= 0
    assert begins - ends >= 4


def test_a_single_frame_is_on_an_axis_of_some_length(browse):
    one = Window(0, 0.0, 0.0, "ok", 1.0, 1.0, "smiling", {"smiling": 0.9, "crying": 0.1})
    made = replace(of_rows([one], ["smiling", "crying"], read_s=(0.0, 0.033)), duration_s=0.033)
    found = browse(
        report(made),
        INK
        + "return [document.querySelector('.range').textContent, ink(-0.01, 0.01), document.body.innerText];",
    )
    assert found[0] == "0:00.0 – 0:00.5"
    assert found[1] > 20
    assert "0:00.0 long" not in found[2]


def test_the_axis_goes_on_to_the_end_of_what_was_read(browse):
    page = report(replace(timeline(), read_s=(0.0, 16.9)))
    assert browse(page, "return document.querySelector('.range').textContent;") == "0:00.0 – 0:16.9"


def test_a_page_says_what_was_read_where_that_is_not_all():
    whole = replace(timeline(), duration_s=17.0, read_s=(0.0, 16.98))
    assert "0:17.0 long, " in report(whole)
    assert "0:17.0 long (read from 0:00.0 to 0:03.8), " in report(replace(whole, read_s=(0.0, 3.8)))
    noted = report(replace(whole, warnings=["at 3.79 s: cut off?", "1 picture is left out"]))
    assert "cut off?." not in noted
    assert "1 picture is left out." in noted


def test_the_page_fits_a_phone_and_loads_nothing(browse):
    page = report(timeline())
    found = browse(
        page,
        'return [document.documentElement.scrollWidth <= innerWidth, performance.getEntriesByType("resource").length,'
        'document.querySelector("canvas").getBoundingClientRect().width > 250];',
        size="390,844",
    )
    assert found[0] is True
    assert found[1:] == [0, True]
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_text_from_outside_stays_text(browse):
    found = browse(
        report(timeline()),
        'return [document.querySelectorAll("h1 b, li i").length, document.querySelector("h1").textContent,'
        'document.querySelectorAll("tbody tr").length, [...document.querySelectorAll("li")].at(-1).textContent];',
    )
    assert found == [0, "<b>talk<b>.mp4", 6, "The video, at 3.00 s: <i>."]


def test_the_page_itself_is_small():
    bare = replace(timeline(), peaks=[])
    assert len(report(bare).encode()) < 60_000


def test_nobody_in_the_video_is_said_and_draws_no_chart(browse):
    nobody = Window(-1, 0.0, 2.0, "no_face", 0.0, math.nan, "", dict.fromkeys(LABELS, math.nan))
    page = report(Timeline("empty.mp4", "mini", LABELS, 2.0, [nobody], [], [], []))
    found = browse(page, 'return [document.querySelectorAll("canvas").length, document.body.innerText];')
    assert found[0] == 0
    assert "No face could be read" in found[1]
    assert "In 1 window no face was found." in found[1]


def test_a_picture_alone_has_no_share_of_time():
    labels = ["smiling", "crying"]
    one = Window(0, 0.0, 0.0, "ok", 1.0, 1.0, "smiling", {"smiling": 0.9, "crying": 0.1})
    segments = find_segments([one], labels, SegmentConfig())
    page = report(
        Timeline("a.jpg", "mini", labels, 0.0, [one], segments, *summarise([one], segments, labels))
    )
    assert "nan" not in page.split("<script")[0]


def test_a_crowd_gets_charts_for_the_best_read_and_a_note_for_the_others():
    page = report(timeline(labels=["a", "b"], tracks=tuple(range(25))))
    assert page.count("<canvas") == 20
    assert "Faces without a chart" in page


def test_more_labels_than_the_tip_holds_are_counted(browse):
    page = report(timeline(labels=[f"label {at}" for at in range(12)]))
    found = browse(page, POINT + 'point(canvas, "pointermove", 0.1); return tip.innerText;')
    assert found.split("\n")[9:] == ["+4 more"]


def test_a_label_written_from_right_to_left_leaves_its_figures_in_their_order(browse):
    page = report(timeline(labels=["سعيد", "b"]))
    found = browse(page, "return document.querySelector('figcaption').innerHTML;")
    assert found == "<bdi>سعيد</bdi>: 0.80 at 0:02.0"


def test_without_javascript_a_table_of_segments_stands_for_each_chart():
    page = report(timeline(labels=["a", "b"]))
    tables = re.findall(r"<noscript>\s*<div.*?</noscript>", page, re.DOTALL)
    assert len(tables) == 2
    assert re.findall(r">([^<>\n]+)</td>", tables[0])[:3] == ["a", "0:00.0", "0:08.2"]


def test_paper_has_light_colours_and_its_own_width(browse):
    found = browse(
        report(timeline()),
        'const canvas = document.querySelector("canvas"), before = canvas.width;'
        'dispatchEvent(new Event("beforeprint")); const printed = [canvas.width, canvas.clientWidth];'
        'dispatchEvent(new Event("afterprint")); return [before, ...printed, canvas.width];',
    )
    assert found[1] == found[2] == 44 * 16 - 32
    assert found[0] == found[3] > found[1]


def test_scores_that_were_asked_for_are_drawn_in_place_of_probabilities(browse):
    told = timeline()
    rows = [replace(row, scores=dict.fromkeys(LABELS, 0.25)) if row.top else row for row in told.windows]
    page = report(replace(told, windows=rows, scored=True))
    found = browse(
        page,
        POINT
        + """const button = document.querySelector('[data-action="scores"]'), told = [];
        for (let click = 0; click < 3; click++) {
          point(canvas, "pointermove", 0.1);
          told.push([tip.innerText.split("\\n")[1], button.getAttribute("aria-pressed")]);
          button.click();
        }
        const cells = document.querySelector("tbody tr").cells;
        return [told, cells[cells.length - 1].textContent];""",
    )
    assert found == [[["0.80 smiling", "false"], ["0.25 smiling", "true"], ["0.80 smiling", "false"]], "0.25"]


def test_a_page_without_scores_does_not_speak_of_them():
    assert "score" not in re.sub("<script.*", "", report(timeline()), flags=re.DOTALL).replace(
        "detection score", ""
    )


def test_every_label_has_its_strongest_moment_and_what_is_never_on_top_no_picture():
    told = timeline(labels=["a", "b", "c"], tracks=(0,))
    rows = [replace(row, top="a" if row.top else "") for row in told.windows]
    peaks = [replace(told.peaks[0], label=label, prob=0.2, time_s=3.0) for label in ("a", "b", "c")]
    page = report(replace(told, windows=rows, peaks=peaks))
    assert page.count("0.20 at 0:03.0</td>") == 3
    assert re.findall("<figcaption><bdi>(.)</bdi>", page) == ["a"]


def test_smoothing_and_other_settings_than_the_usual_are_told():
    assert "Smoothed" not in report(timeline())
    assert "not the usual" not in report(timeline())
    told = {"segments.smooth_s": 6.0, "windows.max_yaw": 30.0, "baseline": "<auto>"}
    page = report(replace(timeline(), settings=told))
    assert "Smoothed: probabilities are means over 6 s. Settings that are not the usual ones: " in page
    assert "windows.max_yaw=30.0, baseline=&lt;auto&gt;." in page
