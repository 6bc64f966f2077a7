"""Processes of this machine: named so that a pid is never confused, started, watched, stopped; signals held back."""
