"""The pages of docs/demo, and what a page's script reads."""

import importlib.util
import json
import re
from pathlib import Path

DEMO = Path(__file__).parents[2] / "docs" / "demo"


def demo(name):
    """A module of docs/demo, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DEMO / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def data_of(page):
    """What the page's script reads, by the rules of HTML: a script ends at the first `</script`."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script', page, re.S)[1])


def assert_loads_nothing(page):
    """No element of the page loads anything, no address is in it, and its policy forbids both."""
    assert not re.search(r"(?i)<(link|script|img|iframe)[^>]*(src|href)=(?!\"data:,\")", page)
    assert set(re.findall(r"https?://[\w.]+", page)) <= {"http://www.w3.org"}  # the name of SVG's namespace
    assert "default-src 'none'" in page
