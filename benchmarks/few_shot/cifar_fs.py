"""CIFAR-FS, FC100 and mini-ImageNet: MAML, first-order MAML, Reptile and transfer learning on N-way K-shot tasks.

    python -m benchmarks.few_shot cifar_fs --data DATA                          MAML on CIFAR-FS, 5-way 1-shot
    python -m benchmarks.few_shot cifar_fs --data DATA --dataset fc100 --shots 5
    python -m benchmarks.few_shot cifar_fs --data DATA --dataset miniimagenet --algorithm reptile

DATA has cifar-100-python.tar.gz, which `--download` fetches, or mini-ImageNet as `jax_meta.datasets.load_mini_imagenet`
reads it, in DATA or in a folder cifar100 or mini_imagenet in it.
"""

from benchmarks.few_shot.command import main

if __name__ == "__main__":
    main(["cifar_fs", "fc100", "miniimagenet"])
