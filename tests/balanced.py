"""A reader of HTML that insists on tags that match."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


class Balanced(HTMLParser):
    """Fails on a tag that closes what is not open; `open` and `seen` are the tags left open and all that came."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
