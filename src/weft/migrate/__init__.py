"""What becomes of another mesh's installation and documents here: read, judged, and told; nothing is written."""
