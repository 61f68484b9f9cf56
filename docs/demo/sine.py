"""Writes the page "Teach it a sine" from the networks beside this file, which `python docs/demo/train.py` makes.

python docs/demo/sine.py sine.html
"""

import sys
from pathlib import Path

from jax_meta import load_model
from jax_meta.saved.page.html import Page, write_page
from jax_meta.saved.page.networks import Network

NETWORKS = Path(__file__).parent / "networks"
NOTES = {
    "maml": ("MAML", "prepared to be good after one step on ten points, by a gradient through that step."),
    "fomaml": ("First-order MAML", "the same, with the gradient after the step in place of the one through it."),
    "reptile": ("Reptile", "moved, sine after sine, towards where three steps on its points lead."),
    "transfer": ("Transfer", "trained to answer all sines at once. Their average is almost zero, and so is its curve."),
}
"""The name in the table, and how each network was prepared."""

LEAD = """\
Four networks have seen ten thousand sines, and each was prepared for the next one in a different way. Here it is: a
few points of a new sine. All four take the same steps of gradient descent on them.
Move the slider, and see who learns."""

ABOUT = """\
<h2>What to look for</h2>
<ul>
<li><b>One step.</b> From 0 to 1, MAML, first-order MAML and Reptile bend into a sine. They were prepared for that;
they have learned what sines have in common, and the points only say which one it is.</li>
<li><b>Many steps.</b> Transfer learning starts from the average of all sines, which is no sine, and 32 steps from there
bring it hardly nearer to this one.</li>
<li><b>One side.</b> With all points on one side, look at the other: the three that were prepared continue the wave
where they have seen nothing. The true sine tells how well.</li>
<li><b>Your own points.</b> Clear the plane, and teach them something that is no sine. They will still try.</li>
</ul>
<h2>The networks</h2>
<dl>{entries}</dl>
<p>Each has one input, two hidden layers of 40 with ReLU, and one output, and takes steps of SGD of size 0.01 on the
mean squared error. They are networks of the sine benchmark, one of each kind, so this is an example and no comparison:
the benchmark has the means over fifty networks and a thousand sines.</p>
<p>Nothing here is a recording. The gradients are taken in your browser by jax-js, and what they lead to agrees with JAX
to four digits.
<code>python -m jax_meta page</code> writes such a page for a model of your own.</p>"""


def sine_page() -> Page:
    """The page."""
    networks = [Network(*NOTES[name], load_model(NETWORKS / f"{name}.safetensors")) for name in NOTES]
    entries = "".join(f"<dt>{label}</dt><dd>{note[0].upper()}{note[1:]}</dd>" for label, note in NOTES.values())
    return Page("Teach it a sine", LEAD, ABOUT.format(entries=entries), networks, sines=True)


if __name__ == "__main__":
    write_page(Path(sys.argv[1] if len(sys.argv) > 1 else "sine.html"), sine_page())
