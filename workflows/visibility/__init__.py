"""Lists and aggregates over workflows: an index in SQL, filters, and the reports that use them.

index       what the index holds, and its version
filters     what can be asked for, checked
terms       a filter as SQL, over the index or over the table itself
cursor      where a page ended
listing     the report ``workflow_list``
counting    the report ``workflow_aggregate``
parameters  both as they are asked for in a URL
matching    the same filters inside a reducer, over the tables in memory
part        the part of the engine that has them
"""
