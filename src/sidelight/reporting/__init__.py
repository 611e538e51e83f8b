"""Numbers and pictures -> one HTML file, or a Markdown page. Reads run and study folders only; never loads torch."""
