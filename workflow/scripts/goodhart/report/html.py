"""Pages from the Jinja2 templates in `templates/`: each page is self-contained, and every value is escaped."""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from goodhart.report import numbers

TEMPLATES = Path(__file__).parent / "templates"
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(page: str, **values: Any) -> str:
    """The page of templates/<page>.html.jinja with these values; every template can use `numbers`."""
    return _ENVIRONMENT.get_template(f"{page}.html.jinja").render(values, numbers=numbers)


def stamped(page: str, origin: Mapping[str, Any]) -> str:
    """A complete page with its origin added to its head."""
    return page.replace("<title>", f'<meta name="origin" content="{escape(json.dumps(origin))}">\n<title>', 1)
