"""What the commands say: true, in the words of the command line, and with the way out."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path

import pytest
from grpc import StatusCode

from kvnode import Client, DataType
from kvnode.cli.advice import key_words
from kvnode.cli.commands import HOMES, SYNONYMS, run
from kvnode.cli.options import decode_base64
from kvnode.v1 import kv_pb2
from tests.cli.commands import Cli, conflict, ok
from tests.cli.test_errors import state
from tests.client.scripted import DOT, Answer, fail, hang, refuse, reply, scripted_node, succeed
from tests.node.process import NodeProcess, until

# ---- a put that ends a conflict


def test_a_put_says_that_it_ended_a_conflict(cli: Cli, key: str) -> None:
    conflict(cli, key, "one", "two", "three")
    said = ok(cli("put", key, "mine")).decode()
    assert said.startswith(f"stored {key} in place of 3 conflicting values (write ")
    assert ok(cli("get", key)) == b"mine"
    assert ok(cli("put", key, "again")).decode().startswith(f"stored {key} (write ")


@pytest.mark.parametrize("option", ["--blind", "--lww", "--json"])
def test_a_put_that_has_nothing_to_say_does_not_read(option: str) -> None:
    with scripted_node() as node:
        assert run(["put", "k", "v", option, "-e", node.address]) == 0
    assert node.methods == ["Write"]


def test_a_put_goes_on_where_the_key_cannot_be_read(capfd: pytest.CaptureFixture[str]) -> None:
    for answer in (
        refuse(StatusCode.NOT_FOUND, "KEY_NOT_FOUND"),
        fail(StatusCode.INTERNAL),
        refuse(StatusCode.DATA_LOSS, "STATE_DAMAGED"),
    ):
        with scripted_node(answer) as node:
            assert run(["put", "k", "v", "-e", node.address]) == 0
        assert node.methods == ["BatchGet", "Write"]
        assert capfd.readouterr().out.startswith("stored k (write ")


@pytest.mark.parametrize("answer", [hang, fail(StatusCode.UNAVAILABLE)])
def test_a_put_to_a_node_that_answers_no_read_is_not_sent(
    capfd: pytest.CaptureFixture[str], answer: Answer
) -> None:
    """It is certain then that nothing was written."""
    with scripted_node(*[answer] * 4) as node:
        assert run(["put", "k", "v", "-e", node.address, "--timeout", "0.5"]) == 7
    assert set(node.methods) == {"BatchGet"}
    assert capfd.readouterr().err.count("\n") == 1


# ---- a conflict that is shown


def test_a_conflict_is_said_in_one_short_line(cli: Cli, key: str) -> None:
    conflict(cli, key, "first value", "second value")
    done = cli("get", key)
    line = (
        f"Error: key '{key}' is in conflict; choose: kvnode resolve {key} --keep N"
        " (or merge: --value VALUE)"
    )
    assert done.err.splitlines()[-1] == line
    assert done.err.count("first value") == 1
    assert cli("get", key, "--json").err == line + "\n"


@pytest.mark.parametrize(
    "key", [b"a", b"user:1", b"a b", b"it's", b"-x", b"a  b", b"\xff", b"a\nb", "Zo\u00eb".encode()]
)
def test_a_key_in_an_advice_is_that_key(key: bytes) -> None:
    words = shlex.split(" ".join(key_words(key).split()))
    if words[0] == "--key-base64":
        assert decode_base64(words[1]) == key
    else:
        assert words == [key.decode()]


# ---- values, amounts, endpoints


def test_a_value_that_is_too_long_is_not_counted(cli: Cli, key: str, tmp_path: Path) -> None:
    """Reading stops at the limit, so how long it is nobody knows."""
    file = tmp_path / "large"
    file.write_bytes(b"x" * 20_000_000)
    done = cli("put", key, "--file", str(file))
    assert done.code == 6
    assert done.err == (f"Error: the value of key '{key}' has more than 1 MiB (1,048,576 bytes)\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("put", "neg", "-5"),
            "No such option '-5'. Put -- before a key or value that begins with a dash.",
        ),
        (("get", "-5"), "No such option '-5'. Put -- before a key or value that"),
        (
            ("incr", "c", "-5"),
            "No such option '-5'. AMOUNT is 1 or more; 'kvnode decr' takes away.",
        ),
        (("decr", "c", "-5"), "No such option '-5'. AMOUNT is 1 or more; 'kvnode incr' adds."),
        (
            ("incr", "c", "--", "-5"),
            "AMOUNT -5 is too small. AMOUNT is 1 or more; 'kvnode decr' takes away.",
        ),
        (
            ("decr", "c", "--", "-5"),
            "AMOUNT -5 is too small. AMOUNT is 1 or more; 'kvnode incr' adds.",
        ),
        (("incr", "c", "x"), "AMOUNT 'x' is not a whole number."),
        (("incr", "c", "-x"), "No such option '-x'. Put -- before a key or value that begins"),
        (("incr", "c", "--grow-only", "--type", "pn_counter"), "one of --grow-only and --type."),
        (("scan", "--limit", "x"), "'x' is not a valid whole number."),
        (("--timeout", "x", "status"), "'x' is not a valid number."),
        (("--endpoit", "x", "status"), "Did you mean '--endpoint'? See 'kvnode --help'."),
        (("put", "c", "v", "--lwww"), "Did you mean '--lww'? See 'kvnode put --help'."),
        (("frobnicate",), "No such command 'frobnicate'. See 'kvnode --help'."),
        (
            ("conflict",),
            "No such command 'conflict'. Did you mean 'conflicts'? See 'kvnode --help'.",
        ),
        *(
            ((word, "k"), f"No such command '{word}'. Did you mean '{name}'? See 'kvnode --help'.")
            for word, name in SYNONYMS.items()
        ),
        (
            ("resolve", "x"),
            "Give one of --keep N, --value VALUE, or --file FILE (- is standard input).",
        ),
    ],
)
def test_wrong_usage_is_explained(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err
    assert "?." not in done.err
    assert done.err.endswith("--help'.\n")


def test_an_amount_beyond_64_bits_is_told_the_range(cli: Cli, key: str) -> None:
    done = cli("incr", key, "99999999999999999999")
    assert done.code == 6
    assert done.err == "Error: amount 99999999999999999999 is not in -(2^63-1)..2^63-1\n"


def test_a_comma_at_the_end_of_the_endpoints(cli: Cli, key: str, node_endpoint: str) -> None:
    ok(cli("put", key, "v", "-e", f"{node_endpoint},"))
    done = cli("get", key, "-e", ",")
    assert done.code == 6
    assert done.err == ("Error: no endpoint given; one is HOST:PORT, for example 127.0.0.1:7080\n")


# ---- types


def test_types_are_spelt_as_options_spell_them(cli: Cli, client: Client) -> None:
    """The key's own name is not touched."""
    key = "SIBLINGS and 'PN_COUNTER'"
    client.put(key, "v", lww=True)
    done = cli("put", key, "w")
    assert done.code == 5
    assert "SIBLINGS and" in done.err
    assert done.err.endswith(
        " holds lww_register, not siblings: delete it first, or use another key,"
        " or put it with --lww\n"
    )
    client.delete(key)


