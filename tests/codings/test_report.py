"""The page of an agreement, opened and used in a real browser."""

from pathlib import Path

import pytest

from emoclip.codings import Coding, Mark, agreement_report, measure, pair, raters

ODD = "</script><b>smirk"
ANNA = ((0, 6.3, "sad"), (6.3, 10, ODD), (10, 19, "smiling"))
BEN = ((0, 5.9, "sad"), (6.5, 10, ODD), (12, 19, "smiling"))


def coding(coder: str, video: str, marks) -> Coding:
    found = tuple(Mark(float(a), float(b), label) for a, b, label in marks)
    return Coding(Path(f"{coder}/{video}.csv"), video, coder, found, 20.0)


@pytest.fixture(scope="module")
def page() -> str:
    films = [("talk", ANNA, BEN), ("walk", ANNA, ANNA)]
    sources = [
        (Path("anna"), [coding("anna", video, one) for video, one, _ in films]),
        (Path("ben"), [coding("ben", video, other) for video, _, other in films]),
    ]
    return agreement_report.report(measure(pair(raters(sources))))


STATE = """
const state = () => [...document.querySelectorAll(".strip.shown")].map((strip) => {
  const box = strip.querySelector(".at"), svg = strip.querySelector("svg");
  return [strip.id, strip.querySelector(".range").textContent,
    svg.getAttribute("viewBox").split(" ").map((part) => Number(part).toFixed(1)),
    Number(box.getAttribute("x")), box.getAttribute("visibility"),
    strip.querySelector(".times").innerText.split(/\\s+/).join(" ")];
});
const move = (by) => document.querySelector(`[data-move="${by}"]`).click();
"""


def test_a_disagreement_leads_to_its_place_in_the_codings(browse, page: str):
    found = browse(page, STATE + "document.querySelectorAll('[data-strip]')[1].click(); return state();")
    assert found == [
        [
            "strip-0",
            "0:05.9 to 0:06.3: anna: sad, ben: (no label)",
            ["0.9", "0.0", "10.4", "36.0"],
            5.9,
            "visible",
            "0:00.9 0:06.1 0:11.3",
        ]
    ]


def test_buttons_step_through_disagreements_and_show_all_time_again(browse, page: str):
    found = browse(
        page,
        STATE + "const told = [];"
        "for (const by of [1, 1, -1, -1]) { move(by); told.push(state()[0][3]); }"
        "document.querySelector('[data-all]').click();"
        "const all = [...document.querySelectorAll('.strip svg')].map((svg) => svg.getAttribute('viewBox'));"
        "move(-1); return [told, state().length, all, state()[0][3]];",
    )
    assert found == [[10, 5.9, 10, 6.3], 1, ["0 0 20 36", "0 0 20 36"], 6.3]


@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_the_page_fits_and_words_stay_whole(browse, page: str, size: str):
    found = browse(
        page,
        "const cells = [...document.querySelectorAll('.wide td:first-child')];"
        "return [document.documentElement.scrollWidth <= innerWidth, performance.getEntriesByType('resource').length,"
        "cells.some((cell) => cell.innerText === 'sad' && cell.offsetHeight > 45)];",
        size=size,
    )
    assert found == [True, 0, False]


def test_text_from_outside_stays_text(browse, page: str):
    found = browse(
        page,
        "return [document.querySelectorAll('td b, .legend b').length,"
        "[...document.querySelectorAll('.legend span')].map((entry) => entry.textContent)];",
    )
    assert found[0] == 0
    assert ODD in found[1]


def test_each_label_has_a_colour_of_its_own_that_shows_on_dark_paper(browse):
    labels = [f"label {at:02d}" for at in range(14)]
    marks = [(at, at + 1, label) for at, label in enumerate(labels)]
    sources = [(Path(name), [coding(name, "talk", marks)]) for name in ("anna", "ben")]
    found = browse(
        agreement_report.report(measure(pair(raters(sources)))),
        "return [...document.querySelectorAll('.legend i')].map((mark) => getComputedStyle(mark).backgroundColor);",
    )
    assert len(set(found)) == 14
    assert "rgb(0, 0, 0)" not in found


