"""The page as its script runs it: its numbers are Python's, it is built from the sources, and it works in Chromium.

These tests need Node and what `npm ci --ignore-scripts` in docs/demo brings, the last one a Chromium, too.
"""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jax_meta import MetaSGDParams
from jax_meta.networks.models import MLP
from jax_meta.saved.files import load_model, save_model
from jax_meta.saved.names import ACTIVATIONS
from jax_meta.saved.page.html import Page, write_page
from jax_meta.saved.page.networks import Network, describe_network
from tests.saved.model_file_cases import KEY

DEMO = Path(__file__).parents[2] / "docs" / "demo"
TEMPLATE = Path(__file__).parents[2] / "jax_meta" / "saved" / "page" / "template.html"
STEPS = (0, 1, 10)
POINTS = [(-4.0, 1.5), (-2.5, -0.5), (-1.0, -2.0), (0.5, 0.0), (2.0, 2.5), (4.5, -1.0)]
GRID = np.linspace(-5, 5, 41).tolist()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no node: install Node.js 20 or newer"),
    pytest.mark.skipif(
        not (DEMO / "node_modules").is_dir(), reason="docs/demo/node_modules is missing: npm ci --ignore-scripts there"
    ),
]


def node(*arguments):
    """Runs a script of docs/demo; its output is shown if it fails."""
    ended = subprocess.run(
        ["node", *map(str, arguments)], cwd=DEMO, capture_output=True, text=True, check=False, timeout=500
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def saved(path, *, hidden=(8, 5), activation=nn.relu, learner="maml", rate=0.05, **options):
    """A model file with random parameters, of float32."""
    model = MLP(hidden=hidden, activation=activation)
    params = model.init(KEY, jnp.zeros((1, 1), jnp.float32))
    optimizer = ("sgd", {"learning_rate": rate})
    if learner == "meta_sgd":
        params, optimizer = MetaSGDParams(params, jax.tree.map(lambda leaf: 0.03 + 0.05 * leaf, params)), None
    settings = {"model": model, "input_shape": (1,), "loss": "regression", "learner": learner, "num_steps": 1}
    save_model(path, params, optimizer=optimizer, **settings, **options)
    return path


def case(name, path):
    """What `adapt` makes of the points, and the network as the page has it."""
    loaded = load_model(path)
    inputs, targets = np.array(POINTS, np.float32).T[:, :, None]
    grid = np.array(GRID, np.float32)[:, None]

    def observe(params):
        return loaded.loss_fn(params, (inputs, targets), KEY)[0], loaded.apply(params, grid)[:, 0]

    _, (losses, outputs) = loaded.learner.adapt(
        loaded.meta_params, (inputs, targets), KEY, num_steps=max(STEPS), observe=observe
    )
    expected = {steps: {"loss": float(losses[steps]), "outputs": outputs[steps].tolist()} for steps in STEPS}
    assert not np.allclose(expected[10]["outputs"], expected[0]["outputs"], atol=1e-2)
    network = describe_network(Network(name, "", loaded))
    return {"name": name, "network": network, "points": POINTS, "grid": GRID, "expected": expected}


def test_the_script_computes_what_python_computes(tmp_path):
    cases = [case(path.stem, path) for path in sorted((DEMO / "networks").glob("*.safetensors"))]
    assert len(cases) == 4
    others = {
        **{name: {"activation": function} for name, function in ACTIVATIONS.items()},
        "no hidden layer": {"hidden": ()},
        "three hidden layers": {"hidden": (7, 6, 5), "activation": nn.tanh},
        "anil": {"learner": "anil", "is_head": "*/Dense_2/*"},
        "imaml": {"learner": "imaml", "strength": 2.0},
        "meta_sgd": {"learner": "meta_sgd", "step_size": 0.03},
    }
    cases += [case(name, saved(tmp_path / "model", **options)) for name, options in others.items()]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    assert node("test.mjs", tmp_path / "cases.json").count("off by") == len(cases)
    cases[-1]["expected"][10]["outputs"][3] += 1e-3
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    with pytest.raises(AssertionError, match="meta_sgd, after 10 steps"):
        node("test.mjs", tmp_path / "cases.json")


def test_the_committed_template_is_built_from_these_sources(tmp_path):
    node("build.mjs", tmp_path / "template.html")
    same = (tmp_path / "template.html").read_bytes() == TEMPLATE.read_bytes()
    assert same, (
        "jax_meta/saved/page/template.html is out of date: npm ci --ignore-scripts && npm run build, in docs/demo"
    )


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no browser: apt-get install chromium")
@pytest.mark.parametrize("page", ["sine", "own"])
def test_the_page_works_in_a_browser(tmp_path, page):
    if page == "sine":
        spec = importlib.util.spec_from_file_location("sine", DEMO / "sine.py")
        sine = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sine)
        content = sine.sine_page()
    else:
        network = Network("own", "A network.", load_model(saved(tmp_path / "model", activation=nn.tanh)))
        content = Page("Teach own", "Lead.", "<p>About.</p>", [network])
    write_page(tmp_path / "page.html", content)
    told = node("browser.mjs", tmp_path / "page.html")
    assert told.count("ok: ") >= 10
