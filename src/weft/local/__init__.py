"""A whole mesh on one machine: its file, its processes, starting and stopping them, the demo."""
