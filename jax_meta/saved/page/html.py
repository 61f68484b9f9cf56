"""The page: a template that is built from docs/demo, filled with a title, a text and networks."""

import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jax_meta.saved.page.networks import Network, describe_network
from jax_meta.whole_files import write_whole

MAX_NETWORKS = 6
"""Lines that the page can tell apart."""
MAX_POINTS = 64
MAX_SHOWN_STEPS = 1_000

Range = tuple[float, float]


class Page(NamedTuple):
    """What a page shows.

    Attributes:
        title: its heading.
        lead: the sentences below the heading, as HTML.
        about: what follows the plots, as HTML.
        networks: one to six networks.
        x_range: the plane's, from left to right.
        y_range: the plane's, from below to above.
        steps: the steps that the slider has. Default: 32.
        points: the points to start with, `(x, y)`, at most 64. Default: none.
        sines: whether the page offers the sines of `jax_meta.tasks.sinusoid`, and starts with one. Default: False.
    """

    title: str
    lead: str
    about: str
    networks: Sequence[Network]
    x_range: Range = (-5.0, 5.0)
    y_range: Range = (-6.0, 6.0)
    steps: int = 32
    points: Sequence[tuple[float, float]] = ()
    sines: bool = False


def write_page(path: Path, page: Page) -> None:
    """Writes the page as one file that needs no other, whole or not at all; raises ValueError for other networks."""
    write_whole(path, make_page(page).encode())


def make_page(page: Page) -> str:
    """The page's HTML; raises ValueError for networks that it cannot teach."""
    template = files("jax_meta.saved.page").joinpath("template.html").read_text(encoding="utf-8")
    data = {
        "xRange": page.x_range,
        "yRange": page.y_range,
        "steps": page.steps,
        "points": page.points,
        "sines": page.sines,
        "networks": [describe_network(network) for network in page.networks],
    }
    return fill(template, title=page.title, lead=page.lead, about=page.about, data=data)


def fill(template: str, *, title: str, lead: str, about: str, data: Any) -> str:
    """A template with its parts in place: the title is text, lead and about are HTML, and data what JSON can hold."""
    content = {
        "TITLE": html.escape(title),
        "LEAD": lead,
        "ABOUT": about,
        "DATA": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),  # so that no name in it ends the script
    }
    return re.sub(r"\{\{(TITLE|LEAD|ABOUT|DATA)\}\}", lambda match: content[match[1]], template)
