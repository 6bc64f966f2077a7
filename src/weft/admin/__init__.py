"""The admin API for people and programs, and the agent API for workloads. HTTP over aiohttp."""
