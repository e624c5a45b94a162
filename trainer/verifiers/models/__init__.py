"""Models in a local folder that score a response or its steps, and how any such is loaded."""
