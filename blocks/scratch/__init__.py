"""Servers for one verification: fenced off, and gone afterwards."""
