"""The book-information demo application: four small services in plain Python, for demos and tests."""
