"""Packages: pure decisions and thin Prefect tasks, a folder a capability."""
