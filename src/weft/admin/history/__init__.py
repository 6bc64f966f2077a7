"""The change history: every revision of the documents, what it did to proxies, and how it is undone."""
