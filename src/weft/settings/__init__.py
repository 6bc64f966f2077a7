"""Where things are and which defaults hold."""
