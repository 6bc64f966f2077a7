"""Policies in mesh words: what a document says about services and workloads, and which one is in force."""
