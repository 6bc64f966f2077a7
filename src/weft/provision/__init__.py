"""Gateways in a cluster: which objects of Kubernetes a Gateway document becomes. Pure"""
