"""The listening socket: small answers on a kept connection leave at once."""

from __future__ import annotations

import asyncio
import socket
import unittest

import engine_process  # noqa: F401 - puts the engine's folder on the path

from engine import bind


class ListeningSocket(unittest.TestCase):
    def test_connections_do_not_wait_for_acknowledgements(self) -> None:
        async def delay_is_off() -> int:
            accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

            def on_connection(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                accepted.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                writer.close()

            listening = bind("127.0.0.1", 0)
            async with await asyncio.start_server(on_connection, sock=listening):
                _reader, writer = await asyncio.open_connection(*listening.getsockname())
                writer.close()
                return await accepted

        self.assertNotEqual(asyncio.run(delay_is_off()), 0)


if __name__ == "__main__":
    unittest.main()
