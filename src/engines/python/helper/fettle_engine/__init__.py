"""The engine kind `python`: one process that loads a handler file and runs its handler for each job.

Takes jobs over HTTP on one address (server.py). The main thread belongs to the handler: it loads the file and runs asyncio
handlers and, one at a time, sync ones (serving.py). Everything else is done by other threads, so that readiness, progress and a
cancel never wait for a handler. Standard library only, Python 3.8 or later.
"""
