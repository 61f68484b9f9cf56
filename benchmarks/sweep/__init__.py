"""What do many networks at once, over seeds and step sizes, cost, and which step size is best?"""
