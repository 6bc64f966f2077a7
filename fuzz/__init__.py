"""Fuzzing: what comes from outside is read by functions that answer or refuse, and do nothing else."""
