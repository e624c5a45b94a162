"""Models that are asked for a verdict: behind an endpoint, or in a local folder."""
