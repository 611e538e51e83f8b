"""A cohort file, folders and tables -> items, levels, metadata and tasks."""
