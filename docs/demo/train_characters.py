"""Meta-trains the network of the page "Draw five characters", and takes the drawings with which the page starts.

    JAX_META_DATA=data python docs/demo/train_characters.py

It is MAML's network of the few-shot benchmark on Omniglot, 5-way 1-shot, seed 0, with fewer filters and meta-steps:
five minutes on one CPU core. Its drawings are moved to the middle, as those of the page are. It writes
networks/characters.safetensors, and characters.json with the accuracies on held-out characters and some sets of them.
The page is then made by `python docs/demo/characters.py`.
"""

import base64
import json
import os
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import jax_meta  # noqa: E402
from benchmarks.few_shot.experiment import (  # noqa: E402
    Experiment,
    load,
    make_experiment,
    make_model,
    make_samplers,
    test,
    train,
)
from benchmarks.few_shot.protocol import make_protocol  # noqa: E402
from benchmarks.harness.progress import progress  # noqa: E402
from jax_meta.datasets import ClassImages, Splits  # noqa: E402
from jax_meta.datasets.omniglot import SIDE, decode_drawing, find_archives, list_drawings  # noqa: E402

PROTOCOL = make_protocol("omniglot", "cpu", algorithm="maml", ways=5, shots=1)._replace(
    filters=24, steps=11_000, test_steps=3
)
SETS = 6


def main() -> None:
    """Trains and tests the network, saves it, and takes the drawings."""
    folder = Path(os.environ.get("JAX_META_DATA", "data"))
    splits = Splits(*(all_centred(part) for part in load(PROTOCOL, folder, download=False, seed=0)))
    model_key, run_key = jax.random.split(jax.random.key(0))  # as `python -m benchmarks.few_shot` does
    experiment = make_experiment(PROTOCOL, "maml", splits, model_key)
    with tempfile.TemporaryDirectory() as run, progress(Path(run) / "log", "train_characters.py") as begin:
        state = jax_meta.init(experiment.learner, experiment.optimizer, experiment.params, run_key)
        state, _ = train(experiment, state, Path(run), {"seed": 0}, begin)
        accuracies = test(experiment, state.params, begin) | measure_piles(experiment, state.params, splits)
    save(experiment, state.params)
    percents = {
        kind: [round(100 * float(part), 1) for part in values.mean(axis=0)] for kind, values in accuracies.items()
    }
    content = {
        "test_tasks": PROTOCOL.test_tasks,
        "accuracy_after_inner_steps": percents,
        "sets": take_sets(folder / "omniglot" if (folder / "omniglot").is_dir() else folder, splits.test.names),
    }
    print("\n".join(f"{kind}: {of}% after 0, 1, ... steps" for kind, of in percents.items()))
    (HERE / "characters.json").write_text(json.dumps(content, indent=1) + "\n")


def all_centred(data: ClassImages) -> ClassImages:
    """The classes with each of their drawings in the middle."""
    drawings = data.images[..., 0].reshape(-1, *data.images.shape[2:4])
    return ClassImages(np.stack([*map(centred, drawings)]).reshape(data.images.shape), data.counts, data.names)


def centred(drawing: np.ndarray) -> np.ndarray:
    """A drawing `[side, side]`, whose ink is 0, moved by whole pixels so that the ink is in the middle."""
    places = [np.flatnonzero((drawing == 0).any(axis)) for axis in (1, 0)]
    shifts = [(len(drawing) - 1 - place[0] - place[-1]) // 2 for place in places]
    return np.roll(drawing, shifts, (0, 1))


def measure_piles(experiment: Experiment, params: Any, splits: Splits) -> dict[str, np.ndarray]:
    """Accuracies as those of `test`, of queries that are classified together and are not one of each class.

    They are drawn at random from five of each class ("mixed"), or are all of one class ("alike").
    """
    ways = PROTOCOL.ways
    sample = make_samplers(PROTOCOL._replace(test_queries=ways), "maml", splits)["test"]
    apply = make_model(PROTOCOL).apply

    def measure(params, task, key):
        def accuracy(chosen):
            images, labels = task.query[0][chosen], task.query[1][chosen]
            return (apply(params, images).argmax(axis=-1) == labels).mean()

        return {"mixed": accuracy(jax.random.permutation(key, ways**2)[:ways]), "alike": accuracy(jnp.arange(ways))}

    task_key, key = jax.random.split(jax.random.key(4))
    curves = jax.jit(
        partial(jax_meta.learning_curves, experiment.tester, measure, num_steps=PROTOCOL.test_steps, task_batch_size=1)
    )
    return jax.tree.map(np.asarray, curves(params, sample(task_key, PROTOCOL.test_tasks), key))


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
    rng = np.random.default_rng(1)
    drawings = {}
    for path in find_archives(folder, download=False):
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
        drawing = centred(decode_drawing(archive, member, size=SIDE, resample="nearest"))
    return base64.b64encode(np.packbits(drawing == 0).tobytes()).decode()


if __name__ == "__main__":
    main()
