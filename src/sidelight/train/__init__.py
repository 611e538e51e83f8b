"""Training: the loop, its schedule, checkpoints, guards and processes; ``loop.fit`` is the door."""
