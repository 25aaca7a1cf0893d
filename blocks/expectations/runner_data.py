"""What the process of the expectations and whoever starts it agree on."""

DSN = "SLIPWAY_EXPECTATIONS_DSN"
"""The environment variable that holds the address of the database: nothing of it lies on a disk."""
