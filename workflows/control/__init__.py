"""What operators do with workflows, what becomes of those that fail, and the record of commands."""
