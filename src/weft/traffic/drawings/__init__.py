"""The graph as text, Mermaid, DOT and SVG."""
