"""Settings: defaults, files, flags over files, and what is refused by name."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from kvnode.cli.commands import run
from kvnode.config import Config, ConfigError, documentation, load, to_toml


def written(folder: Path, text: str) -> Path:
    """A configuration file."""
    file = folder / "kvnode.toml"
    file.write_text(text)
    return file


def test_defaults_make_a_single_node_on_loopback() -> None:
    config = load(None)
    assert config == Config()
    assert (config.name, config.cluster, config.peers) == ("node1", "default", {})
    assert (config.listen, config.data) == ("127.0.0.1:7080", "kvnode-data")
    assert config.token_secret == b"default"


def test_the_documented_limits_are_the_defaults() -> None:
    limits = Config().limits
    assert limits.key_bytes_max == 480
    assert limits.value_bytes_max == 1 << 20
    assert limits.batch_bytes_max == 4 << 20
    assert limits.batch_operations_max == 10_000
    assert limits.siblings_max == 100


ADDRESSES = ("advertise", "metrics")


def test_every_setting_can_stand_in_a_file(tmp_path: Path) -> None:
    """Also that each has a type the file can carry, and that no limit is lost on the way."""
    lines, tables = [], []
    for item in fields(Config):
        if item.type == "int":
            lines.append(f"{item.name} = 77")
        elif item.type == "bool":
            lines.append(f"{item.name} = false")
        elif item.name in ADDRESSES:
            lines.append(f'{item.name} = "10.0.0.1:7"')
        elif item.type == "str" and item.name != "listen":
            lines.append(f'{item.name} = "its-{item.name}"')
        elif item.name == "peers":
            tables.append('[peers]\ntokyo = "127.0.0.1:1"\nparis = "[::1]:65535"')
    config = load(written(tmp_path, "\n".join([*lines, *tables])))
    for item in fields(Config):
        value = getattr(config, item.name)
        match item.type:
            case "int":
                assert value == 77
            case "str" if item.name in ADDRESSES:
                assert value == "10.0.0.1:7"
            case "str" if item.name != "listen":
                assert value == f"its-{item.name}"
    assert config.peers == {"tokyo": "127.0.0.1:1", "paris": "[::1]:65535"}
    assert config.token_secret == b"its-secret"
    assert config.limits.siblings_max == 77


def test_flags_win_over_the_file_and_absent_flags_do_not(tmp_path: Path) -> None:
    file = written(tmp_path, 'name = "file"\ncluster = "file"\n[peers]\na = "127.0.0.1:1"')
    config = load(file, name="flag", cluster=None, peers={"b": "127.0.0.1:2"}, data=None)
    assert (config.name, config.cluster) == ("flag", "file")
    assert config.peers == {"b": "127.0.0.1:2"}
    assert config.data == "kvnode-data"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nmae = 'x'", "nmae"),
        ("[limits]\nsiblings_max = 5", "limits"),
        ("name = 5", "name"),
        ("data = ['x']", "data"),
        ("siblings_max = '5'", "siblings_max"),
        ("siblings_max = 0", "siblings_max"),
        ("siblings_max = -1", "siblings_max"),
        ("siblings_max = 5.0", "siblings_max"),
        ("siblings_max = true", "siblings_max"),
        ("key_bytes_max = 481", "key_bytes_max"),
        ("secret = 5", "secret"),
        (f"secret = '{'s' * 65}'", "secret"),
        ("peers = 'x=127.0.0.1:1'", "peers"),
        ("peers = ['127.0.0.1:1']", "peers"),
        ("[peers]\nx = 5", "peers"),
        ("[peers]\nnode1 = '127.0.0.1:1'", "node1"),
        ("listen = '7080'", "7080"),
        ("metrics = '9464'", "'9464' is no address"),
        ("listen = '[::1]:9464'\nmetrics = '[::1]:9464'", "an address of its own"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as refused:
        load(written(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_the_setting_that_may_be_meant_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'sekret', did you mean 'secret'\?$"):
        load(written(tmp_path, 'sekret = "x"'))
    with pytest.raises(ConfigError, match=r"unknown setting 'zzz'$"):
        load(written(tmp_path, 'zzz = "x"'))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "sekret = 'x'\nnmae = 'y'\nsiblings_max = '5'\nkey_bytes_max = 481\nlisten = '7080'"
    with pytest.raises(ConfigError) as refused:
        load(written(tmp_path, text), name="a b")
    problems = str(refused.value).split("; ")
    assert len(problems) == 6
    for named in ("sekret", "nmae", "siblings_max", "key_bytes_max", "'7080'", "'a b'"):
        assert any(named in problem for problem in problems), named


CHANGED = Config(
    name="東京.1",
    secret='a "quoted" \\ secret \x7f',
    join=True,
    peers={"a.b": "127.0.0.1:1", "c": "[::1]:2"},
    siblings_max=7,
)


@pytest.mark.parametrize("config", [Config(), CHANGED])
def test_settings_as_text_are_read_back(tmp_path: Path, config: Config) -> None:
    text = to_toml(config)
    assert load(written(tmp_path, text)) == config
    for item in fields(Config):
        assert re.search(rf"^({item.name} = |\[{item.name}\]$)", text, re.MULTILINE), item.name


def test_the_settings_in_force_can_be_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """And nothing is started."""
    monkeypatch.chdir(tmp_path)
    file = str(written(tmp_path, "siblings_max = 7"))
    assert run(["serve", "--config", file, "--peer", "b=127.0.0.1:1", "--print-config"]) == 0
    printed = capfdbinary.readouterr().out.decode()
    found = load(written(tmp_path, printed))
    assert found == Config(siblings_max=7, peers={"b": "127.0.0.1:1"})
    assert not (tmp_path / found.data).exists()


def test_the_documentation_of_settings_is_what_their_comments_say() -> None:
    text = to_toml(Config())
    assert 'cluster = "default"  # nodes of different clusters refuse each other\n' in text
    assert "Who lacks it needs a snapshot.\nlog_bytes_max = 8_589_934_592\n" in text
    assert documentation("cluster") == "Nodes of different clusters refuse each other."
    assert documentation("log_bytes_max").startswith("The log is never larger, whoever lacks what")
    assert documentation("log_bytes_max").endswith("Who lacks it needs a snapshot.")
    for item in fields(Config):
        if item.type != "int":  # of limits, two may share a comment
            assert len(documentation(item.name)) > 10, item.name


@pytest.mark.parametrize("text", ["name = ", "= 5", "name = 'a'\nname = 'b'"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"kvnode\.toml"):
        load(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        load(tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml"):
        load(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    "name", ["", "a b", "a=b", "a,b", "a:b", "a/b", "a\n", "a\x00", "x" * 65, "\x1b[31m"]
)
@pytest.mark.parametrize("setting", ["name", "cluster", "peer"])
def test_names_that_would_confuse_are_refused(name: str, setting: str) -> None:
    changes: dict[str, Any] = (
        {"peers": {name: "127.0.0.1:1"}} if setting == "peer" else {setting: name}
    )
    with pytest.raises(ConfigError):
        load(None, **changes)


@pytest.mark.parametrize("name", ["a", "EWR", "eu-west_1.b", "x" * 64, "東京"])
def test_other_names_are_good(name: str) -> None:
    config = load(None, name=name, cluster=name)
    assert config.token_secret


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":",
        "7080",
        "127.0.0.1",
        "127.0.0.1:",
        ":7080",
        "127.0.0.1:x",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1:65536",
        "127.0.0.1: 80",
        "127.0.0.1:8\n",
        "127.0.0.1:²",
        "127.0.0.1:٣",
    ],
)
@pytest.mark.parametrize("setting", ["listen", "peers"])
def test_what_is_no_address_is_refused(address: str, setting: str) -> None:
    changes: dict[str, Any] = {setting: {"p": address} if setting == "peers" else address}
    with pytest.raises(ConfigError):
        load(None, **changes)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:65535", "[::1]:7080", "a.b:1"])
def test_other_addresses_are_good(address: str) -> None:
    assert load(None, listen=address).listen == address
