"""How fast is second-order MAML through a convolutional network?"""
