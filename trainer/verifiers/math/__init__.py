"""Mathematics: what a response commits to, and whether that equals the reference."""
