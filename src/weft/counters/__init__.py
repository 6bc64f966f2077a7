"""Counters of shared rate limits: how much of each limit is used, over all proxies."""
