"""Nodes and clients that show each other certificates, as real processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvnode import (
    BEGINNING,
    AsyncClient,
    Client,
    InvalidArgument,
    KvnodeError,
    NodeUnavailable,
    Value,
    Watch,
)
from tests.certificates import Authority

from .conftest import Start
from .process import NodeProcess, until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """That of the cluster."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def app(authority: Authority) -> Path:
    """A client's certificates."""
    return authority.issue("app")


@pytest.fixture(scope="module")
def own(authority: Authority) -> Path:
    """A node's certificates."""
    return authority.issue("node")


@pytest.fixture(scope="module")
def node(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node that speaks TLS only."""
    data = tmp_path_factory.mktemp("node") / "data"
    process = NodeProcess(data, "--tls", str(own)).ready()
    try:
        yield process
    finally:
        process.kill()


def kvnode(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kvnode", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def why_not(address: str, tls: Path | None) -> str:
    """What a client says that is not let in, or does not want to."""
    with Client(address, timeout_s=10, tls=tls) as db, pytest.raises(NodeUnavailable) as refused:
        db.get("k")
    return str(refused.value)


def test_every_kind_of_client_is_let_in_with_a_certificate(node: NodeProcess, app: Path) -> None:
    async def asynchronous() -> None:
        async with AsyncClient(node.address, tls=str(app)) as db:
            await db.put("tls/a", "1")
            found = await db.get("tls/a")
            assert isinstance(found, Value)
            assert found.value == b"1"
            async with db.watch(prefix="tls/", since=BEGINNING) as watch:
                async for change in watch:
                    assert change.key == b"tls/a"
                    break

    asyncio.run(asynchronous())
    with Client(node.address, tls=app) as db:
        db.put("tls/b", "2")
        with db.watch(prefix="tls/b", since=BEGINNING) as watch:
            assert next(iter(watch)).key == b"tls/b"
        assert db.admin.status().name
    with Watch(node.address, prefix="tls/a", since=BEGINNING, tls=app) as watch:
        assert next(iter(watch)).key == b"tls/a"


def test_the_command_line_takes_certificates_by_option_and_by_variable(
    node: NodeProcess, app: Path
) -> None:
    put = kvnode("put", "tls/c", "3", "-e", node.address, "--tls", str(app))
    assert put.returncode == 0, put.stderr
    where = {"KVNODE_ENDPOINTS": node.address, "KVNODE_TLS": str(app)}
    assert kvnode("get", "tls/c", **where).stdout == "3"
    assert "node1" in kvnode("members", **where).stdout
    status = kvnode("status", "--json", **where)
    assert json.loads(status.stdout)["state"] == "serving"
    refused = kvnode("get", "tls/c", "-e", node.address, "--timeout", "5")
    assert refused.returncode != 0
    assert "closed at once: does it want TLS, or another certificate?" in refused.stderr


def test_who_has_no_certificate_of_the_authority_is_not_let_in(
    node: NodeProcess, authority: Authority, tmp_path: Path
) -> None:
    assert "closed at once: does it want TLS" in why_not(node.address, None)
    stranger = Authority(tmp_path, "stranger").issue("app")
    (stranger / "ca.crt").write_bytes(authority.certificate.read_bytes())  # trusts the node
    assert "or another certificate?" in why_not(node.address, stranger)


def test_a_node_that_cannot_be_trusted_is_not_talked_to(
    node: NodeProcess, authority: Authority, app: Path, start: Start, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("app")
    assert "of another authority" in why_not(node.address, stranger)
    elsewhere = start("elsewhere", "--tls", str(authority.issue("elsewhere", "DNS:elsewhere")))
    assert "not for this host" in why_not(elsewhere.ready().address, app)
    assert "speaks no TLS" in why_not(start("plain").ready().address, app)


def test_members_show_each_other_certificates(
    authority: Authority, app: Path, own: Path, start: Start
) -> None:
    first = start("first", "--name", "first", "--tls", str(own)).ready()
    joining = start("second", "--name", "second", "--join", "--tls", str(authority.issue("second")))
    until(lambda: "joining on" in joining.stderr, "it waits")
    where = joining.stderr.partition("joining on ")[2].partition(",")[0]
    # who has no certificate gets nowhere
    other = start("third", "--name", "third", "--join")
    until(lambda: "joining on" in other.stderr, "it waits")
    there = other.stderr.partition("joining on ")[2].partition(",")[0]
    refused = kvnode("join", f"third={there}", "--yes", "-e", first.address, "--tls", str(app))
    assert refused.returncode != 0
    assert "speaks no TLS" in refused.stderr
    done = kvnode("join", f"second={where}", "--yes", "-e", first.address, "--tls", str(app))
    assert done.returncode == 0, done.stderr
    second = joining.ready()
    with Client(first.address, tls=app) as here, Client(second.address, tls=app) as there_too:
        here.put("k", "v", durability="all")
        found = there_too.get("k")
        assert isinstance(found, Value)
        assert found.value == b"v"
    proof = kvnode("verify", "-e", second.address, "--tls", str(app))
    assert proof.returncode == 0, proof.stdout + proof.stderr


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("ca.crt", "holds no certificates in PEM form"),
        ("tls.crt", "are not a certificate and its private key"),
        ("tls.key", "are not a certificate and its private key"),
        ("another key", "are not a certificate and its private key"),
        ("missing", "cannot read"),
    ],
)
def test_files_that_are_of_no_use_are_named_before_anything_is_made(
    tmp_path: Path, start: Start, broken: str, complaint: str
) -> None:
    folder = Authority(tmp_path / "authority").issue("node")
    if broken == "missing":
        (folder / "tls.key").unlink()
    elif broken == "another key":
        other = Authority(tmp_path / "other").issue("node")
        (folder / "tls.key").write_bytes((other / "tls.key").read_bytes())
    else:
        (folder / broken).write_bytes(b"nothing\n")
    process = start("data", "--tls", str(folder))
    assert process.ended() == 1
    assert complaint in process.stderr
    assert process.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()
    with pytest.raises(InvalidArgument, match=complaint):
        Client("127.0.0.1:1", tls=folder)
    assert complaint in kvnode("get", "k", "--tls", str(folder)).stderr


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(tmp_path: Path) -> None:
    folder = Authority(tmp_path).issue("node")
    key, sealed = folder / "tls.key", folder / "sealed.key"
    seal = f"openssl ec -in {key} -out {sealed} -aes256 -passout pass:secret"
    subprocess.run(seal.split(), check=True, capture_output=True, timeout=60)
    sealed.replace(key)
    with pytest.raises(KvnodeError, match="not encrypted"):
        Client("127.0.0.1:1", tls=folder)
