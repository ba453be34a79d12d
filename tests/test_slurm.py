"""README's two commands for Slurm, word for word, on a machine that only plays Slurm."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cdgkd_utils.config import Params
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments.cluster import ENVIRONMENT

REPOSITORY = Path(__file__).parent.parent
CONFIG = "targets: valence\nmethods: [eeg, kd]\nfolds: 1\nprofile: smoke\n"
# As the manuals have it: the wrapped words become a shell script, which runs later, with the caller's environment.
SBATCH = """#!/bin/sh
for word in "$@"; do
    case $word in --ntasks=*) echo "${word#*=}" >"$PLAYED/ntasks" ;; esac
    script=$word
done
setsid sh -c "$script" >"$PLAYED/log" 2>&1 &
echo $! >"$PLAYED/job"
echo "Submitted batch job 1"
"""
# A step of n tasks runs its command n times at once.
SRUN = """#!/bin/sh
while :; do
    case $1 in
        -n*) n=${1#-n} ;;
        --exact) ;;
        *) break ;;
    esac
    shift
done
echo "$n" >>"$PLAYED/steps"
while [ "$n" -gt 0 ]; do "$@" & n=$((n - 1)); done
wait
"""


def commands():
    """The two commands, for two workers."""
    block = re.search(r"two commands on Slurm.*?```\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    submit, run = block[1].strip().splitlines()
    assert submit.count("33") == submit.count("-n32") == 1 and run.count("configs/paper.yaml") == 1
    return submit.replace("33", "3").replace("-n32", "-n2"), run.replace("configs/paper.yaml", "$PLAYED/mine.yaml")


@pytest.fixture
def stage(tmp_path, tmp_path_factory, monkeypatch):
    """A home with windows, and a path on which Slurm's commands are the played ones."""
    smoke = tmp_path_factory.getbasetemp() / "smoke_home"
    monkeypatch.setenv("CDGKD_HOME", str(smoke))
    load_windows(Params(profile="smoke"), n_jobs=1)
    home = tmp_path / "home"
    home.mkdir()
    (home / "prepared").symlink_to(smoke / "prepared")
    (home / "scheduler.json").write_text('{"address": "tcp://127.0.0.1:9"}')  # of a job that is over
    (tmp_path / "mine.yaml").write_text(CONFIG)
    for name, script in (("sbatch", SBATCH), ("srun", SRUN)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    played = {"PLAYED": str(tmp_path), "CDGKD_HOME": str(home), "PATH": path, "TQDM_DISABLE": "1"}
    yield tmp_path, os.environ | played
    if (tmp_path / "job").is_file():
        os.killpg(int((tmp_path / "job").read_text()), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setsid") is None, reason="plays Slurm by a command of util-linux")
def test_the_two_commands_run_a_grid(stage):
    played, environment = stage
    options = {"shell": True, "env": environment, "cwd": REPOSITORY, "capture_output": True, "text": True}
    submit, run = commands()
    assert "Submitted" in subprocess.run(submit, **options, timeout=10).stdout
    wait_for = 'while ! grep -q Registered "$PLAYED/log"; do sleep 0.1; done'  # as one waits until the job runs
    subprocess.run(wait_for, **options, timeout=60)
    done = subprocess.run(run, **options, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "3 runs made" in done.stdout and "3 of 3 stored" in done.stdout
    assert (played / "ntasks").read_text() == "3\n"
    assert sorted((played / "steps").read_text().split()) == ["1", "2"]  # a scheduler and two workers, and no more
    assert len({path.name.partition("-")[0] for path in (played / "home" / "runs").iterdir()}) == 3


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_processes_are_set_up_alike_wherever_they_start(name):
    value = ENVIRONMENT[name]
    assert re.search(rf"`{name}={value}`", (REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert re.search(rf"^export {name} \?= {value}$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)
    runner = (REPOSITORY / "cdgkd_utils" / "notebooks.py").read_text(encoding="utf-8")
    assert f'setdefault("{name}", "{value}")' in runner
