"""The tables of an evaluation or a study -> its report, as HTML and as a Markdown page."""
