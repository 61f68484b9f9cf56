"""The parts of `scaling.py`: meta-steps on more and more devices, measured and on paper."""
