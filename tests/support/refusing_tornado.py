"""
A real Tornado that refuses uploads: `python -m tests.support.refusing_tornado PORT`.
"""

import asyncio
import sys

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, stream_request_body


@stream_request_body
class Refusing(RequestHandler):
    """
    Answers 401: at once, below /drained after it has read the body; below /read answers its length.
    """

    length = 0

    def prepare(self) -> None:
        """
        Refuse before the body arrives.
        """
        if self.request.path not in {"/drained", "/read"}:
            self._refuse()

    def data_received(self, chunk: bytes) -> None:
        """
        Count a piece of the body.
        """
        self.length += len(chunk)

    def post(self) -> None:
        """
        Answer after the body has arrived.
        """
        if self.request.path == "/read":
            self.finish(str(self.length))
        else:
            self._refuse()

    def _refuse(self) -> None:
        self.set_status(401)
        self.finish("no")


async def _serve(port: int) -> None:
    server = HTTPServer(Application([(".*", Refusing)], log_function=lambda _: None))
    server.listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
