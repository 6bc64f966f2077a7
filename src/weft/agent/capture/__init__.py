"""Capture: the system's rules that lead connections of chosen users and programs into a workload's proxy."""
