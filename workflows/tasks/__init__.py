"""Tasks: effects outside the database, claimed by workers, with the result told to the workflow exactly once."""
