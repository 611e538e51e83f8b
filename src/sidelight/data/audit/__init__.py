"""A cohort -> findings: what is missing, doubled, contradictory or on both sides of a split."""
