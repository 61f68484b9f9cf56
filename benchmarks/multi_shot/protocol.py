"""The protocol of the papers, and what they leave open."""

from typing import NamedTuple

WAYS, HELD_OUT, STEPS = 20, 5, 100
SHOWN = (0, 10, 25, 50, 100)  # steps after which held-out drawings are classified
DRAWS = 5  # random maps of each held-out drawing; the papers take one
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of a test, where it is tuned
FIRST_RATES = (0.03, 0.1, 0.3)


class Reading(NamedTuple):
    """What the papers leave open: the batch, and with it SGD's rate."""

    batch: int
    rate: float
    tuned: bool = False  # the rate of a test is the best on the validation alphabets, which no paper does


READINGS = {
    "batch-20": Reading(20, 0.1),  # Leap's code
    "tuned": Reading(20, 0.1, tuned=True),
    "batch-80": Reading(80, 1.0),  # four times the batch, ten times the rate: WarpGrad's appendix, on Leap's code
    "batch-128": Reading(128, 0.1),  # WarpGrad's code
    "batch-300": Reading(300, 1.0),  # four times that batch, which is more than all there are
}
