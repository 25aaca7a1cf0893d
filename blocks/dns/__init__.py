"""Authoritative DNS servers of the names that users ask for."""
