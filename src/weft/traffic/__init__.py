"""What proxies tell of the traffic they see: a bounded window of it and the graph it makes; its core does no I/O."""
