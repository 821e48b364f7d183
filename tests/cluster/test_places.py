"""Places where a local Ray can start: temporary and home folders, settings, and names with letters beyond ASCII."""

from __future__ import annotations

import getpass
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.places import (
    OF_RAY,
    SOCKET_BYTES,
    check_settings,
    is_too_long,
    local_settings,
    private_folder,
    ray_temporary,
)
from stg_ray.cluster.telemetry import _tags
from stg_ray.config.data import DataConfig, data_root
from stg_ray.data.rows import _user
from stg_ray.doctor import check_places
from stg_ray.errors import InputError
from tests.support.processes import PATIENCE

LONG = "/tmp/" + 60 * "l"


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "/tmp"),
        ({"TMPDIR": "/scratch"}, "/scratch"),
        ({"TMPDIR": "/scratch", "RAY_TMPDIR": "/ray"}, "/ray"),
        ({"TMPDIR": ""}, "/tmp"),
    ],
)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Ray does not look at TMPDIR elsewhere")
def test_the_temporary_folder_is_the_one_that_ray_takes(environment: dict[str, str], folder: str) -> None:
    assert ray_temporary(environment) == folder


def test_the_longest_path_of_a_folder_is_the_one_that_sockets_allow() -> None:
    room = SOCKET_BYTES - OF_RAY
    assert not is_too_long("/" + (room - 1) * "a")
    assert is_too_long("/" + room * "a")
    assert is_too_long("/" + (room - 1) * "é"), "bytes count, not letters"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Ray does not look at TMPDIR elsewhere")
def test_a_long_temporary_folder_is_replaced_unless_it_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_settings({"TMPDIR": "/scratch"}) == {}
    assert local_settings({"TMPDIR": LONG}) == {"RAY_TMPDIR": "/tmp"}
    with pytest.raises(InputError, match=f"{LONG} is too long for Ray's sockets .at most .. bytes.: set RAY_TMPDIR"):
        local_settings({"RAY_TMPDIR": LONG})
    (finding,) = check_places({"TMPDIR": LONG})
    assert (finding.state, "too long for Ray's sockets" in finding.text) == ("warning", True)
    (finding,) = check_places({"RAY_TMPDIR": LONG})
    assert (finding.state, LONG in finding.advice) == ("problem", True)


@pytest.mark.parametrize("home", ["/", "/proc/1", "/no/such/folder"])
def test_without_a_home_folder_the_token_is_the_sessions(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    settings = local_settings({})
    assert set(settings) == {"RAY_AUTH_TOKEN"}
    assert settings != local_settings({}), "nobody can guess it"
    assert local_settings({"RAY_AUTH_TOKEN": "mine"}) == local_settings({"RAY_AUTH_MODE": "disabled"}) == {}
    (finding,) = check_places({})
    assert (finding.state, "no home folder" in finding.text) == ("warning", True)


def test_a_home_folder_with_a_token_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_settings({}) == {}
    assert list(check_places({})) == []


@pytest.mark.parametrize("value", ["0", "false", "no", ""])
def test_the_first_version_of_ray_train_is_refused(value: str) -> None:
    with pytest.raises(InputError, match=f"RAY_TRAIN_V2_ENABLED={value} switches off .*: unset it"):
        check_settings({"RAY_TRAIN_V2_ENABLED": value})
    (finding,) = check_places({"RAY_TRAIN_V2_ENABLED": value})
    assert (finding.state, "unset it" in finding.advice) == ("problem", True)
    for good in ({}, {"RAY_TRAIN_V2_ENABLED": "1"}, {"RAY_TRAIN_V2_ENABLED": "True"}):
        check_settings(good)


def test_a_run_says_so_before_anything_is_started(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stg_ray", "run", "digits", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "RAY_TRAIN_V2_ENABLED": "0"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
    assert "RAY_TRAIN_V2_ENABLED=0 switches off" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Ray does not look at TMPDIR elsewhere")
def test_a_run_in_awkward_places(tmp_path: Path) -> None:
    """A long temporary folder, no home folder, and a run directory with letters beyond ASCII."""
    long = tmp_path / (60 * "l")
    long.mkdir()
    settings = ["--set", "data.limit=200", "--set", "profile.epochs=2", "--set", "profile.workers=1"]
    command = [sys.executable, "-m", "stg_ray", "run", "digits", "--out", "données-鳥", "--until", "profile", *settings]
    env = {**os.environ, "TMPDIR": str(long), "HOME": "/proc/1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "données-鳥" / "profile" / "network.pt").exists()


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_tags_are_ascii_and_tell_runs_apart(name: str) -> None:
    run = Storage(Path("/tmp") / name)
    tag = _tags(run, "profile")["run"]
    assert tag.isascii()
    expected = Path(run.root).name
    assert tag == expected or not expected.isascii()
    assert tag.encode().decode("unicode_escape") == expected or "\\" in expected


def test_letters_of_a_name_become_escapes() -> None:
    assert _tags(Storage("/tmp/données-鳥"), "profile")["run"] == "donn\\xe9es-\\u9ce5"


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    assert _user() == getpass.getuser()
    monkeypatch.setattr(getpass, "getuser", nobody)
    assert _user() == str(os.getuid())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user that does not exist")
def test_a_user_without_a_home_folder_has_its_data_among_temporary_files(tmp_path: Path) -> None:
    script = (
        "import getpass, os, pwd, tempfile\n"
        "from pathlib import Path\n"
        "from stg_ray.config.data import DataConfig, data_root\n"
        "from stg_ray.data.rows import _user\n"
        "from stg_ray.cluster.places import is_home_writable, local_settings\n"
        "_user(), is_home_writable(), local_settings({})  # imports, which that user may not be allowed to read\n"
        "os.setuid(54321)\n"
        "del os.environ['HOME']\n"
        "assert data_root(DataConfig(preset='digits')) == Path(tempfile.gettempdir()) / 'stg_ray'\n"
        "assert _user() == '54321'\n"
        "assert not is_home_writable()\n"
        "assert set(local_settings({})) == {'RAY_AUTH_TOKEN'}\n"
    )
    named = ("USER", "LOGNAME", "USERNAME", "LNAME", "STG_RAY_DATA")
    clean = {key: value for key, value in os.environ.items() if key not in named}
    assert data_root(DataConfig(preset="digits", root=str(tmp_path))) == tmp_path
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_folder_around_rays_is_this_users(tmp_path: Path) -> None:
    short = tempfile.mkdtemp(dir="/tmp", prefix="s")
    try:
        found = private_folder({"RAY_TMPDIR": short})
        assert found == f"{short}/sr-{os.getuid()}"
        Path(found).chmod(0o777)
        assert private_folder({"RAY_TMPDIR": short}) == found
        assert stat.S_IMODE(Path(found).stat().st_mode) == 0o700
        Path(found).rmdir()
        Path(found).symlink_to(tmp_path)
        assert private_folder({"RAY_TMPDIR": short}) is None, "a link may be somebody else's"
        assert private_folder({"RAY_TMPDIR": f"{short}/absent"}) is None
        assert private_folder({"RAY_TMPDIR": "/tmp/" + "x" * 25}) is None, "too long for sockets with the folder in it"
    finally:
        shutil.rmtree(short)
