"""Reads HTTP/1.1 messages off a connection: heads as they came, bodies in pieces (RFC 9112).

Bodies are never held as a whole. Bytes that nobody changes are passed on exactly as they were received.
"""
import re

LARGEST_HEAD = 256 << 10
PIECE = 256 << 10


class Truncated(ConnectionError):
    """The other side closed within a message."""


class Head:
    """The start line and the fields of a message. `fields` are (name, value) pairs of str, in order."""

    def __init__(self, raw):
        lines = raw[:-4].decode("latin-1").split("\r\n")
        self.start = lines[0]
        self.fields = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines[1:])]

    def get(self, name):
        """The first value of a field, or None."""
        wanted = name.lower()
        return next((value for key, value in self.fields if key.lower() == wanted), None)

    def set(self, name, value):
        """Replaces a field, in its place if it has one; None removes it."""
        wanted, done, fields = name.lower(), value is None, []
        for key, old in self.fields:
            if key.lower() != wanted:
                fields.append((key, old))
            elif not done:
                fields.append((key, value))
                done = True
        self.fields = fields if done else fields + [(name, value)]

    def encode(self):
        lines = [self.start] + ["%s: %s" % field for field in self.fields]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    @property
    def status(self):
        return int(self.start.split(" ", 2)[1])

    @property
    def is_chunked(self):
        return (self.get("transfer-encoding") or "").lower().endswith("chunked")

    @property
    def closes(self):
        connection = (self.get("connection") or "").lower()
        return "close" in connection or self.start.startswith("HTTP/1.0") and "keep-alive" not in connection


class Reader:
    """Cuts what `receive(limit)` returns into heads and bodies; `receive` returns b"" at the end."""

    def __init__(self, receive):
        self.receive = receive
        self.held = b""

    async def some(self, limit):
        """Between 1 and `limit` bytes; b"" at the end."""
        if not self.held:
            piece = await self.receive(limit)
            if len(piece) <= limit:
                return piece
            self.held = bytes(piece)
        piece, self.held = self.held[:limit], self.held[limit:]
        return piece

    async def through(self, mark):
        """All bytes up to and with `mark`; b"" when the end comes at once."""
        while (found := self.held.find(mark)) < 0:
            if len(self.held) > LARGEST_HEAD:
                raise Truncated("head of more than %d bytes" % LARGEST_HEAD)
            more = await self.receive(PIECE)
            if not more:
                if self.held:
                    raise Truncated("the connection ended within a head")
                return b""
            self.held += more
        end = found + len(mark)
        piece, self.held = self.held[:end], self.held[end:]
        return piece


async def sized_body(reader, length):
    """Yields (bytes, True) until `length` bytes have passed."""
    while length > 0:
        piece = await reader.some(min(length, PIECE))
        if not piece:
            raise Truncated("%d bytes of a body are missing" % length)
        length -= len(piece)
        yield piece, True


async def endless_body(reader):
    """Yields (bytes, True) until the connection ends."""
    while piece := await reader.some(PIECE):
        yield piece, True


async def chunked_body(reader):
    """Yields a chunked body as it came: (bytes, False) for the framing, (bytes, True) for what it carries."""
    while True:
        line = await reader.through(b"\r\n")
        size = re.match(rb"[0-9A-Fa-f]+", line)
        if size is None:
            raise Truncated("no chunk size: %r" % line[:40])
        yield line, False
        length = int(size[0], 16)
        if length == 0:
            break
        async for piece in sized_body(reader, length):
            yield piece
        yield await reader.through(b"\r\n"), False
    while line not in (b"\r\n", b""):  # trailer fields, then the empty line
        line = await reader.through(b"\r\n")
        yield line, False


def request_body(head, reader):
    """The body of a request, or None when it has none."""
    if head.is_chunked:
        return chunked_body(reader)
    length = int(head.get("content-length") or 0)
    return sized_body(reader, length) if length > 0 else None


def answer_body(head, method, reader):
    """The body of an answer, or None when it has none. An endless one ends the connection."""
    if method == "HEAD" or head.status in (204, 304) or head.status < 200:
        return None
    if head.is_chunked:
        return chunked_body(reader)
    if (length := head.get("content-length")) is not None:
        return sized_body(reader, int(length))
    return endless_body(reader)
