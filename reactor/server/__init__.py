"""The shell: sockets, processes, signals and the clock around a host.

frames      a WebSocket frame, built once and shared by all who get it
websocket   one connection: websockets' sans-I/O core on an asyncio protocol
heads       how a request may begin
http        the routes, on Starlette
metrics     the page for scrapers
alarm       wakes the reactor when a timer is due, and its housekeeping, on APScheduler
service     one database in this process: storage, engine, host, and the turns
serving     the port, the signals, start and stop
"""
