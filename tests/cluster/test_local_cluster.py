"""`local_cluster.py`: what it makes of cluster.yaml, by Ray's own checks; and the mistakes that it
refuses.
"""

import copy
import ipaddress
import os
import shlex
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import ClickException
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.autoscaler._private.command_runner import SSHOptions
from ray.autoscaler._private.util import prepare_config, validate_config

from workflows import local_cluster
from workflows.cli.flags import UsageError

ORIGINAL: dict[str, Any] = yaml.safe_load(local_cluster.CLUSTER_FILE.read_text())
GOOD = {"--head-ip": ["10.0.0.1"], "--worker-ips": ["10.0.0.2", "gpu-2.lab"], "--ssh-user": ["me"]}
REPLACED = {"provider", "auth", "max_workers", "head_start_ray_commands"}
DROPPED = {"available_node_types", "head_node_type", "upscaling_speed", "idle_timeout_minutes"}

ADDRESSES = st.ip_addresses(v=4).map(str)
LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)


def argv(**changed: list[str]) -> list[str]:
    """Return good flags, with some changed; a name's _ is a flag's -."""
    flags = GOOD | {"--" + name.replace("_", "-"): values for name, values in changed.items()}
    return [word for flag, values in flags.items() for word in (flag, *values)]


def accepted(config: dict[str, Any]) -> dict[str, Any]:
    """Return what `ray up` makes of it. Raises whatever Ray raises."""
    whole: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(whole)
    return whole


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path: str | Path = "cluster.local.yaml") -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(Path(path).read_text())
    return config


def test_it_is_cluster_yaml_but_for_the_machines() -> None:
    assert local_cluster.main(argv()) == 0
    config = written()
    assert set(config) == set(ORIGINAL) - DROPPED
    assert {name for name in config if config[name] != ORIGINAL[name]} == REPLACED
    assert config["provider"] == {
        "type": "local",
        "head_ip": "10.0.0.1",
        "worker_ips": ["10.0.0.2", "gpu-2.lab"],
    }
    assert config["auth"] == {"ssh_user": "me"}
    assert config["max_workers"] == 2


def test_the_head_keeps_its_guarded_start_and_gets_the_old_autoscaler() -> None:
    assert local_cluster.main(argv()) == 0
    stop, start = written()["head_start_ray_commands"]
    assert [stop, start.removeprefix("export RAY_enable_autoscaler_v2=0; ")] == ORIGINAL[
        "head_start_ray_commands"
    ]
    assert start.startswith("export RAY_enable_autoscaler_v2=0; export RAY_AUTH_MODE=token; ")
    assert "--dashboard-host=127.0.0.1" in start


def test_ray_takes_it_with_one_worker_for_every_address() -> None:
    assert local_cluster.main(argv()) == 0
    whole = accepted(written())
    (kind,) = whole["available_node_types"].values()
    assert (kind["min_workers"], kind["max_workers"], whole["max_workers"]) == (2, 2, 2)
    assert whole["setup_commands"] == ORIGINAL["setup_commands"]
    assert whole["file_mounts"] == ORIGINAL["file_mounts"]
    with pytest.raises(ClickException, match="available_node_types"):  # why they are dropped
        accepted(written() | {"available_node_types": ORIGINAL["available_node_types"]})


@settings(max_examples=25, deadline=None)
@given(
    hosts=st.lists(ADDRESSES | NAMES, min_size=2, max_size=9, unique=True),
    user=st.from_regex(r"[a-z_][a-z0-9_-]*", fullmatch=True),
)
def test_any_machines_come_back_from_the_file_as_they_were(hosts: list[str], user: str) -> None:
    flags = local_cluster.LocalClusterFlags(head_ip=hosts[0], worker_ips=tuple(hosts[1:]), ssh_user=user)
    config = yaml.safe_load(yaml.safe_dump(local_cluster.derived(ORIGINAL, flags)))
    assert config["provider"] == {"type": "local", "head_ip": hosts[0], "worker_ips": hosts[1:]}
    assert config["auth"]["ssh_user"] == user
    assert accepted(config)["max_workers"] == len(hosts) - 1


