"""``verify`` and ``repair`` of a node without peers; the cluster's tests have the rest."""

from __future__ import annotations

from tests.cli.commands import Cli, json_of, ok


def test_a_node_alone_is_equal_to_itself(cli: Cli, key: str) -> None:
    ok(cli("put", key, "v"))
    text = ok(cli("verify")).decode()
    assert text.startswith("All members are equal.\nvector  ")
    assert "EWR" in text
    found = json_of(cli("verify", key, "--json"))
    assert json_of(cli("verify", "--prefix", key, "--json"))["digest"] == found["digest"]
    assert (found["verdict"], found["digest"]["keys"]) == ("equal", 1)
    assert len(found["digest"]["sum"]) == 32
    assert [member["name"] for member in found["members"]] == ["EWR"]


def test_a_full_verification_says_what_was_read(cli: Cli, key: str) -> None:
    ok(cli("put", key, "v"))
    done = cli("verify", "--full")
    assert done.code == 0
    assert "this node has read " in done.err
    checked = json_of(cli("verify", "--full", "--json"))["members"][0]["check"]
    assert checked["complete"]
    assert checked["keys"] >= 1


def test_what_is_well_is_not_repaired(cli: Cli, key: str) -> None:
    ok(cli("put", key, "v"))
    done = cli("repair", key)
    assert done.code == 0
    assert done.out.splitlines()[2].split() == [key.encode(), b"fine"]
    done = cli("repair", "--all")
    assert done.code == 0
    assert b"keys read\nNothing to heal.\n" in done.out
    assert json_of(cli("repair", key, "--json"))["keys"][0]["outcome"] == "fine"


def test_a_repair_without_a_key_says_what_to_give(cli: Cli) -> None:
    for arguments in ((), ("--all", "k")):
        done = cli("repair", *arguments)
        assert (done.code, done.err) == (
            2,
            "Error: Give keys, or --all. See 'kvnode repair --help'.\n",
        )
