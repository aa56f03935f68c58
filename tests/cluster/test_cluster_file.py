"""`cluster.yaml`, offline: Ray's own checks, its commands run here on a machine of fakes, and Ray's AWS
provider on moto's mock of AWS."""

import copy
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import jsonschema
import pytest
import ray
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws import config as aws_config
from ray.autoscaler._private.aws import utils as aws_utils
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.command_runner import _with_interactive
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "cluster.yaml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]
CODE = "~/ray-training-workflows"
LINE = "export RAY_AUTH_MODE=token PATH=~/venv/bin:$PATH PYTHONPATH=~/ray-training-workflows"
ENVIRONMENT, RAY_VERSION, LOGIN, FOLDER, OWNER = range(5)  # the setup commands
IMAGE = re.compile(r"(ImageId: &image )\S+")
SPOT = re.compile(r"^( *)# (InstanceMarketOptions:|  MarketType: spot)$", re.MULTILINE)


def cluster(text: str = TEXT) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """Return what `ray up` makes of it. Raises whatever Ray raises."""
    whole: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(whole)
    return whole


# What is written


def test_ray_accepts_it() -> None:
    whole = prepared(cluster())
    assert (whole["provider"]["type"], whole["head_node_type"]) == ("aws", "head")
    limits = {
        name: (kind["min_workers"], kind["max_workers"])
        for name, kind in whole["available_node_types"].items()
    }
    assert limits == {"head": (0, 0), "gpu": (0, 4), "cpu": (0, 6)}
    assert whole["max_workers"] == 10
    assert whole["idle_timeout_minutes"] == 5


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"head_node_type": "haed"}, "head_node_type"),
        ({"max_workers": "ten"}, "'ten' is not of type"),
        ({"setup_comands": []}, "'setup_comands' was unexpected"),
        ({"idle_timeout_minutes": -1}, "-1 is less than the minimum"),
        ({"worker_start_ray_commands": ["ray stop", 7]}, "7 is not of type 'string'"),
        ({"provider": {"type": "aws", "region": 7}}, "7 is not of type 'string'"),
    ],
)
def test_ray_refuses_a_broken_one(broken: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, jsonschema.ValidationError), match=words):
        prepared(cluster() | broken)


def test_the_dashboard_and_the_start_commands_are_this_files_not_rays_defaults() -> None:
    whole = prepared(cluster())
    head, worker = whole["head_start_ray_commands"], whole["worker_start_ray_commands"]
    starts = [command for command in head + worker if "ray start" in command]
    assert len(starts) == 2
    for command in starts:
        assert command.startswith("export RAY_AUTH_MODE=token; ")
        assert "export RAY_enable_metrics_collection=0; " in command
    assert [word for word in head[-1].split() if "dashboard" in word] == ["--dashboard-host=127.0.0.1"]
    assert "0.0.0.0" not in TEXT
    assert "ray dashboard cluster.yaml" in TEXT  # the tunnel


def test_the_token_is_handed_out_as_a_file_and_no_secret_is_written_here() -> None:
    assert cluster()["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert not re.findall(
        r"RAY_AUTH_TOKEN|[0-9a-fA-F]{32}|AKIA|BEGIN [A-Z ]*PRIVATE|aws_(?:access|secret|cred)|[Pp]assword",
        TEXT,
    )


def test_no_port_is_opened_and_no_image_is_trusted_beyond_what_is_said() -> None:
    config = cluster()
    assert set(config["provider"]) == {
        "type",
        "region",
        "cache_stopped_nodes",
    }  # no security_group: Ray's own opens SSH only
    assert set(config["auth"]) == {"ssh_user"}
    assert "docker" not in config
    for kind in config["available_node_types"].values():
        assert set(kind["node_config"]) == {
            "InstanceType",
            "ImageId",
            "BlockDeviceMappings",
            "MetadataOptions",
        }


def test_what_must_be_filled_in_is_marked() -> None:
    """It passes with the file filled in, too: the marks stay."""
    lines = TEXT.splitlines()
    marks = [number for number, line in enumerate(lines) if "FILL IN:" in line]
    assert len(marks) == 3
    region, image, folder = marks
    assert re.match(r"  region: \S+ +#", lines[region])
    assert re.match(r" +ImageId: &image ami-\S+ +#", lines[image])
    assert re.search(r" fs-\S+\.efs\.\S+\.amazonaws\.com:/ ~/ray_results$", lines[folder + 3])
    assert {line for line in lines if "FILL-IN" in line.partition("#")[0]} <= {
        lines[image],
        lines[folder + 3],
    }
    assert set(re.findall(r"\b[a-z]{2}-[a-z]+-\d\b", TEXT)) == {cluster()["provider"]["region"]}
    assert {kind["node_config"]["ImageId"] for kind in cluster()["available_node_types"].values()} == {
        lines[image].split()[2]
    }


