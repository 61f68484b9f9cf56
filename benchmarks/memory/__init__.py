"""How much memory does a second-order meta-gradient need?"""
