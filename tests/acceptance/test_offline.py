"""The suite itself runs without a network: its guard works, and lets this host's own connections through."""

import socket
import urllib.request

import pytest

import sidelight

BEYOND = "192.0.2.1"  # reserved for documentation: nobody is there


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: socket.create_connection((BEYOND, 80), timeout=1),
        lambda: socket.socket().connect((BEYOND, 80)),
        lambda: socket.socket().connect_ex((BEYOND, 80)),
        lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80, 0, 0)),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", (BEYOND, 53)),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, (BEYOND, 53)),
        lambda: socket.getaddrinfo("example.org", 443),
        lambda: socket.gethostbyname("example.org"),
        lambda: urllib.request.urlopen("http://example.org", timeout=1),
    ],
)
def test_no_test_gets_beyond_this_host(attempt):
    with pytest.raises(pytest.fail.Exception, match="no connection beyond this host"):
        attempt()


def test_only_a_hub_name_reaches_for_the_network():
    with pytest.raises(pytest.fail.Exception, match="no connection beyond this host"):
        sidelight.load_encoder("hf-hub:owner/model")
    assert sidelight.load_encoder("test_resnet", random=True, image_size=32).dim


def test_this_host_may_talk_to_itself():
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = socket.create_connection(("localhost", server.getsockname()[1]), timeout=5)
        there.sendall(b"x")
        assert server.accept()[0].recv(1) == b"x"
        there.close()
    left, right = socket.socketpair()
    left.sendmsg([b"x"])
    assert right.recv(1) == b"x"
