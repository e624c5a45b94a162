"""Statistics of an audit: pure numpy and scipy, no database and no web."""
