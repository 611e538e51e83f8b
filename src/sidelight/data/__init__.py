"""From disk to items: cohorts, tables, tasks, splits, readers, the pixel cache and synthetic cohorts."""
