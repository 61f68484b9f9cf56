"""Does a start from Reptile fine-tune better than one from pre-training, for the same number of gradients?"""
