"""Small asyncio parts: a last-value cell, hold-off."""
