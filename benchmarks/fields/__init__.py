"""Where joint training gives the mean image, do meta-learned starts fit a new image in a step or two?"""
