"""A cohort -> findings: what predicts a label without looking at the image as a reader would."""
