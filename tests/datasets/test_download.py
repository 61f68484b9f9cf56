"""Downloads, from a server on this machine which resumes, cuts connections, and misbehaves on demand."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from jax_meta.datasets.download import download

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    """Serves CONTENT at `url`. `cut`: bytes after which it hangs up; `mode`: how it answers a Range request."""
    state = SimpleNamespace(cut=None, mode="resume", ranges=[], status=200)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and state.mode != "ignore" else 0
            if start >= len(CONTENT):
                self.send_error(416)
                return
            if start and state.mode == "elsewhere":
                start -= 1
            self.send_response(206 if asked and state.mode != "ignore" else state.status)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            if state.mode != "unannounced":
                self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : state.cut])

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        state.url = f"http://127.0.0.1:{http_server.server_port}/file.bin"
        yield state
        http_server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folder" / "file.bin"


@pytest.fixture
def partial(path):
    path.parent.mkdir(parents=True)
    return path.with_name("file.bin.partial")


@pytest.mark.parametrize("checksum", [SHA256, MD5, "md5:" + MD5[4:].upper()])
def test_bytes_arrive_whole(server, path, checksum):
    assert download(server.url, path, checksum=checksum) == path
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["file.bin"]
    assert server.ranges == [None]


def test_length_need_not_be_announced(server, path):
    server.mode = "unannounced"
    download(server.url, path, checksum=SHA256)
    assert path.read_bytes() == CONTENT


def test_existing_file_is_left_alone(server, path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert download(server.url, path, checksum=SHA256) == path
    assert path.read_bytes() == b"mine"
    assert server.ranges == []


def test_interrupted_download_resumes_where_it_stopped(server, path):
    server.cut = 100_000
    with pytest.raises(OSError, match=r"ended after 100000 of 300000 bytes.*run again to resume"):
        download(server.url, path, checksum=SHA256)
    assert not path.exists()
    assert path.with_name("file.bin.partial").read_bytes() == CONTENT[:100_000]
    server.cut = 200_000
    with pytest.raises(OSError, match=r"ended after 200000 of 300000 bytes"):
        download(server.url, path, checksum=SHA256)
    server.cut = None
    download(server.url, path, checksum=SHA256)
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]
    assert path.read_bytes() == CONTENT
    assert not path.with_name("file.bin.partial").exists()


def test_partial_file_is_extended_not_fetched_again(server, path, partial):
    """What was there is kept, even when it is wrong: only the checksum at the end can tell."""
    partial.write_bytes(bytes(1000))
    with pytest.raises(ValueError, match=r"arrived with the checksum"):
        download(server.url, path, checksum=SHA256)
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize(
    ("mode", "ranges"), [("ignore", ["bytes=1000-"]), ("elsewhere", ["bytes=1000-", None])], ids=["ignore", "elsewhere"]
)
def test_server_that_does_not_resume_sends_it_whole(server, path, partial, mode, ranges):
    server.mode = mode
    partial.write_bytes(bytes(1000))
    download(server.url, path, checksum=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ranges


def test_whole_partial_file_is_verified_and_kept(server, path, partial):
    partial.write_bytes(CONTENT)
    download(server.url, path, checksum=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=300000-"]


def test_partial_file_that_is_too_long_starts_over(server, path, partial):
    partial.write_bytes(CONTENT + b"more")
    download(server.url, path, checksum=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=300004-", None]


def test_wrong_checksum_leaves_no_file(server, path):
    wrong = "sha256:" + "0" * 64
    with pytest.raises(ValueError, match=rf"{server.url} .*{SHA256}, not {wrong}.*Run again"):
        download(server.url, path, checksum=wrong)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("status", [404, 503])
def test_refusal_names_url_and_remedy(server, path, status):
    server.status = status
    with pytest.raises(OSError, match=rf"{server.url} .*{status}.*by hand to {path}"):
        download(server.url, path, checksum=SHA256)
    assert list(path.parent.iterdir()) == []


def test_unreachable_server_keeps_what_has_arrived(path, partial):
    partial.write_bytes(CONTENT[:10])
    with pytest.raises(
        OSError, match=r"http://127.0.0.1:1/file.bin .*refused.*resume, or download it by hand to .*file"
    ):
        download("http://127.0.0.1:1/file.bin", path, checksum=SHA256)
    assert partial.read_bytes() == CONTENT[:10]


@pytest.mark.parametrize("checksum", ["", "sha256:", "md5:12", MD5[4:], "sha1:" + "0" * 40, "md5:" + "g" * 32])
def test_checksum_is_checked_first(server, path, checksum):
    with pytest.raises(ValueError, match=r"checksum must read"):
        download(server.url, path, checksum=checksum)
    assert server.ranges == []


def test_progress_goes_to_stderr_only(server, path, capsys):
    download(server.url, path, checksum=SHA256)
    assert capsys.readouterr().out == ""
