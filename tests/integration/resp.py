"""A small blocking RESP2 client: enough to set tests up and to look at servers from outside."""

import socket


class RedisError(Exception):
    """An error reply."""


class Client:
    def __init__(self, host, port, timeout=10.0, password=None):
        self.address = (host, port)
        self.sock = socket.create_connection(self.address, timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if password:
            self.call("AUTH", password)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def send(self, *args):
        self.sock.sendall(encode(args))

    def pipeline(self, commands):
        """Sends all commands in one write; returns replies, errors as RedisError objects."""
        self.sock.sendall(b"".join(encode(c) for c in commands))
        replies = []
        for _ in commands:
            try:
                replies.append(self.read())
            except RedisError as error:
                replies.append(error)
        return replies

    def call(self, *args):
        self.send(*args)
        return self.read()

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("connection to %s:%d closed" % self.address)
        self.buffer += data

    def _bytes(self, size):
        while len(self.buffer) < size + 2:
            self._fill()
        data, self.buffer = self.buffer[:size], self.buffer[size + 2 :]
        return data

    def read(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._bytes(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self._item() for _ in range(int(rest))]
        raise ValueError("unexpected reply %r" % line)

    def _item(self):
        try:
            return self.read()
        except RedisError as error:
            return error


def encode(args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


CRC_TABLE = []
for _byte in range(256):
    _crc = _byte << 8
    for _ in range(8):
        _crc = ((_crc << 1) ^ 0x1021) & 0xFFFF if _crc & 0x8000 else (_crc << 1) & 0xFFFF
    CRC_TABLE.append(_crc)


def key_slot(key):
    key = key if isinstance(key, bytes) else key.encode()
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    crc = 0
    for byte in key:
        crc = ((crc << 8) & 0xFFFF) ^ CRC_TABLE[(crc >> 8) ^ byte]
    return crc & 16383
