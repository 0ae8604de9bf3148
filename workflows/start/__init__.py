"""The rules of starting: names, ids, idempotency keys, exclusivity, limits, delays and deadlines."""
