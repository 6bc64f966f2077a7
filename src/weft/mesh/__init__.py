"""The meaning of the documents in mesh words: services, endpoints, route tables, policies; and each proxy's view."""
