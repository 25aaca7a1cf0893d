"""Databases that are looked at: what is in them, without their contents."""
