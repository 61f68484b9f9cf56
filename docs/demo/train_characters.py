"""Meta-trains the network of the page "Draw five characters", and takes the drawings with which the page starts.

    JAX_META_DATA=data python docs/demo/train_characters.py

It is MAML's network of the few-shot benchmark on Omniglot, 5-way 1-shot, seed 0, with fewer filters and meta-steps: five
minutes on one CPU core. It writes networks/characters.safetensors, and characters.json with the accuracies on held-out
characters and some sets of them. The page is then made by `python docs/demo/draw.py`.
"""

import base64
import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import jax_meta  # noqa: E402
from benchmarks.few_shot.experiment import Experiment, load, make_experiment, make_model, test, train  # noqa: E402
from benchmarks.few_shot.protocol import make_protocol  # noqa: E402
from benchmarks.harness.progress import progress  # noqa: E402
from jax_meta.datasets.omniglot import SIDE, decode_drawing, find_archives, list_drawings  # noqa: E402

PROTOCOL = make_protocol("omniglot", "cpu", algorithm="maml", ways=5, shots=1)._replace(
    filters=24, steps=11_000, test_steps=3
)
SETS = 6


def main() -> None:
    """Trains and tests the network, saves it, and takes the drawings."""
    folder = Path(os.environ.get("JAX_META_DATA", "data"))
    splits = load(PROTOCOL, folder, download=False, seed=0)
    model_key, run_key = jax.random.split(jax.random.key(0))  # as `python -m benchmarks.few_shot` does
    experiment = make_experiment(PROTOCOL, "maml", splits, model_key)
    with tempfile.TemporaryDirectory() as run, progress(Path(run) / "log", "train_characters.py") as begin:
        state = jax_meta.init(experiment.learner, experiment.optimizer, experiment.params, run_key)
        state, _ = train(experiment, state, Path(run), {"seed": 0}, begin)
        accuracies = test(experiment, state.params, begin)
    save(experiment, state.params)
    told = {kind: 100 * values.mean(axis=0) for kind, values in accuracies.items()}
    for kind, percents in told.items():
        print(f"{kind}: {', '.join(f'{percent:.1f}' for percent in percents)}% after 0, 1, ... steps")
    content = {
        "test_tasks": PROTOCOL.test_tasks,
        "accuracy_after_inner_steps": {kind: np.round(percents, 1).tolist() for kind, percents in told.items()},
        "sets": take_sets(folder / "omniglot" if (folder / "omniglot").is_dir() else folder, splits.test.names),
    }
    (HERE / "characters.json").write_text(json.dumps(content, indent=1) + "\n")


def save(experiment: Experiment, params: Any) -> None:
    """Writes the model file."""
    jax_meta.save_model(
        HERE / "networks" / "characters.safetensors",
        params,
        model=make_model(PROTOCOL),
        input_shape=(PROTOCOL.size, PROTOCOL.size, 1),
        loss="classification",
        learner="maml",
        num_steps=PROTOCOL.inner_steps,
        optimizer=("sgd", {"learning_rate": PROTOCOL.inner_learning_rate}),
    )


def take_sets(folder: Path, names: tuple[str, ...]) -> list[dict[str, list[str]]]:
    """Sets of five held-out characters, each drawn by one person for support and by another for query, at random."""
    rng = np.random.default_rng(0)
    drawings = {}
    for path in find_archives(folder, download=False):
        with zipfile.ZipFile(path) as archive:
            for name, members in list_drawings(path).items():
                if name in names:
                    drawings[name] = [(path, member) for member in members]
    sets = []
    for _ in range(SETS):
        chosen = [drawings[name] for name in rng.choice(sorted(drawings), PROTOCOL.ways, replace=False)]
        people = [rng.choice(len(members), 2, replace=False) for members in chosen]
        taken = [[as_bits(*members[person]) for person in pair] for members, pair in zip(chosen, people, strict=True)]
        sets.append({"support": [support for support, _ in taken], "query": [query for _, query in taken]})
    return sets


def as_bits(path: Path, member: str) -> str:
    """A drawing as text: a bit for each of its 105 x 105 pixels, row by row, 1 for ink, in base64."""
    with zipfile.ZipFile(path) as archive:
        ink = decode_drawing(archive, member, size=SIDE, resample="nearest") == 0
    return base64.b64encode(np.packbits(ink).tobytes()).decode()


if __name__ == "__main__":
    main()
