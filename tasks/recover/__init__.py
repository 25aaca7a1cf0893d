"""Bring a whole service back after everything was lost."""
