"""Policy files of every kind, each read into one graph without running any code of it (law 7)."""
