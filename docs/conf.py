"""How the site is built: `python -m sphinx -W --keep-going -n -q -j auto -b html docs site`."""

import os
import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "demo")]

import characters  # noqa: E402
import quoted  # noqa: E402
import sine  # noqa: E402

# Executed pages compile many small programs and run each once: the compiler does it in the way that is quick for these.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1")

project = "jax_meta"
author = "The authors of jax_meta"
copyright = author
version = release = version_of("jax-metalearn")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.katex",
]
exclude_patterns = ["demo", "_build"]
suppress_warnings = ["myst-nb.lexer"]  # a build without execution knows no lexer for the kernel

# Pages. No number of a result is typed by hand: a page says {{ post.maml[1] }}, and an unknown name stops the build.
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3
myst_substitutions = quoted.substitutions()
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

# Mathematics, its style sheet and its fonts come from the site itself.
katex_css_path = "katex/katex.min.css"

# The reference.
autosummary_generate = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
add_module_names = False
default_role = "name"
nitpick_ignore_regex = [
    (r"py:.*", r"(collections|flax|jax|jaxlib|matplotlib|numpy|np|optax|pathlib|typing)(\..*)?"),
    (r"py:.*", r"ArrayTree|(jaxtyping|jnp|os)\..*"),
]

# The theme.
html_theme = "sphinx_book_theme"
html_title = "jax_meta"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def name_role(name, rawtext, text, lineno, inliner, options=None, content=()):
    """Single backticks in a docstring: code, which leads to its entry where it is a name of the library."""
    code = nodes.literal(rawtext, text, classes=["py"])
    if not text.startswith("jax_meta.") or not text.replace(".", "").replace("_", "").isalnum():
        return [code], []
    reference = pending_xref("", code, refdomain="py", reftype="obj", reftarget=text, refwarn=True)
    reference["refdoc"] = inliner.document.settings.env.docname
    return [reference], []


class KeywordsAreCode(SphinxTransform):
    """A keyword with its text, as in remat="steps", is code wherever it stands: quotes are not to be bent in it."""

    default_priority = 700  # before that of quotes
    keyword = re.compile(r'(\b\w+="\w*")')

    def apply(self) -> None:
        """Splits the texts that have one."""
        for text in list(self.document.findall(nodes.Text)):
            if self.keyword.search(text) and not isinstance(text.parent, (nodes.literal, nodes.FixedTextElement)):
                parts = enumerate(self.keyword.split(text))
                text.parent.replace(text, [nodes.literal("", part) if i % 2 else nodes.Text(part) for i, part in parts])


def plain_signature(app, what, name, obj, options, signature, returned):
    """A signature without the fields that Flax adds, the insides of default objects, a protocol's own."""
    if signature == "(*args, **kwargs)":
        return "", returned
    signature = re.sub(r",? ?parent=<[^,]*>, name=None(?=\)$)", "", signature or "")
    return re.sub(r"=<.*?>(?=, \w+=|\)$)", "=...", signature) or None, returned


def short_types(app, what, name, obj, options, lines):
    """Types of attributes without their modules, as those of parameters are."""
    for i, line in enumerate(lines):
        if line.startswith(":vartype "):
            lines[i] = re.sub(r"(?<![\w.~])[a-z]\w*(\.\w+)+", r"~\g<0>", line)


def write_demos(app: Sphinx, error: Exception | None) -> None:
    """The pages that try.md and draw.md show, each one file beside it."""
    if error is None:
        sine.write_page(Path(app.outdir) / "sine.html", sine.sine_page())
        characters.write_page(Path(app.outdir) / "characters.html")


def setup(app: Sphinx) -> None:
    """Adds the role of single backticks, and the pages to try."""
    app.add_role("name", name_role)
    app.add_transform(KeywordsAreCode)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("autodoc-process-docstring", short_types, priority=900)
    app.connect("build-finished", write_demos)
