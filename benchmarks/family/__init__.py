"""Which learner of the family is best for what, on the same network and the same budget?"""
