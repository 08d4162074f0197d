"""The HTML of a page: whole in itself, and inert whatever its words are."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from pages import everything

from prunekit.report.html import to_html

EVIL = "</title></style></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{ 7*7 }}\x1b\u202e&amp;"


class Tags(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_refers_to_nothing_outside_of_itself() -> None:
    text = to_html(everything("word")).decode()
    assert set(re.findall(r"https?://[^\"'\s<>]*", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"@import|@font-face|<iframe|<object|<embed", text)
    for tag, attributes in Tags(text).tags:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:,")), (tag, value)
    for target in re.findall(r"url\(([^)]*)\)", text):
        assert target.startswith(("#", "data:image/webp;base64,")), target


def test_foreign_words_are_text_and_nothing_else() -> None:
    tame, wild = (Tags(to_html(everything(word)).decode()) for word in ("word", EVIL))
    assert [tag for tag, _ in wild.tags] == [tag for tag, _ in tame.tags]
    assert [sorted(attributes) for _, attributes in wild.tags] == [sorted(attributes) for _, attributes in tame.tags]
    assert "\\x1b\\u202e" in wild.text
    assert "{{ 7*7 }}" in wild.text
    assert "\x1b" not in wild.text
    assert "\u202e" not in wild.text


def test_half_a_character_is_spelled_out() -> None:
    assert b"\\udcff" in to_html(everything("\udcff"))


def test_only_the_page_s_own_script_may_run() -> None:
    text = to_html(everything("word")).decode()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_no_two_things_have_one_name() -> None:
    tags = Tags(to_html(everything("word")).decode()).tags
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names)) > 20
    referred = {
        value[1:] for _, found in tags for key in ("href", "xlink:href") if (value := found.get(key) or "")[:1] == "#"
    }
    assert referred <= set(names)


def test_the_same_page_is_the_same_bytes() -> None:
    assert to_html(everything("word")) == to_html(everything("word"))


def test_numbers_are_sorted_as_numbers_and_what_is_absent_has_no_value() -> None:
    tags = Tags(to_html(everything("word")).decode()).tags
    cells = [attributes for tag, attributes in tags if tag == "td"]
    assert [cell["data-value"] for cell in cells] == ["3.0", "", "20.0", "1.0"]
    assert ["data-number" in cell for cell in cells] == [True, False, True, True]
