"""Live queries: a documented subset of SQL, kept up to date commit by commit.

``parse_live_query`` reads the text, ``Subscriptions`` runs what it made. The parts, each importing only those before
it: ``view`` (what is asked of a table), ``like``, ``condition``, ``predicate`` (conditions as values and as code),
``refusal``, ``syntax``, ``where``, ``query`` (from text to a query), ``scan``, ``delta``, ``routing``,
``semijoin``, ``subscriptions`` (running it).
"""

from reactor.live.delta import ActiveQuery, Delta
from reactor.live.query import LiveQuery, Route, SemiJoin, parse_live_query
from reactor.live.subscriptions import Subscriptions
from reactor.live.view import Change, TableView

__all__ = [
    "ActiveQuery",
    "Change",
    "Delta",
    "LiveQuery",
    "Route",
    "SemiJoin",
    "Subscriptions",
    "TableView",
    "parse_live_query",
]
