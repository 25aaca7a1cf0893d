"""Entrances of sites."""
