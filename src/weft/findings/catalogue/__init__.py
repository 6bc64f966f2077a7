"""The catalogue: every code of a Problem or a finding, with what it means, an example, and how it is mended."""
