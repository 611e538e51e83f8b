"""A run folder -> its report."""
