"""Results for people: one table model for terminal, Markdown and HTML, and pages in one file each."""
