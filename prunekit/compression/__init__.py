"""From any existing policy to the smallest network certified to keep its return."""
