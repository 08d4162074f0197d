"""Results as people read them: one table model for terminal, Markdown and HTML, and pages of one file each."""
