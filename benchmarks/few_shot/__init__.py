"""How well are new classes of images learned from a few examples?"""
