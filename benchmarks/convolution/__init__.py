"""How fast is second-order MAML through a convolutional network whose kernels differ from task to task?"""
