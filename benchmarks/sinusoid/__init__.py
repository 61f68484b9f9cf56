"""How well are new sines learned from a few points?"""
