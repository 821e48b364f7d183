"""Entry points of jobs, and the files of `ray up` and KubeRay, against what their readers accept."""

from __future__ import annotations

import copy
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from stg_ray.config.loading import load_config
from stg_ray.options import STAGE_NAMES
from tests.support.processes import PATIENCE


@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_every_stage_has_a_job(repository: Path, tmp_path: Path, stage: str) -> None:
    command = [sys.executable, f"jobs/run_{stage}.py", str(tmp_path / "none")]
    env = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        command, cwd=repository, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"stg-ray: {tmp_path}/none is no run directory (no config.yaml in it): start one with stg-ray run\n"
    )


def test_results_do_not_stay_in_the_copy_that_goes_with_a_job(repository: Path, tmp_path: Path) -> None:
    copy_of_job = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    shutil.copytree(repository / "jobs", copy_of_job / "jobs", ignore=shutil.ignore_patterns("bench"))
    (copy_of_job / "jobs" / "configs" / "digits.yaml").write_text("data: {preset: digits}\n")
    run = ["jobs/run.py", "jobs/configs/digits.yaml"]
    commands = (
        [*run, "--out", "runs/mine"],
        [*run, "--out=~/../runs"],
        ["-m", "stg_ray", "auxiliary", "runs", "--main", "a"],
    )
    for arguments in commands:
        command = [sys.executable, *arguments]
        env = {**os.environ, "PYTHONPATH": str(repository), "HOME": str(copy_of_job / "home")}
        done = subprocess.run(
            command, cwd=copy_of_job, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 2
        assert "is in the job's working directory, a copy that Ray deletes after the job: give --out" in done.stderr
        assert not (copy_of_job / "runs").exists()


@pytest.fixture
def cluster(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "cluster.yaml").read_text())


def test_cluster_yaml_is_valid(cluster: dict[str, Any], repository: Path, tmp_path: Path) -> None:
    """By the schema that `ray up` itself uses; so is the variant for machines of one's own in the guide."""
    validate_config(prepare_config(cluster))
    (block,) = re.findall(
        r"```yaml\n(provider: \{type: local.*?)```",
        (repository / "stg_ray" / "guides" / "cluster.md").read_text(),
        re.DOTALL,
    )
    for key in ("provider", "auth", "available_node_types", "head_node_type", "max_workers"):
        del cluster[key]
    own = prepare_config(cluster | yaml.safe_load(block))
    validate_config(own)
    assert own["max_workers"] == len(own["provider"]["worker_ips"]) == 2


def test_cluster_yaml_names_what_there_is(cluster: dict[str, Any], repository: Path) -> None:
    assert cluster["head_node_type"] in cluster["available_node_types"]
    requirement = re.search(r"^ray==(.*)$", (repository / "jobs" / "constraints.txt").read_text(), re.MULTILINE)
    assert requirement is not None
    assert cluster["docker"]["image"] == f"rayproject/ray:{requirement[1]}-py311-gpu"
    workers = [own for name, own in cluster["available_node_types"].items() if name != "head"]
    assert cluster["max_workers"] == sum(own["max_workers"] for own in workers)
    for name in ("head", "worker"):
        start = cluster[f"{name}_start_ray_commands"][-1]
        assert start.startswith("RAY_AUTH_MODE=token ray start ")


