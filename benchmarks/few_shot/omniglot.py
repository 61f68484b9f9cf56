"""Omniglot: MAML, first-order MAML, Reptile and transfer learning on N-way K-shot tasks of handwritten characters.

    python -m benchmarks.few_shot omniglot --data DATA                     MAML, 5-way 1-shot, the paper's full budget
    python -m benchmarks.few_shot omniglot --data DATA --protocol cpu      MAML on two CPU cores
    python -m benchmarks.few_shot omniglot --data DATA --algorithm reptile --steps 40000
    python -m benchmarks.few_shot omniglot --data DATA --model dense       MAML's network without convolution

DATA has images_background.zip and images_evaluation.zip; `--download` fetches them.
"""

from benchmarks.few_shot.command import main

if __name__ == "__main__":
    main(["omniglot"])
