"""The parts of `convolution_speed.py`: the layers one by one, and the other ways to write the same network."""
