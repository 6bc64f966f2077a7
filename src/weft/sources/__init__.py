"""Where configuration comes from: followed files, the store, registrations; and the collector that merges them."""
