"""Runs jobs on one loaded handler, in the main thread, until the process shall end or the handler has changed.

An async handler's jobs are tasks of one event loop. A sync handler runs in the main thread itself, always the same one, because GPU
libraries and signal handlers want that; only with several slots each job has a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import inspect
import os
import signal
import threading
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .ending import CANCELLED, Ending, ending_of_exception, ending_of_fault, ending_of_return, ending_of_stream, ending_of_yielded_error
from .failure import traceback_of
from .handler import Handler
from .json_value import NotJson, encode_json
from .run import JobCancelled, Run, current_run
from .streams import install_streams, say, stderr, stdout

if TYPE_CHECKING:
    from .host import Host

# Nobody else uses it; raising from its handler also ends a sleep or a read, which an exception set for a thread does not.
CANCEL_SIGNAL = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
TICK_S = 0.5
LET_GO_S = 2.0


class Serving:
    def __init__(self, host: Host, handler: Handler) -> None:
        self.host = host
        self.handler = handler
        self.slots = handler.slots_after(1)
        self._loop = asyncio.new_event_loop()
        self._active: dict[Run, asyncio.Task | threading.Thread | None] = {}
        self._here: Run | None = None
        self._ends = False

    def run(self) -> None:
        """Until `host.wants_end`, or until the files changed while no job runs."""
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._fill)
        self._loop.call_soon(self._tick)
        try:
            while not self._ends:
                try:
                    self._loop.run_forever()
                except (SystemExit, KeyboardInterrupt, JobCancelled) as error:
                    # Out of a task that the handler left behind; no job of ours can raise it here.
                    say(f"A background task of the handler raised {error!r}; it is ignored.")
        finally:
            self._close()

    def wake(self) -> None:
        """From any thread: a job waits, or the end is wanted."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._fill)

    def interrupt(self, run: Run, *, again: bool) -> None:
        """From any thread: ends the handler of a cancelled job, wherever it runs; asked again every second while it does not react."""
        how = self._active.get(run)
        if isinstance(how, asyncio.Task):
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(how.cancel)
        if isinstance(how, threading.Thread):
            if how.ident is not None and how.is_alive():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(how.ident), ctypes.py_object(JobCancelled))
        elif run is self._here or again:
            signal.pthread_kill(threading.main_thread().ident or 0, CANCEL_SIGNAL)

    def raise_in_cancelled(self) -> None:
        """In the main thread, out of a signal: raises where the code of a cancelled job is running right now."""
        run = self._here
        if run is None:
            with suppress(RuntimeError):
                task = asyncio.current_task(self._loop)
                run = next((run for run, how in self._active.items() if how is task and task is not None), None)
        if run is not None and run.cancelled.is_set() and not run.ended.is_set():
            raise JobCancelled

    def end_soon(self) -> None:
        """Cancelled jobs get a moment to let go."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.call_later, LET_GO_S, self._end)

    # In the loop from here on, except where a thread is named.

    def _tick(self) -> None:
        if self.handler.has_modifier or self.host.changes is not None:
            self._fill()
            self._loop.call_later(TICK_S, self._tick)

    def _fill(self) -> None:
        wanted = self.handler.slots_after(self.slots)
        if wanted != self.slots:
            self.slots = wanted
            for run in list(self._active):
                run.tell({"type": "slots", "value": wanted})
        while len(self._active) < self.slots and not self._ends:
            if not self._active and (self.host.wants_end or self.host.has_changed()):
                return self._end()
            waiting = self.host.take()
            if waiting is None:
                return None
            self._begin(waiting)
        return None

    def _end(self) -> None:
        self._ends = True
        self._loop.stop()

    def _begin(self, run: Run) -> None:
        install_streams()
        context = contextvars.copy_context()
        context.run(current_run.set, run)
        if self.handler.is_async:
            self._active[run] = None
            context.run(self._begin_task, run, self._stream_async(run) if self.handler.is_generator else self._call_async(run, None))
        elif self.slots > 1:
            thread = threading.Thread(target=context.run, args=(self._in_thread, run), name=f"job {run.job_id}", daemon=True)
            self._active[run] = thread
            thread.start()
        else:
            self._active[run] = None
            context.run(self._in_main_thread, run)

    def _begin_task(self, run: Run, work: Coroutine[Any, Any, Ending]) -> None:
        task = self._loop.create_task(work)
        self._active[run] = task
        task.add_done_callback(lambda _task: self._finish(run, _ending_of_task(task)))
        if run.cancelled.is_set():
            task.cancel()

    def _in_main_thread(self, run: Run) -> None:
        # Without a running loop, so that a sync handler may use asyncio.run.
        asyncio._set_running_loop(None)  # type: ignore[attr-defined]
        ending: Ending | Awaitable = CANCELLED
        try:
            self._here = run
            ending = CANCELLED if run.cancelled.is_set() else self._call_sync(run)
            self._here = None
        except JobCancelled:
            ending = CANCELLED
        finally:
            self._here = None
            asyncio._set_running_loop(self._loop)  # type: ignore[attr-defined]
        self._settle(run, ending)

    def _in_thread(self, run: Run) -> None:
        """In a thread of the job's own."""
        ending: Ending | Awaitable = CANCELLED
        with suppress(JobCancelled):
            ending = self._call_sync(run)
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, run, ending, contextvars.copy_context())

    def _settle(self, run: Run, ending: Ending | Awaitable, context: contextvars.Context | None = None) -> None:
        if isinstance(ending, Ending):
            return self._finish(run, ending)
        # A sync function that gave back something to await.
        return (context or contextvars.copy_context()).run(self._begin_task, run, self._call_async(run, ending))

    def _finish(self, run: Run, ending: Ending) -> None:
        if os.getpid() != self.host.pid:
            # A process that the handler forked came out of it; the job is its parent's.
            os._exit(0)
        self._active.pop(run, None)
        for stream in (stdout, stderr):
            stream.flush_rest(run)
        header = ending.header
        if self.handler.refreshes and header["type"] != "cancelled":
            header = {**header, "refresh": True}
        run.end(header, ending.output)
        self._loop.call_soon(self._fill)

    def _close(self) -> None:
        for run, how in list(self._active.items()):
            if isinstance(how, asyncio.Task):
                how.cancel()
            run.end(CANCELLED.header)
        with suppress(BaseException):
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        self._loop.close()

    # The calls of the handler.

    def _call_sync(self, run: Run) -> Ending | Awaitable:
        """In the main thread or in one of the job's own. JobCancelled passes through."""
        if self.handler.is_generator:
            return self._stream_sync(run)
        try:
            value = self.handler.call(run.job)
            return value if inspect.isawaitable(value) else ending_of_return(value)
        except JobCancelled:
            raise
        except BaseException as error:
            return self._failed(error)

    async def _call_async(self, run: Run, started: Awaitable | None) -> Ending:
        try:
            return ending_of_return(await (self.handler.call(run.job) if started is None else started))
        except asyncio.CancelledError as error:
            if run.cancelled.is_set():
                raise
            return self._failed(error)
        except JobCancelled:
            return CANCELLED
        except BaseException as error:
            return self._failed(error)

    def _stream_sync(self, run: Run) -> Ending:
        values: list[Any] = []
        stream = None
        try:
            stream = self.handler.call(run.job)
            for count, value in enumerate(stream):
                failed = ending_of_yielded_error(value)
                if failed is not None:
                    return failed
                if self.handler.aggregates:
                    values.append(value)
                run.partial(encode_json(value, f"yield[{count}]")).result()
            return ending_of_stream(values)
        except NotJson as fault:
            return ending_of_fault(fault)
        except JobCancelled:
            raise
        except BaseException as error:
            return self._failed(error, in_stream=True)
        finally:
            with suppress(Exception):
                stream.close()  # type: ignore[union-attr]

    async def _stream_async(self, run: Run) -> Ending:
        values: list[Any] = []
        count = 0
        stream = None
        try:
            stream = self.handler.call(run.job)
            async for value in stream:
                failed = ending_of_yielded_error(value)
                if failed is not None:
                    return failed
                if self.handler.aggregates:
                    values.append(value)
                await asyncio.wrap_future(run.partial(encode_json(value, f"yield[{count}]")))
                count += 1
            return ending_of_stream(values)
        except NotJson as fault:
            return ending_of_fault(fault)
        except asyncio.CancelledError as error:
            if run.cancelled.is_set():
                raise
            return self._failed(error, in_stream=True)
        except JobCancelled:
            return CANCELLED
        except BaseException as error:
            return self._failed(error, in_stream=True)
        finally:
            with suppress(Exception):
                await stream.aclose()  # type: ignore[union-attr]

    def _failed(self, error: BaseException, *, in_stream: bool = False) -> Ending:
        ending = ending_of_exception(error, in_stream=in_stream)
        install_streams()
        say(f"The handler raised {ending.header['message']}")
        stderr.write(traceback_of(error))
        return ending


def _ending_of_task(task: asyncio.Task) -> Ending:
    if task.cancelled():
        return CANCELLED
    error = task.exception()
    if error is None:
        return task.result()
    return CANCELLED if isinstance(error, JobCancelled) else ending_of_exception(error)
