"""Services in mesh words: what can be called, where it is, and by which names."""
