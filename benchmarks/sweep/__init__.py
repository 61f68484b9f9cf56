"""What do many networks at once, over seeds and learning rates, cost, and which rate is best?"""
