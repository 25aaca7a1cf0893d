"""What docs/benchmarks.md reports, measured on a lab of its own: `make bench`."""
