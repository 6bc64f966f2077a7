"""Routes in mesh words: the documents that route a host, and the rules they become."""
