"""What does a meta-step cost when its tasks are made on the host?"""
