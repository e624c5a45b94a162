"""The stages of a recipe: supervised starts, reinforcement learning, rejection sampling."""
