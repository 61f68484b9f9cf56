"""Meta-trains the networks of the page "Teach it a sine": seed 0 of the sine benchmark, on the post's protocol.

    python docs/demo/train.py

It writes docs/demo/networks/*.safetensors, and tells their test errors, in a minute on two CPU cores. The page is then
made by `python docs/demo/sine.py`.
"""

import sys
from pathlib import Path

import jax
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import jax_meta  # noqa: E402
from benchmarks.sinusoid.methods import (  # noqa: E402
    MODEL,
    compile_evaluation,
    initial_states,
    methods,
    train,
)
from benchmarks.sinusoid.protocol import PROTOCOLS, make_test_tasks, make_training_set  # noqa: E402

PROTOCOL = PROTOCOLS["post"]
NETWORKS = {
    "maml": PROTOCOL.inner_steps,
    "fomaml": PROTOCOL.inner_steps,
    "reptile": PROTOCOL.reptile_steps,
    "transfer": 32,
}
"""The inner steps of each, by the name that the benchmark and a model file have for it."""


def main() -> None:
    """Trains each network, saves it, and tells how well it learns the benchmark's test sines."""
    data_key, test_key, seed_key = jax.random.split(jax.random.key(0), 3)  # as `python -m benchmarks.sinusoid` does
    training_set = make_training_set(PROTOCOL, data_key)
    tasks = make_test_tasks(PROTOCOL, test_key, PROTOCOL.shots)
    evaluate = None
    (HERE / "networks").mkdir(exist_ok=True)
    for name, num_steps in NETWORKS.items():
        method = methods(PROTOCOL)[name]
        states = initial_states(method, seed_key, seeds=1)
        params, _ = train(method, PROTOCOL, training_set, states, tell=lambda *_: None)
        evaluate = evaluate or compile_evaluation(PROTOCOL, params, tasks, 32)
        errors = np.asarray(evaluate(params, tasks))[0].mean(axis=0)
        jax_meta.save_model(
            HERE / "networks" / f"{name}.safetensors",
            jax.tree.map(lambda leaf: leaf[0], params),
            model=MODEL,
            input_shape=(1,),
            loss="regression",
            learner=name,
            num_steps=num_steps,
            optimizer=("sgd", {"learning_rate": PROTOCOL.inner_learning_rate}),
        )
        told = ", ".join(f"{errors[step]:.2f} after {step}" for step in (0, 1, 5, 10, 32))
        print(f"{method.label}: mean squared test error {told} steps", flush=True)


if __name__ == "__main__":
    main()
