"""Ports for servers of the tests."""
import random
import socket


def free_port():
    """Nobody has it now. From below the range of which the system gives ports to connections that
    go out (Linux: 32768), so that none of these takes it before the server that it is for."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise OSError("no port from 20000 to 32000 is free")
