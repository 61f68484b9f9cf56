"""What it costs to make the tasks on the host."""