def test_the_spot_lines_work_once_their_sign_is_taken_off() -> None:
    text, count = SPOT.subn(r"\1\2", TEXT)
    assert count == 4
    kinds, with_spot = cluster()["available_node_types"], prepared(cluster(text))["available_node_types"]
    for name in ("gpu", "cpu"):
        extra = {"InstanceMarketOptions": {"MarketType": "spot"}}
        assert with_spot[name]["node_config"] == kinds[name]["node_config"] | extra
    assert with_spot["head"]["node_config"] == kinds["head"]["node_config"]


def test_the_versions_are_those_that_are_tested() -> None:
    pins = (ROOT / "constraints.txt").read_text().split()
    assert f"ray=={ray.__version__}" in pins


# What is copied


def mounts() -> dict[str, Path]:
    """Return the project's part: where it goes, below the project's folder there, and where it lies here."""
    return {
        there.removeprefix(CODE + "/"): (ROOT / here).resolve()
        for there, here in cluster()["file_mounts"].items()
        if here != "~/.ray/auth_token"
    }


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a machine of the cluster has it."""
    folder = tmp_path_factory.mktemp("machine") / "ray-training-workflows"
    folder.mkdir()
    for there, here in mounts().items():
        if here.is_dir():
            shutil.copytree(here, folder / there, ignore=shutil.ignore_patterns(*cluster()["rsync_exclude"]))
        else:
            shutil.copy(here, folder / there)
    return folder


def test_the_project_is_copied_and_nothing_around_it() -> None:
    for there, here in mounts().items():
        assert here == ROOT / there, "the same place in the project's folder there as here"
        assert here.exists()
    assert set(mounts()) == {
        "algorithms",
        "workflows",
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
    }


def test_the_copy_can_be_installed(copied: Path) -> None:
    pytest.importorskip("setuptools", "77")  # what pyproject.toml asks for; pip would fetch it
    # pip's next step
    script = "from setuptools import build_meta; build_meta.prepare_metadata_for_build_editable('..')"
    subprocess.run([sys.executable, "-c", script], cwd=copied, check=True, capture_output=True, text=True)
    metadata = next(copied.parent.glob("*.dist-info"))
    assert (ROOT / "README.md").read_text().splitlines()[0] in (metadata / "METADATA").read_text()
    licenses = {
        str(path.relative_to(metadata / "licenses"))
        for path in (metadata / "licenses").rglob("*")
        if path.is_file()
    }
    assert licenses == set(PROJECT["project"]["license-files"])


def test_the_extras_that_are_installed_exist() -> None:
    extras = re.findall(r"'\.\[(.*)]'", cluster()["setup_commands"][ENVIRONMENT])
    assert [
        set(names.split(",")) <= set(PROJECT["project"]["optional-dependencies"]) for names in extras
    ] == [True]


def test_the_copy_is_whole(copied: Path) -> None:
    def modules(folder: Path) -> set[Path]:
        return {path.relative_to(folder) for name in PACKAGES for path in (folder / name).rglob("*.py")}

    assert modules(copied) == modules(ROOT)
    assert not list(copied.rglob("__pycache__"))
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        for pattern in patterns:
            here, there = (
                sorted(folder.glob(package.replace(".", "/") + "/" + pattern)) for folder in (ROOT, copied)
            )
            assert [path.read_bytes() for path in there] == [path.read_bytes() for path in here] != []


def test_the_copy_is_what_a_process_there_imports(copied: Path) -> None:
    script = (
        "import algorithms, workflows.experiment.ray_cluster as c; print(algorithms.__file__, c.__file__)"
    )
    environment = {"PYTHONPATH": str(copied), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd="/", env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [
        str(copied / "algorithms" / "__init__.py"),
        str(copied / "workflows" / "experiment" / "ray_cluster.py"),
    ]


# What is run on every machine

BASHRC = """# ~/.bashrc: executed by bash(1) for non-login shells.
case $- in *i*) ;; *) return;; esac
PATH={fakes}:$PATH
"""
FAKES = {
    "sudo": '[ "$2" != mount ] || exit ${MOUNT_CODE:-0}',
    "mountpoint": "exit ${MOUNTPOINT_CODE:-0}",
    "df": "exit ${DF_CODE:-0}",
    "python3.12": """