@settings(deadline=None)
@given(st.text(string.ascii_letters + string.digits + ".-_:/@ ;$'\"\n\u0661é", max_size=20))
def test_a_host_is_an_address_or_a_name_that_no_shell_could_misread(text: str) -> None:
    refusal = ""
    try:
        local_cluster.LocalClusterFlags(head_ip=text, worker_ips=("another",), ssh_user="me")
    except UsageError as error:
        refusal = str(error)
    if refusal:
        assert refusal == f"--head-ip must be IPv4 addresses or host names, got {text!r}"
    else:
        assert shlex.quote(text) == text != ""
        assert not text.startswith(("-", "."))
        if set(text) <= set(string.digits + "."):
            ipaddress.IPv4Address(text)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"head_ip": ["10.0.0.256"]}, ["--head-ip", "'10.0.0.256'"]),
        ({"head_ip": ["10.0.1"]}, ["--head-ip", "'10.0.1'"]),
        ({"head_ip": ["fd00::1"]}, ["--head-ip", "'fd00::1'", "IPv4"]),
        ({"head_ip": ["me@head"]}, ["--head-ip", "'me@head'"]),
        ({"head_ip": ["head:6379"]}, ["--head-ip", "'head:6379'"]),
        ({"head_ip": [""]}, ["--head-ip", "''"]),
        ({"head_ip": []}, ["--head-ip"]),
        ({"worker_ips": ["10.0.0.2,10.0.0.3"]}, ["--worker-ips", "'10.0.0.2,10.0.0.3'"]),
        ({"worker_ips": ["10.0.0.2", "worker_3"]}, ["--worker-ips", "'worker_3'"]),
        ({"worker_ips": ["x" * 64]}, ["--worker-ips", "x" * 64]),
        ({"worker_ips": []}, ["--worker-ips"]),
        ({"worker_ips": ["10.0.0.2", "10.0.0.2"]}, ["--worker-ips", "'10.0.0.2', '10.0.0.2'", "differ"]),
        ({"worker_ips": ["10.0.0.1"]}, ["--worker-ips", "'10.0.0.1'", "differ", "--head-ip"]),
        ({"head_ip": ["Head"], "worker_ips": ["head"]}, ["--worker-ips", "'head'", "differ"]),
        ({"ssh_user": ["me;reboot"]}, ["--ssh-user", "'me;reboot'"]),
        ({"ssh_user": ["-oProxyCommand=x"]}, ["--ssh-user"]),
        ({"ssh_private_key": ["~/no/such.pem"]}, ["--ssh-private-key", "'~/no/such.pem'", "must be a file"]),
        ({"ssh_private_key": ["."]}, ["--ssh-private-key", "'.'", "must be a file"]),
        (
            {"output": ["no/such/folder.yaml"]},
            ["--output", "'no/such/folder.yaml'", "No such file or directory"],
        ),
        ({"output": ["."]}, ["--output", "'.'", "Is a directory"]),
        ({"output": [""]}, ["--output", "''"]),
        ({"colour": ["red"]}, ["--colour"]),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_that_names_it_and_nothing_is_written(
    changed: dict[str, list[str]], words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert local_cluster.main(argv(**changed)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("local_cluster.py: ")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("missing", list(GOOD))
def test_every_flag_without_a_default_is_asked_for(
    missing: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for flag, values in GOOD.items() if flag != missing for word in (flag, *values)]
    assert local_cluster.main(words) == 2
    assert missing in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", [None, "a: [", "\x00", "a: 1\n- 2"])
def test_a_cluster_yaml_that_cant_be_read_is_one_line(
    content: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = folder / "cluster.yaml"
    if content is not None:
        broken.write_text(content)
    monkeypatch.setattr(local_cluster, "CLUSTER_FILE", broken)
    assert local_cluster.main(argv()) == 2
    err = capsys.readouterr().err
    assert f"local_cluster.py: {broken} can't be read: " in err
    assert err.count("\n") == 1
    assert not (folder / "cluster.local.yaml").exists()


@pytest.mark.parametrize("output", ["cluster.yaml", "key.pem", "link"])
def test_neither_cluster_yaml_nor_the_key_is_written_over(
    output: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cluster.yaml").write_text(yaml.safe_dump(ORIGINAL))
    (folder / "key.pem").write_text("the key")
    (folder / "link").symlink_to("key.pem")
    monkeypatch.setattr(local_cluster, "CLUSTER_FILE", folder / "cluster.yaml")
    assert local_cluster.main(argv(ssh_private_key=["key.pem"], output=[output])) == 2
    assert (
        capsys.readouterr().err
        == f"local_cluster.py: --output must be neither cluster.yaml nor the key, got {output!r}\n"
    )
    assert written("cluster.yaml") == ORIGINAL
    assert (folder / "key.pem").read_text() == "the key"


@pytest.mark.parametrize("name", ["my key.pem", "key: {a}", "schlüssel", "$HOME"])
def test_an_odd_key_reaches_ssh_as_it_is(name: str, folder: Path) -> None:
    (folder / name).touch()
    assert local_cluster.main(argv(ssh_private_key=[name])) == 0
    auth = accepted(written())["auth"]
    assert auth == {"ssh_user": "me", "ssh_private_key": str(Path(name).absolute())}
    sent = subprocess.list2cmdline(
        ["ssh", *SSHOptions(auth["ssh_private_key"]).to_ssh_options_list()]
    )  # for rsync, as Ray does it
    assert shlex.split(sent)[:3] == ["ssh", "-i", auth["ssh_private_key"]]


@pytest.mark.parametrize("name", ["my cluster.yaml", "a\nb: [", "é\u2028.yaml"])
def test_an_older_file_is_replaced_whatever_its_name(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_text("x" * 100_000)
    assert local_cluster.main(argv(output=[name])) == 0
    accepted(written(folder / name))
    assert f"  ray up --disable-usage-stats {shlex.quote(name)}\n" in capsys.readouterr().out
    comment = (folder / name).read_text().splitlines()[0]
    assert comment.startswith("# Of cluster.yaml, ")
    assert " --head-ip 10.0.0.1 --worker-ips 10.0.0.2 gpu-2.lab --ssh-user me " in comment
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_person_runs_it(folder: Path) -> None:
    script = """
        import sys
        from workflows import local_cluster
        try:
            local_cluster.main(["--help"])
        except SystemExit as exit_:
            assert exit_.code == 0
        assert local_cluster.main(sys.argv[1:]) == 0
        assert not {"ray", "torch", "numpy"} & set(sys.modules)
    """
    environment = os.environ | {"PYTHONPATH": str(local_cluster.CLUSTER_FILE.parent)}
    command = [sys.executable, "-W", "error", "-c", "if True:" + script, *argv()]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    for flag in (*GOOD, "--ssh-private-key", "--output"):
        assert flag in done.stdout
    assert "cluster.local.yaml: the head 10.0.0.1, and 2 workers\n" in done.stdout
    assert "  ray up --disable-usage-stats cluster.local.yaml\n" in done.stdout
    assert done.stderr == ""
    accepted(written())