def test_videos_come_as_people_count_and_one_line_tells_all_without_a_length():
    films = [
        Coding(Path(f"c/vid{at}.csv"), f"vid{at}", "c", (Mark(0, 6, "sad"), Mark(6, 9, ODD)))
        for at in range(12)
    ]
    found = measure(pair(raters([(Path("anna"), films), (Path("ben"), films)])))
    assert [unit.video for unit in found.pairing.units] == [f"vid{at}" for at in range(12)]
    told = [note for note in found.notes if "no file says" in note]
    assert told == [
        "vid0, vid1, vid2 and 9 more: no file says how long they are; compared up to the last mark (see --end)"
    ]


def test_a_lag_too_small_to_show_has_no_sign_of_its_own():
    films = [coding(who, "talk", [(2 - early, 4, "sad")]) for who, early in (("anna", 0), ("ben", 0.001))]
    page = agreement_report.report(measure(pair(raters([(Path(f.coder), [f]) for f in films]))))
    assert "+0.00 s" in page
    assert "-0.00" not in page


def test_a_colour_that_comes_again_is_outlined(browse):
    marks = [(at, at + 1, f"label {at}") for at in range(12)]
    films = [coding(who, "talk", marks) for who in ("anna", "ben")]
    page = agreement_report.report(measure(pair(raters([(Path(f.coder), [f]) for f in films]))))
    found = browse(
        page,
        "const span = document.querySelector('.legend span');"
        "return [document.querySelectorAll('.legend .again').length, document.querySelectorAll('rect.again').length,"
        "getComputedStyle(span).display];",
    )
    assert found == [5, 10, "inline-block"]


def test_paper_has_light_colours_and_those_that_tell_something(browse, page: str):
    found = browse(
        page,
        """const styles = [];
        for (const name of [".legend i", ".confusion td"]) {
          styles.push(getComputedStyle(document.querySelector(name)).printColorAdjust);
        }
        return styles;""",
    )
    assert found == ["exact", "exact"]
    dark = [line for line in page.splitlines() if "prefers-color-scheme: dark" in line]
    assert dark
    assert all("screen and" in line for line in dark)


SEEN = """
// What of each mark lies on top at the middle of its height, in px of width.
return [...document.querySelectorAll('.strip svg title')].map((title) => {
  const mark = title.parentElement, box = mark.getBoundingClientRect();
  mark.scrollIntoView({block: 'center'});
  const {left, right, top, height} = mark.getBoundingClientRect();
  let seen = 0;
  for (let x = Math.floor(left) - 4.5; x < right + 5; x++)
    seen += mark.contains(document.elementFromPoint(x, top + height / 2));
  return [title.textContent, seen, Math.round(seen / (right - left) * 100)];
});"""


def test_marks_that_overlap_are_all_seen(browse):
    marks = [(0.4, 6, "sad"), (5, 7, "smile"), (6, 9.7, "neutral"), (5.5, 6.5, "frown")]
    films = [coding(who, "talk", marks) for who in ("anna", "ben")]
    page = agreement_report.report(measure(pair(raters([(Path(f.coder), [f]) for f in films]))))
    found = browse(page, SEEN)
    assert len(found) == 8
    assert all(share >= 98 for _, _, share in found)
    # As many layers as overlap at once: 3 of 7 px, 2 px between them, 4 px below each of the two lanes.
    assert 'viewBox="0 0 20.000 58"' in page


def test_point_events_of_an_hour_lie_on_top_wide_enough_to_see(browse):
    points = {(0, "blink"), (1000, "blink"), (1000, "flash"), (3600, "blink")}  # two at once, and both ends
    marks = (
        Mark(5.0, 3600.0, "smile"),
        Mark(20.0, 20.04, "frown"),
        *(Mark(at, at, label) for at, label in points),
    )
    films = [Coding(Path(f"{who}.csv"), "talk", who, marks, 3600.0) for who in ("anna", "ben")]
    page = agreement_report.report(measure(pair(raters([(Path(f.coder), [f]) for f in films]))))
    seen = {said: width for said, width, _ in browse(page, SEEN) if said.startswith("anna")}
    assert seen.pop("anna: frown, 0:20.0 to 0:20.0") >= 1
    assert seen.pop("anna: smile, 0:05.0 to 1:00:00.0") > 500
    # 3 px and a margin on either side.
    told = ("blink, 0:00.0", "blink, 16:40.0", "flash, 16:40.0", "blink, 1:00:00.0")
    assert seen == {f"anna: {said}": 5 for said in told}
