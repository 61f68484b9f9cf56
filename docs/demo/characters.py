"""Writes the page "Draw five characters" from what `python docs/demo/train_characters.py` left beside this file.

python docs/demo/characters.py characters.html
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jax_meta import load_model
from jax_meta.networks.models import Conv4
from jax_meta.saved.files import LoadedModel
from jax_meta.saved.page.html import fill
from jax_meta.saved.page.networks import encode, step_sizes
from jax_meta.saved.settings import build_model
from jax_meta.whole_files import write_whole

HERE = Path(__file__).parent
STEPS = 3
"""The slider's last step."""

LEAD = """\
Five characters, each drawn once: that is all that this network gets to learn them from. It has never seen them before,
but a thousand others, and was prepared by MAML to tell new ones apart after one step of gradient descent.
Draw a sixth, or take the one that is there: which of the five is it?"""

ABOUT = """\
<h2>Two answers, and how right each may be</h2>
<p>The network normalises: each of its layers measures an image against the others in the batch. So an answer depends on
what the test drawing is seen with.</p>
<ul>
<li><b>Inductive:</b> with the five that were learned from, and nothing else. Each test drawing is answered for itself.
On {tasks:,} tasks of characters held out from training, <b>{inductive:.1f}%</b> of these answers are right after one
step.</li>
<li><b>Transductive:</b> with the last five test drawings; until you have drawn so many, those of Omniglot that came
with the five fill the batch up. If it has one of each character, <b>{transductive:.1f}%</b> are right: so MAML was
trained, and so its paper counts. If it has five taken at random, some characters twice and some not at all,
<b>{mixed:.1f}%</b>. If all five are the same character, <b>{alike:.1f}%</b>, and guessing has {chance:.0f}%.</li>
</ul>
<p>So the higher figure is honest only with its condition. The network learned nothing better for it: it is told, by way
of the batch, that the test drawings are one of each.</p>
<h2>What to try</h2>
<ul>
<li><b>No step, then one.</b> At 0 the network has not looked at the five, and guesses. More steps than one change
little: it was prepared for one.</li>
<li><b>Spoil the batch.</b> Draw a test, clear it, and draw the same character again, until the last five are all alike.
The inductive answer stays what it was; look at the other.</li>
<li><b>Your own five.</b> Clear all, and draw letters, faces, or signs that are no writing at all. Each is moved to the
middle, made as large as most of Omniglot's, and seen in 28 by 28 pixels.</li>
</ul>
<h2>The network</h2>
<p>Four convolutions of {filters} filters and stride 2, each with normalisation by the batch at hand, then a linear
layer: {parameters:,} parameters, meta-trained for minutes on {ways}-way 1-shot tasks of Omniglot. It takes steps of
SGD of size {rate:g} on the mean cross-entropy of the five. The first drawings are Omniglot's (Lake, Salakhutdinov and
Tenenbaum, 2015; MIT licence, © 2015 Brenden Lake), of characters taken at random from those held out.</p>
<p>Nothing here is a recording. The gradients are taken in your browser by jax-js, and the answers agree with JAX's to
four digits.</p>"""


def characters_page() -> str:
    """The page's HTML."""
    loaded = load_model(HERE / "networks" / "characters.safetensors")
    told = json.loads((HERE / "characters.json").read_text("utf-8"))
    about = ABOUT.format(
        tasks=told["test_tasks"],
        **{kind: percents[1] for kind, percents in told["accuracy_after_inner_steps"].items()},
        ways=loaded.settings["model"]["ways"],
        chance=100 / loaded.settings["model"]["ways"],
        filters=loaded.settings["model"]["filters"],
        parameters=sum(leaf.size for leaf in jax.tree.leaves(loaded.meta_params)),
        rate=loaded.settings["optimizer"]["learning_rate"],
    )
    data = {"steps": STEPS, "sets": told["sets"], "network": describe_characters(loaded)}
    template = (HERE / "characters_template.html").read_text("utf-8")
    return fill(template, title="Draw five characters", lead=LEAD, about=about, data=data)


def describe_characters(loaded: LoadedModel) -> dict[str, Any]:
    """The network as the page's script reads it; raises ValueError for one that it does not know."""
    model = build_model(loaded.settings)
    if not isinstance(model, Conv4) or model != Conv4(model.ways, model.filters, downsample="stride", head="mean"):
        raise ValueError(f"the page's script knows Conv4 with strides and the mean over space, not {model}.")
    rates = step_sizes(loaded.settings, loaded.meta_params, loaded.meta_params)
    return {"pull": 0.0, "layers": layers(loaded.meta_params), "rates": layers(rates)}


def layers(tree: Any) -> list[dict[str, Any]]:
    """What the tree has for each layer: four convolutions, their kernels with the outputs first, then the head."""
    blocks = [tree["params"][f"ConvBlock_{block}"] for block in range(4)]
    found = [{"kernel": block["Convolution_0"]["kernel"], "bias": block["BatchNorm_0"]["bias"]} for block in blocks]
    for layer in found:
        if np.ndim(layer["kernel"]) == 4:  # and not a step size, which is one for all
            layer["kernel"] = np.transpose(layer["kernel"], (3, 2, 0, 1))
    named = enumerate([*found, tree["params"]["Dense_0"]])
    return [{name: encode(f"layer {index}, {name}", layer[name]) for name in layer} for index, layer in named]


def write_page(path: Path) -> None:
    """Writes the page as one file that needs no other, whole or not at all."""
    write_whole(path, characters_page().encode())


if __name__ == "__main__":
    write_page(Path(sys.argv[1] if len(sys.argv) > 1 else "characters.html"))
