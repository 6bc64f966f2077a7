"""Access in mesh words: who may call a port, by which policies, and what a caller has to show."""
