import re

from outlines import outline

from emoclip.drawing import html as page


def test_a_page_is_well_formed_and_asks_for_nothing():
    parts = [
        page.heading("Part"),
        page.paragraph("a < b", faint=True),
        page.bullets(["one", "two"]),
        page.table(["who", "WAR"], [["x<y", 51.234], ["z", None]], ours=[0]),
        page.group("pictures", [page.figure(b"\x89PNG....", 'a "quoted" picture', "caption")]),
        page.inline_data("numbers", {"a": "</script>"}),
    ]
    text = page.page("Scores & <names>", "\n".join(parts), script="let a = 1;")
    found = outline(text)
    assert found.requests == []
    assert "http:" not in text
    assert "https:" not in text
    assert {"x<y", "51.23", "–", "a < b"} <= set(found.texts)
    assert "default-src 'none'" in text
    assert re.search(r'alt="a &quot;quoted&quot; picture"', text)


def test_only_what_is_marked_as_html_is_not_escaped():
    assert page.paragraph("<b>") == "<p>&lt;b&gt;</p>"
    assert page.paragraph(page.Html("<b>x</b>")) == "<p><b>x</b></p>"
    assert "&lt;script&gt;" in page.page("<script>", "")