def fields(required: str = "", **properties: Any) -> dict[str, Any]:
    """Schema of an object that has these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


ANY = {"type": "object"}
TEXT, WHOLE, NUMBER, YES_NO = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
TEXTS = {"type": "object", "additionalProperties": TEXT}
MOUNT = fields("name mountPath", name=TEXT, mountPath=TEXT, subPath=TEXT, readOnly=YES_NO)
RESOURCES = fields(requests=TEXTS, limits=TEXTS)
CONTAINER = fields(
    "name image", name=TEXT, image=TEXT, resources=RESOURCES, volumeMounts={"type": "array", "items": MOUNT},
    imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never"]}, env={"type": "array", "items": ANY},
)  # fmt: skip
VOLUME = fields("name persistentVolumeClaim", name=TEXT, persistentVolumeClaim=fields("claimName", claimName=TEXT))
POD = fields(
    "containers", containers={"type": "array", "items": CONTAINER, "minItems": 1},
    volumes={"type": "array", "items": VOLUME}, tolerations={"type": "array"}, nodeSelector=TEXTS,
)  # fmt: skip
TEMPLATE = fields("spec", metadata=ANY, spec=POD)
HEAD = fields(
    "template", template=TEMPLATE, rayStartParams=TEXTS, headService=ANY, enableIngress=YES_NO, serviceType=TEXT,
    resources=TEXTS, labels=TEXTS,
)  # fmt: skip
WORKERS = fields(
    "groupName maxReplicas minReplicas template", groupName=TEXT, replicas=WHOLE, minReplicas=WHOLE, maxReplicas=WHOLE,
    idleTimeoutSeconds=WHOLE, rayStartParams=TEXTS, template=TEMPLATE, scaleStrategy=ANY, numOfHosts=WHOLE,
    suspend=YES_NO, resources=TEXTS, labels=TEXTS,
)  # fmt: skip
CLUSTER = fields(
    "headGroupSpec", rayVersion=TEXT, authOptions=fields(mode={"enum": ["token", "disabled"]}, secretName=TEXT),
    enableInTreeAutoscaling=YES_NO, headGroupSpec=HEAD, workerGroupSpecs={"type": "array", "items": WORKERS},
    autoscalerOptions=fields(
        resources=RESOURCES, image=TEXT, imagePullPolicy=TEXT, securityContext=ANY, idleTimeoutSeconds=WHOLE,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]}, version={"enum": ["v1", "v2"]},
        env={"type": "array"}, envFrom={"type": "array"}, volumeMounts={"type": "array"},
    ),
    suspend=YES_NO, managedBy=TEXT, headServiceAnnotations=TEXTS, gcsFaultToleranceOptions=ANY, upgradeStrategy=ANY,
)  # fmt: skip
JOB = fields(
    "rayClusterSpec", entrypoint=TEXT, rayClusterSpec=CLUSTER, runtimeEnvYAML=TEXT, backoffLimit=WHOLE,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]}, metadata=TEXTS, jobId=TEXT,
    shutdownAfterJobFinishes=YES_NO, ttlSecondsAfterFinished=WHOLE, activeDeadlineSeconds=WHOLE, clusterSelector=TEXTS,
    submitterPodTemplate=TEMPLATE, submitterConfig=ANY, managedBy=TEXT, deletionStrategy=ANY, entrypointResources=TEXT,
    entrypointNumCpus=NUMBER, entrypointNumGpus=NUMBER, suspend=YES_NO,
)  # fmt: skip
RAY_JOB = fields(
    "apiVersion kind metadata spec", apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"}, metadata=ANY, spec=JOB
)
"""The fields of a RayJob by KubeRay's API reference, and those of pods that are used here; an unknown one is an error,
as it is to `kubectl apply` with strict validation."""


def test_the_ray_job_is_one(repository: Path) -> None:
    job = yaml.safe_load((repository / "jobs" / "kuberay" / "rayjob.yaml").read_text())
    jsonschema.validate(job, RAY_JOB)
    wrong = copy.deepcopy(job)
    wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["numOfHost"] = 1
    with pytest.raises(jsonschema.ValidationError, match="numOfHost"):
        jsonschema.validate(wrong, RAY_JOB)
    spec = job["spec"]["rayClusterSpec"]
    cluster = yaml.safe_load((repository / "cluster.yaml").read_text())
    templates = [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
    for template in templates:
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        for container in template["spec"]["containers"]:
            assert container["image"] == cluster["docker"]["image"]
            assert f":{spec['rayVersion']}-" in container["image"]
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_ray_job_runs_what_there_is(repository: Path) -> None:
    """Its command names files of this repository and settings of the configuration."""
    job = yaml.safe_load((repository / "jobs" / "kuberay" / "rayjob.yaml").read_text())
    python, script, config, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert python == "python"
    paths = [Path(name).relative_to("/shared/stg_ray") for name in (script, config)]
    assert paths[0] == Path("jobs/run.py")
    settings = [value for flag, value in itertools.pairwise(arguments) if flag == "--set"]
    assert load_config(str(repository / paths[1]), settings).data.root == "/shared/data"
    assert arguments[-2] == "--out"
    options = yaml.safe_load(job["spec"]["runtimeEnvYAML"])["pip"]
    assert (repository / Path(options[0].split()[1]).relative_to("/shared/stg_ray")).exists()