mkdir -p "$3/bin"
printf '#!/bin/bash\\necho "pip $@" >> ~/calls; pwd >> ~/calls; exit ${PIP_CODE:-0}\\n' > "$3/bin/pip"
chmod +x "$3/bin/pip" """,
}


@dataclass(frozen=True)
class Machine:
    """A home of its own, with fakes of what would change this machine: each writes what it is asked for into
    `~/calls`.
    """

    home: Path

    def fake(self, path: Path, script: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/bash\necho "{path.name} $@" >> ~/calls\n{script}\n')
        path.chmod(0o755)

    def run(self, command: str, **environment: str) -> tuple[int, str]:
        """Run it as Ray does over SSH; return the exit code and the output."""
        done = subprocess.run(
            ["bash", "-c", " ".join(_with_interactive(command))],
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin", "TERM": "dumb"} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,  # an interactive shell would take the terminal
        )
        return done.returncode, done.stdout

    def set_up(self, **environment: str) -> list[int]:
        return [self.run(command, **environment)[0] for command in cluster()["setup_commands"]]

    def calls(self) -> list[str]:
        """Return what the fakes were asked for since the last time."""
        log = self.home / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def environment(self, ray_version: str) -> None:
        """Make an environment with a Ray that has nothing but this version."""
        self.fake(self.home / "venv/bin/python", f'PYTHONPATH=~/stub exec {sys.executable} -B "$@"')
        (self.home / "stub").mkdir(exist_ok=True)
        (self.home / "stub/ray.py").write_text(f"__version__ = {ray_version!r}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    it = Machine(tmp_path / "home")
    for name, script in FAKES.items():
        it.fake(tmp_path / "fakes" / name, script)
    project = it.home / "ray-training-workflows"
    project.mkdir(parents=True)
    shutil.copy(ROOT / "constraints.txt", project)
    (it.home / ".bashrc").write_text(BASHRC.format(fakes=tmp_path / "fakes"))
    return it


def test_an_environment_that_is_there_is_taken_as_it_is(machine: Machine) -> None:
    (machine.home / "venv").symlink_to(sys.prefix)
    assert machine.set_up() == [0, 0, 0, 0, 0]
    assert os.readlink(machine.home / "venv") == sys.prefix
    assert machine.calls() == [f"mountpoint --quiet {machine.home}/ray_results"]


def test_an_environment_is_made_where_there_is_none(machine: Machine) -> None:
    code, _ = machine.run(cluster()["setup_commands"][ENVIRONMENT])
    assert code == 0
    made = machine.home / ".ray-training-workflows"
    assert machine.calls() == [
        "sudo -n apt-get -o DPkg::Lock::Timeout=300 update",
        "sudo -n apt-get -o DPkg::Lock::Timeout=300 install --yes python3.12-venv nfs-common",
        f"python3.12 -m venv {made}",
        "pip install --constraint constraints.txt --editable .[aws,tensorboard]",
        f"{machine.home}/ray-training-workflows",
    ]
    assert (machine.home / "venv").resolve() == made
    assert machine.run(cluster()["setup_commands"][ENVIRONMENT])[0] == 0
    assert machine.calls() == []


def test_an_environment_that_could_not_be_made_is_tried_again(machine: Machine) -> None:
    command = cluster()["setup_commands"][ENVIRONMENT]
    assert machine.run(command, PIP_CODE="1")[0] == 1
    assert not (machine.home / "venv").is_symlink()
    assert machine.run(command)[0] == 0
    assert (machine.home / "venv/bin/pip").is_file()


@pytest.mark.parametrize("version", ["2.60.1", "2.6", "2.59.0"])
def test_another_ray_is_refused(machine: Machine, version: str) -> None:
    command = cluster()["setup_commands"][RAY_VERSION]
    machine.environment(version)
    assert machine.run(command) == (1, "the Ray of ~/venv is not the one of constraints.txt\n")
    machine.environment(ray.__version__)
    assert machine.run(command) == (0, "")


def test_no_ray_at_all_is_refused(machine: Machine) -> None:
    assert machine.run(cluster()["setup_commands"][RAY_VERSION]) == (
        1,
        "the Ray of ~/venv is not the one of constraints.txt\n",
    )


@pytest.mark.parametrize(
    "more", ["", "# RAY_AUTH_MODE: see the docs\n", "export RAY_AUTH_MODE=disabled\n", "alias ll='ls -l'"]
)
def test_every_login_shell_has_the_mode_the_environment_and_the_project(machine: Machine, more: str) -> None:
    bashrc = machine.home / ".bashrc"
    before = bashrc.read_text() + more  # the last has no newline at its end
    bashrc.write_text(before)
    for _ in range(2):
        assert machine.run(cluster()["setup_commands"][LOGIN])[0] == 0
    assert bashrc.read_text() == f"{before}\n{LINE}\n"
    code, said = machine.run('printf "%s\\n" "$RAY_AUTH_MODE" "${PATH%%:*}" "$PYTHONPATH"')
    assert code == 0
    assert said.split() == ["token", f"{machine.home}/venv/bin", f"{machine.home}/ray-training-workflows"]


def test_a_machine_without_bashrc_gets_one(machine: Machine) -> None:
    (machine.home / ".bashrc").unlink()
    assert machine.run(cluster()["setup_commands"][LOGIN])[0] == 0
    assert machine.run("echo $RAY_AUTH_MODE") == (0, "token\n")


def test_the_runs_folder_is_mounted_once_and_a_machine_without_it_is_refused(machine: Machine) -> None:
    command = cluster()["setup_commands"][FOLDER]
    asked, local = f"mountpoint --quiet {machine.home}/ray_results", f"df --local {machine.home}/ray_results"
    refused = "a folder that all machines share must be mounted at ~/ray_results\n"
    assert machine.run(command) == (0, "")
    assert machine.calls() == [asked]
    assert machine.run(command, MOUNTPOINT_CODE="32", MOUNT_CODE="32") == (1, refused)
    machine.calls()
    assert machine.run(command, MOUNTPOINT_CODE="32") == (0, "")
    *before, mount = machine.calls()
    assert before == [asked, local]
    assert re.fullmatch(
        rf"sudo -n mount -t nfs4 -o \S*nfsvers=4.1\S* fs-\S+:/ {machine.home}/ray_results", mount
    )
    assert machine.run(command, MOUNTPOINT_CODE="32", DF_CODE="1") == (0, ""), (
        "a home on a network's file system is shared already"
    )
    assert machine.calls() == [asked, local]
    assert machine.run(cluster()["setup_commands"][OWNER]) == (0, "")
    assert machine.calls() == []


@pytest.mark.parametrize("role", ["head", "worker"])
@pytest.mark.parametrize("login", ["token", "disabled"])
def test_ray_starts_with_the_token_whatever_the_login_says(machine: Machine, role: str, login: str) -> None:
    machine.environment(ray.__version__)
    machine.run(cluster()["setup_commands"][LOGIN])
    with (machine.home / ".bashrc").open("a") as bashrc:
        bashrc.write(f"export RAY_AUTH_MODE={login}\n")
    machine.fake(
        machine.home / "venv/bin/ray", 'echo "mode $RAY_AUTH_MODE" >> ~/calls; [ "$1" = start ]'
    )  # `ray stop` may find nothing
    codes = [
        machine.run(command, RAY_HEAD_IP="10.0.0.1")[0]
        for command in prepared(cluster())[f"{role}_start_ray_commands"]
    ]
    assert codes == [1, 0]
    flags = {
        "head": "--head --port=6379 --dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml",
        "worker": "--address=10.0.0.1:6379",
    }
    assert machine.calls() == ["ray stop", f"mode {login}", f"ray start {flags[role]}", "mode token"]


# Ray's AWS provider


@dataclass(frozen=True)
class Launched:
    """What there is at AWS after `ray up`, and a worker of each type more."""

    config: dict[str, Any]
    instances: dict[str, Any]
    volumes: dict[str, Any]
    groups: dict[str, Any]
    key_modes: list[str]
    ended: list[str]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """Run Ray's own steps of `ray up` on a mock of AWS, with the gpu workers on spot."""
    home = tmp_path_factory.mktemp("laptop")
    caches = (aws_utils.resource_cache, aws_utils.client_cache, aws_config._get_subnets_or_die)
    for cache in caches:
        cache.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setattr(
            aws_config, "time", SimpleNamespace(sleep=lambda seconds: None)
        )  # it waits until AWS has spread a new role
        with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
            yield launch(home)
    for cache in caches:
        cache.cache_clear()


