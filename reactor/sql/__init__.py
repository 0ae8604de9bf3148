"""SQL for people: SQLite's own SELECT over the projection, read-only, fenced and bounded.

    messages    what is asked, what is answered, and how both travel between processes
    statement   the text and its parameters, looked at before SQLite sees them
    fence       which tables and functions a statement may touch (SQLite's authorizer)
    guard       one statement run on one connection under limits, deadline and caps
    failures    SQLite's errors as ours, with a hint
    formats     rows to JSON, CSV, or a table for the terminal
    inline      all of it in this process: tests, simulation, in-memory databases
    reader      all of it in a process of its own ...
    process     ... and the side of the reactor that feeds it

Nothing is imported here, so that the reader process starts quickly.
"""
