"""Verification: a backup is restored into a scratch server, and what came back is shown to be right (VER-1)."""
