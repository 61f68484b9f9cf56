"""Programs that are compiled once, and found again by what their functions are made of."""
