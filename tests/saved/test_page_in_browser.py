"""The pages as their scripts run them: numbers are Python's, they are built from the sources, and work in Chromium.

These tests need Node and what `npm ci --ignore-scripts` in docs/demo brings, the last one a Chromium, too.
"""

import base64
import json
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from jax_meta import MetaSGDParams
from jax_meta.networks.models import MLP
from jax_meta.saved.files import load_model, save_model
from jax_meta.saved.names import ACTIVATIONS
from jax_meta.saved.page.html import Page, write_page
from jax_meta.saved.page.networks import Network, describe_network
from tests.saved.model_file_cases import KEY
from tests.saved.pages import DEMO, demo

TEMPLATES = (DEMO.parents[1] / "jax_meta" / "saved" / "page" / "template.html", DEMO / "characters_template.html")
STEPS = (0, 1, 10)
DRAWING_STEPS = (0, 1, 3)
SIDE = 105
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
    expected = {steps: {"loss": [float(losses[steps])], "outputs": outputs[steps].tolist()} for steps in STEPS}
    assert not np.allclose(expected[10]["outputs"], expected[0]["outputs"], atol=1e-2)
    network = describe_network(Network(name, "", loaded))
    return {"name": name, "network": network, "points": POINTS, "grid": GRID, "expected": expected}


def test_the_script_computes_what_python_computes(tmp_path):
    cases = [
        case(name, DEMO / "networks" / f"{name}.safetensors") for name in ("maml", "fomaml", "reptile", "transfer")
    ]
    others = {
        **{name: {"activation": function} for name, function in ACTIVATIONS.items()},
        "no hidden layer": {"hidden": ()},
        "three hidden layers": {"hidden": (7, 6, 5), "activation": nn.tanh},
        "anil": {"learner": "anil", "is_head": "*/Dense_2/*"},
        "imaml": {"learner": "imaml", "strength": 2.0},
        "meta_sgd": {"learner": "meta_sgd", "step_size": 0.03},
    }
    cases += [case(name, saved(tmp_path / "model", **options)) for name, options in others.items()]
    agree(tmp_path / "cases.json", cases)
    cases[-1]["expected"][10]["outputs"][3] += 1e-3
    with pytest.raises(AssertionError, match="meta_sgd, outputs after 10 steps"):
        agree(tmp_path / "cases.json", cases)


def agree(path, cases):
    """Raises AssertionError unless the pages' scripts compute what is expected of these cases."""
    path.write_text(json.dumps(cases))
    assert node("test.mjs", path).count("off by") == len(cases)


def characters_case(name, loaded, drawings):
    """What `adapt` makes of a set of drawings, and each answer of the network as the page has it."""
    network = demo("characters").describe_characters(loaded)
    support, query = (np.stack([seen(text) for text in drawings[part]]) for part in ("support", "query"))
    apply = jax.jit(loaded.apply)

    def observe(params):
        inductive = [apply(params, np.concatenate([support, image[None]]))[-1] for image in query]
        return {
            "loss": loaded.loss_fn(params, (support, np.arange(5)), KEY)[0][None],
            "transductive": apply(params, query).ravel(),
            "inductive": jnp.concatenate(inductive),
        }

    _, told = loaded.learner.adapt(
        loaded.meta_params, (support, np.arange(5)), KEY, num_steps=max(DRAWING_STEPS), observe=observe
    )
    expected = {steps: {what: of[steps].tolist() for what, of in told.items()} for steps in DRAWING_STEPS}
    expected[0]["pixels"] = np.concatenate([support, query]).ravel().tolist()
    assert not np.allclose(expected[0]["inductive"], expected[1]["inductive"], atol=0.1)
    drawings = [drawings["support"], drawings["query"]]
    return {"name": name, "network": network, "drawings": drawings, "expected": expected}


def seen(text):
    """A drawing of the page as `load_omniglot(resample="nearest")` has it, inverted, `[28, 28, 1]`."""
    ink = np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))[: SIDE * SIDE].reshape(SIDE, SIDE)
    image = Image.fromarray(255 * ink).resize((28, 28), Image.Resampling.NEAREST)
    return np.asarray(image, np.float32)[..., None] / 255


def test_the_page_of_characters_answers_what_python_answers(tmp_path):
    loaded = load_model(DEMO / "networks" / "characters.safetensors")
    sets = json.loads((DEMO / "characters.json").read_text("utf-8"))["sets"]
    cases = [characters_case(f"set {index}", loaded, drawings) for index, drawings in enumerate(sets)]
    agree(tmp_path / "cases.json", cases)
    for what in ("transductive", "pixels"):
        cases[-1]["expected"][0][what][3] += 1e-2
        with pytest.raises(AssertionError, match=f"{what} after 0 steps"):
            agree(tmp_path / "cases.json", cases[-1:])
        cases[-1]["expected"][0][what][3] -= 1e-2


def pixels_of(strokes):
    """What the network sees of strokes: in the middle, of one size, 5 pixels of 105 wide, the nearest of each 3.75."""
    points = np.concatenate(strokes)
    middle, extent = (points.max(0) + points.min(0)) / 2, max(np.ptp(points, axis=0).max(), 5)
    centres = np.floor((np.arange(28) + 0.5) * SIDE / 28) - 50
    places = np.stack(np.meshgrid(centres, centres), axis=-1)  # [row, column, x and y]
    ink = np.zeros((28, 28), bool)
    for stroke in strokes:
        line = (np.asarray([stroke[0], *stroke]) - middle) * 68 / extent
        for part in np.linspace(0, 1, 2001)[:, None]:
            for place in line[:-1] + part * np.diff(line, axis=0):
                ink |= np.linalg.norm(places - place, axis=-1) <= 2.5
    return ink.astype(float).ravel().tolist()


def test_strokes_are_seen_as_omniglot_is(tmp_path):
    strokes = [[(10.3, 20.1), (41.7, 33.2), (29.9, 61.8)], [(12.2, 55.4), (38.1, 52.7)]]
    larger = [[(2 * x - 7, 2 * y + 11) for x, y in stroke] for stroke in strokes]
    expected = {0: {"pixels": pixels_of(strokes)}}
    assert 20 < sum(expected[0]["pixels"]) < 150
    cases = [{"name": name, "strokes": of, "expected": expected} for name, of in (("one", strokes), ("larger", larger))]
    cases += [{"name": "dot", "strokes": [[(30.5, 90.1)]], "expected": {0: {"pixels": pixels_of([[(0.0, 0.0)]])}}}]
    assert sum(cases[-1]["expected"][0]["pixels"]) == 1
    agree(tmp_path / "cases.json", cases)


def test_the_committed_templates_are_built_from_these_sources(tmp_path):
    node("build.mjs", tmp_path)
    for template in TEMPLATES:
        same = (tmp_path / template.name).read_bytes() == template.read_bytes()
        assert same, f"{template} is out of date: npm ci --ignore-scripts && npm run build, in docs/demo"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no browser: apt-get install chromium")
@pytest.mark.parametrize("page", ["sine", "own", "draw"])
def test_the_page_works_in_a_browser(tmp_path, page):
    path = tmp_path / "page.html"
    if page == "sine":
        write_page(path, demo("sine").sine_page())
    elif page == "draw":
        demo("characters").write_page(path)
    else:
        network = Network("own", "A network.", load_model(saved(tmp_path / "model", activation=nn.tanh)))
        write_page(path, Page("Teach own", "Lead.", "<p>About.</p>", [network]))
    told = node("browser_draw.mjs" if page == "draw" else "browser_plane.mjs", path)
    assert told.count("ok: ") >= 10
