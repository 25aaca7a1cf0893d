"""Finding out that a site is down: vantage points, the watch that asks them, and the event that starts a failover."""
