"""Capture without root: the kernel asks a holder about each connection of the application (seccomp user notification).

Everything but `mode` and `launching` runs in processes of their own, without the packages of weft's other parts.
"""
