"""The parts of `memory.py`: what each variant keeps in memory, seen from a process of its own."""
