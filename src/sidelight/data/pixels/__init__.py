"""Files -> decoded pixels at a working size, in a memory-mapped cache."""
