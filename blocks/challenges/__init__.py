"""Copies of repositories that may be damaged, and databases that may be spoiled: for challenges of a verification."""
