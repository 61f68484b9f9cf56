"""What a built site promises: `python docs/check.py site` says what is wrong, and ends with 1 if anything is.

A public name without an entry, anything loaded from outside, a link or an anchor that leads nowhere, a README that is
too long or links to no page, a number in a page of results that no file gave, an executed page without an assertion.
"""

import importlib
import re
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

ROOT = Path(__file__).parent.parent
MODULES = ("jax_meta", "jax_meta.datasets", "jax_meta.plots", "jax_meta.tasks", "jax_meta.tasks.sinusoid")
ALIASES = {"jax_meta.layers": "jax_meta.networks.layers", "jax_meta.models": "jax_meta.networks.models"}
LONGEST_README = 150
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
NUMBER = re.compile(r"(?<![\w.,-])[±+−-]?\d+(?:[.,]\d+)*(?![\w-])")
NOT_PROSE = (
    r"^(`{3,}|:{3,}).*?^\1\s*?$",  # fenced blocks and directives, with includes
    r"\{\{.*?\}\}",  # substitutions, which give the numbers
    r"`[^`]*`",  # code
    r"\[[^\]]*\]\(https?:[^)]*\)",  # papers by their number
    r"\]\([^)]*\)",  # the targets of links
)


class Page(HTMLParser):
    """What a page of HTML loads, links to, and can be linked at."""

    def __init__(self, text: str) -> None:
        """Reads the page."""
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes one element."""
        values = dict(attrs)
        self.anchors |= {value for name, value in attrs if name in ("id", "name") and value}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")
        elif values.get(LOADING.get(tag, "")) and values.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(values[LOADING[tag]] or "")


def public_names() -> Iterator[str]:
    """Every public name, in full."""
    for module in (*MODULES, *ALIASES):
        home = importlib.import_module(ALIASES.get(module, module))
        shown = getattr(home, "__all__", [name for name in vars(home) if name.startswith("plot_")])
        yield from (f"{module}.{name}" for name in shown if not isinstance(getattr(home, name), ModuleType))


def documented(site: Path) -> set[str]:
    """The names in the site's inventory."""
    content = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ")[0] for line in zlib.decompress(content).decode().splitlines()}


def outside(site: Path) -> Iterator[str]:
    """What pages and style sheets load from another address."""
    for path in site.rglob("*.html"):
        yield from (f"{path.name} loads {url}" for url in Page(path.read_text("utf-8")).loads if "//" in url)
    for path in site.rglob("*.css"):
        found = re.findall(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^)'\"]*)", path.read_text("utf-8"))
        yield from (f"{path.name} loads {url}" for url in found)


def broken_links(site: Path) -> Iterator[str]:
    """Links within the site that lead to no file, or to no anchor in it."""
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            file, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:", link) or "_modules" in path.parts:
                continue
            target = (path.parent / file).resolve() if file else path
            if not target.exists():
                yield f"{path.name} links to {link}, which is not there"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield f"{path.name} links to {link}, which has no such anchor"


def readme(text: str, site: Path) -> Iterator[str]:
    """A README that is too long, or links to a page that is not built."""
    if (lines := len(text.splitlines())) > LONGEST_README:
        yield f"README.md has {lines} lines, more than {LONGEST_README}"
    for page in re.findall(r"\]\(docs/([^)#]+)\.md", text):
        if not (site / f"{page}.html").exists():
            yield f"README.md links to docs/{page}.md, which is not built"


def typed_numbers(text: str) -> list[str]:
    """Numbers in a page of results that neither a file nor a substitution gave."""
    for pattern in NOT_PROSE:
        text = re.sub(pattern, " ", text, flags=re.DOTALL | re.MULTILINE)
    return NUMBER.findall(text)


def is_unasserted(text: str) -> bool:
    """Whether a page is executed and asserts nothing."""
    cells = re.findall(r"^```\{code-cell\}.*?^```", text, re.DOTALL | re.MULTILINE)
    return bool(cells) and not any(re.search(r"^\s*assert ", cell, re.MULTILINE) for cell in cells)


def problems(site: Path) -> Iterator[str]:
    """Everything that is wrong, a line each."""
    yield from (f"{name} has no entry in the reference" for name in sorted({*public_names()} - documented(site)))
    yield from outside(site)
    yield from broken_links(site)
    yield from readme((ROOT / "README.md").read_text("utf-8"), site)
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text("utf-8")
        if page.parent.name == "results":
            yield from (f"results/{page.name} has {number}, which no file gave" for number in typed_numbers(text))
        if is_unasserted(text):
            yield f"{page.name} is executed, and asserts nothing"


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1])))
    print("\n".join(found) or "The site keeps its promises.")
    sys.exit(bool(found))
