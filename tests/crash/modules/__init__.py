"""The module that is killed again and again."""
