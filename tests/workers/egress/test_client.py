"""The one way out to addresses that users wrote: only public ones, pinned, bounded."""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import socket
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from fettle_workers.egress import Egress, EgressFailed, EgressRefused, EgressTimeout, parse_networks
from fettle_workers.egress.client import MAX_BYTES, is_public

LOOPBACK = parse_networks(["127.0.0.0/8", "::1"])


@pytest.fixture
def egress() -> Egress:
    return Egress(allowed=LOOPBACK, timeout_s=10)


def test_the_body_arrives_with_its_headers_and_so_does_the_answer(egress, serve, reply) -> None:
    server = serve(reply(200, {"score": 0.5}, {"X-Kind": "t"}))
    answer = egress.post(server.url + "/grade?a=1", headers={"Authorization": "Bearer k"}, body=b'{"x": 1}')
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (200, b'{"score": 0.5}', "t")
    (asked,) = server.asked
    assert (asked.path, asked.body, asked.headers["authorization"]) == ("/grade?a=1", b'{"x": 1}', "Bearer k")
    assert asked.headers["host"] == server.url.removeprefix("http://")


def test_headers_of_the_user_cannot_name_another_host_or_length(egress, serve, reply) -> None:
    server = serve(reply(200, {}))
    headers = {"Host": "internal", "content-length": "9999", "Transfer-Encoding": "chunked", "Accept-Encoding": "br"}
    assert egress.post(server.url, headers=headers, body=b"ab").status == 200
    assert server.asked[0].headers["host"] != "internal"
    assert server.asked[0].body == b"ab"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "0.0.0.0", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "224.0.0.1", "255.255.255.255", "0x7f.1", "2130706433", "127.1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(EgressRefused, match="not public"):
        Egress(timeout_s=5).post(f"http://{host}:9/", headers={}, body=b"")


@given(st.ip_addresses())
def test_public_means_public(address) -> None:
    if is_public(str(address)):
        assert not any((address.is_private, address.is_loopback, address.is_link_local, address.is_multicast))
        assert not address.is_reserved or address.version == 6


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808"])
def test_the_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_an_allowed_network_opens_itself_only() -> None:
    with pytest.raises(EgressRefused):
        Egress(allowed=parse_networks(["10.0.0.0/8"]), timeout_s=5).post("http://127.0.0.1:9/", headers={}, body=b"")
    with pytest.raises(ValueError, match="nonsense"):
        parse_networks(["10.0.0.0/8", "nonsense"])


def names(monkeypatch, answers: list[list[str]]) -> list[str]:
    """Resolve names by a script: one list of addresses for each question. Returns the names that were asked."""
    asked: list[str] = []

    def resolve(host, port, *args, **kwargs):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def test_a_name_that_moves_after_the_check_is_called_where_it_was_checked(monkeypatch, egress, serve, reply) -> None:
    """DNS rebinding: the second answer would be another machine. There is no second question."""
    server = serve(reply(200, {}))
    asked = names(monkeypatch, [["127.0.0.1"], ["10.9.9.9"]])
    port = server.url.rsplit(":", 1)[1]
    assert egress.post(f"http://grader.test:{port}/", headers={}, body=b"").status == 200
    assert asked.count("grader.test") == 1
    assert server.asked[0].headers["host"] == f"grader.test:{port}"


def test_one_private_address_among_public_ones_refuses_the_name(monkeypatch) -> None:
    names(monkeypatch, [["8.8.8.8", "10.0.0.7"]])
    with pytest.raises(EgressRefused, match=r"10\.0\.0\.7"):
        Egress(timeout_s=5).post("http://grader.test/", headers={}, body=b"")


def test_redirects_are_not_followed(egress, serve, reply) -> None:
    inner = serve(reply(200, {"secret": 1}))
    outer = serve(reply(307, {}, {"Location": inner.url}))
    with pytest.raises(EgressRefused, match="redirects"):
        egress.post(outer.url, headers={}, body=b"{}")
    assert inner.asked == []


def test_sizes_are_bounded_both_ways(egress, serve, reply) -> None:
    server = serve(reply(200, b"x" * MAX_BYTES), reply(200, b"x" * (MAX_BYTES + 1)))
    with pytest.raises(EgressRefused, match="at most"):
        egress.post(server.url, headers={}, body=b"x" * (MAX_BYTES + 1))
    assert server.asked == []
    assert len(egress.post(server.url, headers={}, body=b"x" * MAX_BYTES).body) == MAX_BYTES
    with pytest.raises(EgressRefused, match="more than"):
        egress.post(server.url, headers={}, body=b"")


def test_a_compressed_answer_is_no_way_around_the_size(egress, serve, reply) -> None:
    server = serve(reply(200, gzip.compress(b"0" * 10_000_000), {"Content-Encoding": "gzip"}))
    with pytest.raises(EgressRefused, match="compressed"):
        egress.post(server.url, headers={}, body=b"")


def drip(where: str):
    """A server that sends a byte a moment, for longer than any test."""

    def answer(handler, asked) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"" if where == "headers" else b"Content-Length: 9999\r\n\r\n"))
        for _ in range(300):
            try:
                handler.wfile.write(b"a")
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize("where", ["headers", "body"])
def test_the_whole_time_is_bounded_also_against_a_drip(serve, where: str) -> None:
    server = serve(drip(where))
    start = time.monotonic()
    with pytest.raises(EgressTimeout, match="within 1 s"):
        Egress(allowed=LOOPBACK, timeout_s=1).post(server.url, headers={}, body=b"")
    assert time.monotonic() - start < 10


def test_nobody_there_may_be_tried_again_and_the_message_keeps_the_path_to_itself(egress) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EgressFailed, match="cannot be reached") as caught:
        egress.post(f"http://127.0.0.1:{port}/hook?key=hush", headers={"Authorization": "hush"}, body=b"")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/passwd", "http://", "//x", "http://u:p@x/", "ws://x/", ""])
def test_only_web_addresses_are_called(url: str) -> None:
    with pytest.raises(EgressRefused):
        Egress(timeout_s=5).post(url, headers={}, body=b"")


@given(st.text())
def test_no_text_is_called_by_accident(url: str) -> None:
    with pytest.raises((EgressRefused, EgressFailed)):
        Egress(timeout_s=5).post(url, headers={}, body=b"")


@pytest.fixture
def tls_server(tmp_path):
    """A TLS server on loopback whose certificate is for `localhost`, and a context that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(raw, server_side=True) as connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            except OSError:  # the client did not like the certificate
                raw.close()

    threading.Thread(target=accept, daemon=True).start()
    trust = ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())
    yield listener.getsockname()[1], trust
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_tls_checks_the_name_and_not_the_address(tls_server, monkeypatch) -> None:
    port, trust = tls_server
    egress = Egress(allowed=LOOPBACK, timeout_s=10, verify=trust)
    names(monkeypatch, [["127.0.0.1"]] * 3)
    assert egress.post(f"https://localhost:{port}/", headers={}, body=b"").body == b"ok"
    with pytest.raises(EgressFailed, match="certificate"):
        egress.post(f"https://other.test:{port}/", headers={}, body=b"")
    with pytest.raises(EgressFailed, match="certificate"):
        Egress(allowed=LOOPBACK, timeout_s=10).post(f"https://localhost:{port}/", headers={}, body=b"")


def test_networks_are_read_as_operators_write_them() -> None:
    assert parse_networks([" 10.0.0.0/8", "::1"]) == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1"))
