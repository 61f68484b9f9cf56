"""Published figures: of each learner's own paper unless it says otherwise, and what they were trained for."""

PUBLISHED: dict[str, dict[str, str]] = {
    "maml": {
        "omniglot-5way-1shot": "98.7 ± 0.4",
        "omniglot-5way-5shot": "99.9 ± 0.1",
        "omniglot-20way-1shot": "95.8 ± 0.3",
        "omniglot-20way-5shot": "98.9 ± 0.2",
        "cifar_fs-5way-1shot": "58.9 ± 1.9",
        "cifar_fs-5way-5shot": "71.5 ± 1.0",
    },
    "fomaml": {
        "omniglot-5way-1shot": "98.3 ± 0.5",
        "omniglot-5way-5shot": "99.2 ± 0.2",
        "omniglot-20way-1shot": "89.4 ± 0.5",
        "omniglot-20way-5shot": "97.9 ± 0.1",
    },
    "reptile": {
        "omniglot-5way-1shot": "97.68, inductive 95.39",
        "omniglot-5way-5shot": "99.48, inductive 98.90",
        "omniglot-20way-1shot": "89.43, inductive 88.14",
        "omniglot-20way-5shot": "97.12, inductive 96.65",
    },
    "meta_sgd": {
        "omniglot-5way-1shot": "99.53 ± 0.26",
        "omniglot-5way-5shot": "99.93 ± 0.09",
        "omniglot-20way-1shot": "95.93 ± 0.38",
        "omniglot-20way-5shot": "98.97 ± 0.19",
    },
    "meta_curvature": {
        "omniglot-5way-1shot": "99.77 ± 0.17",
        "omniglot-5way-5shot": "99.79 ± 0.10",
        "omniglot-20way-1shot": "97.86 ± 0.26",
        "omniglot-20way-5shot": "99.24 ± 0.07",
    },
    "maml_plus_plus": {
        "omniglot-5way-1shot": "99.47",
        "omniglot-5way-5shot": "99.93",
        "omniglot-20way-1shot": "97.65",
        "omniglot-20way-5shot": "99.33",
    },
    "imaml": {
        "omniglot-5way-1shot": "99.50 ± 0.26",
        "omniglot-5way-5shot": "99.74 ± 0.11",
        "omniglot-20way-1shot": "96.18 ± 0.36",
        "omniglot-20way-5shot": "99.14 ± 0.1",
    },
    "anil": {"omniglot-20way-1shot": "96.2 ± 0.5", "omniglot-20way-5shot": "98.0 ± 0.3"},
    "protonet": {
        "omniglot-5way-1shot": "98.8",
        "omniglot-5way-5shot": "99.7",
        "omniglot-20way-1shot": "96.0",
        "omniglot-20way-5shot": "98.9",
        "cifar_fs-5way-1shot": "55.5 ± 0.7",
        "cifar_fs-5way-5shot": "72.0 ± 0.6",
    },
    "r2d2": {"cifar_fs-5way-1shot": "65.4 ± 0.2", "cifar_fs-5way-5shot": "79.4 ± 0.2"},
    "metaoptnet_rr": {"cifar_fs-5way-1shot": "72.6 ± 0.7", "cifar_fs-5way-5shot": "84.3 ± 0.5"},
}
"""Per cent, transductive where the network normalises by the batch at hand. MAML: Finn et al., arXiv:1703.03400, table
1, and on CIFAR-FS Bertinetto et al., arXiv:1805.08136. First-order MAML and Reptile: Nichol et al., arXiv:1803.02999,
table 2. Meta-SGD, Meta-Curvature: a poster of Park and Oliva, arXiv:1902.03356. MAML++: the same, of arXiv:1810.09502,
and T-NAS. iMAML, Hessian-free: arXiv:1909.04630, table 2. ANIL: learn2learn's pages, of arXiv:1909.09157. ProtoNet:
arXiv:1703.05175, and on CIFAR-FS Lee et al., arXiv:1904.03758, table 2, as MetaOptNet-RR. R2D2: arXiv:1805.08136."""

BUDGETS = {
    "maml": "60,000 meta-steps of 32 tasks, 16 at 20 ways, on CIFAR-FS by others",
    "fomaml": "as MAML",
    "reptile": "100,000 of 5 tasks, 200,000 at 20 ways",
    "meta_sgd": "1 inner step",
    "meta_curvature": "1 inner step, 32 tasks",
    "maml_plus_plus": "50,000 of 8 tasks, 3 networks together",
    "imaml": "20,000 of 32 tasks",
    "anil": "as MAML",
    "protonet": "60-way episodes, to the best on validation, on CIFAR-FS by others",
    "r2d2": "20-way episodes, 96 to 512 filters",
    "metaoptnet_rr": "60,000 of 8 tasks, ResNet-12",
}
"""What the published figures were trained for, as far as it is known."""

SINES: dict[str, dict[str, str]] = {
    "maml": {"sines-5": "0.69 ± 0.07", "sines-10": "0.44 ± 0.04"},
    "meta_sgd": {"sines-5": "0.48 ± 0.06", "sines-10": "0.26 ± 0.03"},
    "meta_curvature": {"sines-5": "0.41 ± 0.05", "sines-10": "0.20 ± 0.02"},
}
"""Errors after one step: a poster of Park and Oliva, arXiv:1902.03356."""
