"""What several control planes of a cluster share: objects in their own namespace"""
