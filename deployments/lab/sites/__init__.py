"""Two sites on one machine: hosts as network namespaces, so that a partition is a cut link."""
