"""Shows that the verification of a plan can fail: damage is made on purpose, and must be found."""
