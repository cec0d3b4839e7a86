"""HTML pages that are complete in themselves: one style, sections, tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --good: #0072b2; --bad: #d55e00; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .5rem; }
h2 { border-top: 1px solid var(--line); padding-top: 1.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15rem 1.2rem .15rem 0; font-weight: normal; }
td { font-weight: 600; }
.wide { overflow-x: auto; margin: 1rem 0; font-size: 13px; }
.wide th, .wide td { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0; vertical-align: top; }
.wide th { font-weight: 600; }
.wide td { font-weight: normal; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
article { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; margin: 1rem 0; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.45 ui-monospace, monospace; margin: .4rem 0;
  background: var(--soft); border-radius: .3rem; padding: .5rem .7rem; }
.note { font-size: 13px; opacity: .8; }
.right { color: var(--good); font-weight: 600; }
.wrong { color: var(--bad); font-weight: 600; }
@media (max-width: 40rem) { .pair { grid-template-columns: 1fr; } }
"""


def page(title: str, body: str) -> str:
    """A whole page; `body` is HTML, the title is not."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>
<style>{STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
{body}</body>
</html>
"""


def stamped(text: str, origin: Mapping[str, Any]) -> str:
    """A whole page with its origin in its head."""
    return text.replace("<title>", f'<meta name="origin" content="{escape(json.dumps(origin))}">\n<title>', 1)


def section(title: str, *parts: str) -> str:
    """A heading and HTML parts under it."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{''.join(parts)}</section>\n"


def paragraphs(texts: Iterable[str]) -> str:
    """Each text, plain, as a paragraph."""
    return "".join(f"<p>{escape(text)}</p>\n" for text in texts)


def rows_table(caption: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of plain cells with a caption, its columns the keys of the first row; nothing when there is no row."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(str(c))}</td>" for c in row.values()) + "</tr>\n" for row in rows)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )
