"""The image benchmarks: what `omniglot.py` and `cifar_fs.py` share."""