def launch(home: Path) -> Launched:
    """Start the head as `ray up` does, a worker of each type as the head does; end them all."""
    region = cluster()["provider"]["region"]
    ec2 = boto3.client("ec2", region)

    def instances() -> list[dict[str, Any]]:
        return [
            one
            for reservation in ec2.describe_instances()["Reservations"]
            for one in reservation["Instances"]
        ]

    image = ec2.register_image(Name="ubuntu", RootDeviceName="/dev/sda1")["ImageId"]
    first_spot = SPOT.sub(r"\1\2", TEXT, count=2)
    config = prepare_config(cluster(IMAGE.sub(rf"\g<1>{image}", first_spot)))
    config = AWSNodeProvider.fillout_available_node_types_resources(config)
    validate_config(config)
    config = AWSNodeProvider.bootstrap_config(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in config["available_node_types"].items():
        of_head = config["head_node"] if name == "head" else {}
        provider.create_node(kind["node_config"] | of_head, {"ray-user-node-type": name}, 1)
    running = instances()
    volumes = ec2.describe_volumes()["Volumes"]
    provider.terminate_nodes(provider.non_terminated_nodes({}))
    return Launched(
        config=config,
        instances={
            next(tag["Value"] for tag in one["Tags"] if tag["Key"] == "ray-user-node-type"): one
            for one in running
        },
        volumes={volume["VolumeId"]: volume for volume in volumes},
        groups={group["GroupId"]: group for group in ec2.describe_security_groups()["SecurityGroups"]},
        key_modes=[oct(path.stat().st_mode & 0o777) for path in (home / ".ssh").iterdir()],
        ended=[one["State"]["Name"] for one in instances()],
    )


def test_aws_has_a_small_head_gpu_workers_and_cpu_workers(launched: Launched) -> None:
    types = {name: instance["InstanceType"] for name, instance in launched.instances.items()}
    assert types == {"head": "m7i.large", "gpu": "g6.2xlarge", "cpu": "c7i.4xlarge"}
    has = {name: kind["resources"] for name, kind in launched.config["available_node_types"].items()}
    assert has["head"] == {"CPU": 0}
    assert (has["gpu"]["GPU"], has["gpu"]["CPU"], has["gpu"]["accelerator_type:L4"]) == (1, 8, 1)
    assert has["cpu"]["CPU"] == 16
    assert "GPU" not in has["cpu"]
    assert {name: instance.get("InstanceLifecycle") for name, instance in launched.instances.items()} == {
        "head": None,
        "gpu": "spot",
        "cpu": None,
    }


def test_aws_opens_ssh_only(launched: Launched) -> None:
    (group,) = {
        one["GroupId"] for instance in launched.instances.values() for one in instance["SecurityGroups"]
    }
    rules = [
        (
            rule["IpProtocol"],
            rule.get("FromPort"),
            rule.get("ToPort"),
            [one["CidrIp"] for one in rule["IpRanges"]],
        )
        for rule in launched.groups[group]["IpPermissions"]
    ]
    assert sorted(rules) == [("-1", None, None, []), ("tcp", 22, 22, ["0.0.0.0/0"])]
    for rule in launched.groups[group]["IpPermissions"]:
        assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == (
            [group] if rule["IpProtocol"] == "-1" else []
        )
        assert not rule["Ipv6Ranges"] + rule["PrefixListIds"]


def test_aws_encrypts_disks_asks_for_imdsv2_and_gives_rights_to_the_head_only(launched: Launched) -> None:
    for name, instance in launched.instances.items():
        (disk,) = instance["BlockDeviceMappings"]
        volume = launched.volumes[disk["Ebs"]["VolumeId"]]
        assert disk["DeviceName"] == instance["RootDeviceName"]
        assert (
            volume["Encrypted"],
            volume["VolumeType"],
            volume["Size"],
            disk["Ebs"]["DeleteOnTermination"],
        ) == (True, "gp3", 100, True)
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert ("IamInstanceProfile" in instance) == (name == "head")
    assert launched.key_modes == ["0o600"]


def test_aws_ends_what_is_released(launched: Launched) -> None:
    assert len(launched.ended) == 3
    assert set(launched.ended) <= {
        "shutting-down",
        "terminated",
    }  # not "stopped": a stopped machine's disk is paid on
