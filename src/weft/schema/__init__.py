"""Documents: the kinds weft knows, their strict decoder, and offline validation. Pure."""
