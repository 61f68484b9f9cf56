"""Servers that answer a download with anything, and folders in which its place is taken by something else."""

import os
import threading
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from jax_meta.datasets import cifar100, omniglot
from jax_meta.datasets.download import download
from tests.datasets.hostile import guarded

CHECKSUM = "sha256:" + "0" * 64


@pytest.fixture
def serve():
    """Answers every request with the same bytes, and hangs up."""
    servers = []

    def start(answer):
        class Handler(BaseRequestHandler):
            def handle(self):
                self.request.recv(65536)
                with suppress(OSError):  # of a reader that has heard enough
                    self.request.sendall(answer.replace(b"SELF", b"http://127.0.0.1:%d" % port))

        server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{port}/file.bin"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


OK = b"HTTP/1.0 200 OK\r\n"
ANSWERS = {
    "nothing": b"",
    "no HTTP": b"\x00\xff" * 100,
    "endless first line": b"HTTP/1.0 " + b"2" * 100_000,
    "endless header": OK + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
    "many headers": OK + b"A: b\r\n" * 1000 + b"\r\n",
    "length of no digits": OK + b"Content-Length: many\r\n\r\nabc",
    "length below zero": OK + b"Content-Length: -5\r\n\r\nabc",
    "length past all numbers": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nabc",
    "long length": OK + b"Content-Length: 99999999999999\r\n\r\nabc",
    "chunk of no length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc",
    "part of no place": b"HTTP/1.0 206 Partial\r\nContent-Range: bytes " + b"9" * 5000 + b"-/\r\n\r\nabc",
    "redirected to nowhere": b"HTTP/1.0 302 Found\r\nLocation: http://[\r\n\r\n",
    "redirected to a file": b"HTTP/1.0 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    "redirected to no port": b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:port/\r\n\r\n",
    "redirected to a long name": b"HTTP/1.0 302 Found\r\nLocation: http://" + b"a" * 100 + b".invalid/\r\n\r\n",
    "redirected to itself": b"HTTP/1.0 302 Found\r\nLocation: SELF/\r\n\r\n",
    "other content": OK + b"\r\nabc",
}


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("name", ANSWERS)
def test_any_answer_ends_in_an_error_of_ours(tmp_path, serve, name, start):
    url, path = serve(ANSWERS[name]), tmp_path / "data" / "file.bin"
    path.parent.mkdir()
    path.with_name("file.bin.partial").write_bytes(b"a" * start)
    with (
        guarded(path.parent),
        pytest.raises((OSError, ValueError), match=rf"(?s){url} .*(run again|Run again).*{path}"),
    ):
        download(url, path, checksum=CHECKSUM)
    assert not path.exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("../victim", path)])
def test_what_arrives_goes_nowhere_else(tmp_path, serve, make):
    url, path = serve(OK + b"\r\nabc"), tmp_path / "data" / "file.bin"
    path.parent.mkdir()
    make(path.with_name("file.bin.partial"))
    (tmp_path / "victim").write_bytes(b"mine")
    with guarded(path.parent), pytest.raises(OSError, match=rf"{path}\.partial is a link, or no file.*Remove it"):
        download(url, path, checksum=CHECKSUM)
    assert (tmp_path / "victim").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("load", "url", "name"),
    [
        (cifar100.load_cifar100, (cifar100, "URL", "{}"), "cifar-100-python.tar.gz"),
        (omniglot.load_omniglot, (omniglot, "URL", "{}?"), "images_background.zip"),
    ],
)
def test_every_download_of_a_loader_is_compared_with_its_checksum(tmp_path, serve, monkeypatch, load, url, name):
    module, constant, form = url
    monkeypatch.setattr(module, constant, form.format(serve(OK + b"\r\nabc")))
    with pytest.raises(ValueError, match=rf"arrived with the checksum md5:900150.*, not md5:.*by hand, as .*{name}"):
        load(tmp_path, download=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("load", "name"),
    [(cifar100.load_cifar100, "cifar-100-python.tar.gz"), (omniglot.load_omniglot, "images_background.zip")],
)
def test_a_file_of_other_content_is_told_where_it_is_read(tmp_path, load, name):
    """A file that is there is not fetched again, nor compared: it may have been packed anew."""
    for path in (tmp_path / name, tmp_path / "images_evaluation.zip"):
        path.write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=rf"{tmp_path / name} is damaged, or is not .*Delete it and download it again"):
        load(tmp_path, download=True)
