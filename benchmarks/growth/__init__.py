"""How does the time of a meta-step grow with its sizes, and what is it made of?"""
