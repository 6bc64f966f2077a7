"""The dashboard: the control plane's own web page, its sessions, and the live stream that feeds it"""
