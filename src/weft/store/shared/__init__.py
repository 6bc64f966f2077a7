"""A store that several control planes share: a log of batches in a repository that can replace one object atomically"""
