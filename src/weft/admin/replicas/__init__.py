"""Replicas: several control planes of one mesh. What they tell each other of the proxies that each of them serves"""