def test_the_option_that_chose_the_wrong_type_is_named(cli: Cli, key: str, client: Client) -> None:
    client.put(f"{key}-s", "v")
    assert "or put it without --lww\n" in cli("put", f"{key}-s", "w", "--lww").err
    client.increment(f"{key}-p")
    assert "or leave out --grow-only\n" in cli("incr", f"{key}-p", "--grow-only").err


@pytest.mark.parametrize("command", [("incr",), ("decr",), ("incr", "--grow-only")])
@pytest.mark.parametrize("lww", [False, True])
def test_a_value_is_no_counter(
    cli: Cli, key: str, client: Client, command: tuple[str, ...], *, lww: bool
) -> None:
    """pn_counter is not the word of who wanted to add."""
    client.put(key, "v", lww=lww)
    kind = "lww_register" if lww else "siblings"
    assert f"' holds a value ({kind}), not a counter: delete it" in cli(*command, key).err


BOTH = refuse(
    StatusCode.FAILED_PRECONDITION,
    "TYPE_CONFLICT",
    "the key 'k' is both a G_COUNTER and a PN_COUNTER: say which",
    types="G_COUNTER,PN_COUNTER",
)


@pytest.mark.parametrize("command", ["incr", "decr", "delete"])
def test_of_two_counters_the_type_option_names_one(
    capfd: pytest.CaptureFixture[str], command: str
) -> None:
    with scripted_node(BOTH, succeed) as node:
        assert run([command, "k", "-e", node.address]) == 5
        assert capfd.readouterr().err == (
            "Error: the key 'k' is both a g_counter and a pn_counter: say which,"
            " with --type g_counter or --type pn_counter\n"
        )
        assert run([command, "k", "--type", "pn_counter", "-e", node.address]) == 0
    operation = node.operations[1]
    sent = operation.delete if command == "delete" else operation.increment
    assert DataType(sent.type) is DataType.PN_COUNTER


# ---- the rest


def test_help_of_every_client_command_names_the_environment_variable(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for words in ([], *([name] for name in HOMES if name not in ("serve", "export"))):
        assert run([*words, "--help"]) == 0
        text = " ".join(capfd.readouterr().out.split())
        assert "env var: KVNODE_ENDPOINTS; default: 127.0.0.1:7080" in text, words


def test_serve_names_a_missing_file_once(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "nofile.toml"
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run(["serve", "--config", str(file)]) == 1
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before, "who was not asked to end ignores nothing"
    said = capfd.readouterr().err
    assert said == f"Error: cannot read {file}: No such file or directory\n"


def test_the_problem_of_a_peer_is_a_few_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    node = NodeProcess(tmp_path / "data", "--found", "--peer", "away=127.0.0.1:1").ready()

    def last_cell() -> str:
        assert run(["peers", "-e", node.address]) == 0
        row = capfd.readouterr().out.splitlines()[-1]
        return re.split(r" {2,}", row.strip())[-1]

    try:
        until(lambda: last_cell() == "connection refused", "a short problem")
    finally:
        node.kill()


def test_sizes_in_status_are_no_limits(cli: Cli, key: str) -> None:
    ok(cli("put", key, "v"))
    text = ok(cli("status")).decode()
    assert len(re.findall(r"[KM]iB \(grows by itself\)", text)) == 2
    assert " MiB of " not in text


def test_what_resolve_left_is_not_listed_twice(capfd: pytest.CaptureFixture[str]) -> None:
    written = reply(kv_pb2.WriteResponse(results=[kv_pb2.WriteResult(dot=DOT)]))
    with scripted_node(state(b"a", b"b"), written, state(b"b", b"new")) as node:
        assert run(["resolve", "k", "--keep", "2", "-e", node.address]) == 4
    assert capfd.readouterr().err.count(" new ") == 1
