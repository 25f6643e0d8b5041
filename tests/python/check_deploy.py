"""Checks deploy/: every manifest against Kubernetes' own schemas, and that what belongs together names each other.

Prints, as JSON, what a Rust test goes on with: the environment and configuration that each way of deploying gives a node.
"""

import json
import pathlib
import re
import sys

import kubernetes_validate
import yaml

deploy = pathlib.Path(sys.argv[1])
# What is not in them yet was not in the versions that people run.
VERSIONS = ["1.29", "1.32"]


def manifests():
    for path in sorted((deploy / "kubernetes").glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            yield path.name, manifest


found = {}
for name, manifest in manifests():
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)
    found[manifest["kind"]] = manifest
    assert "namespace" not in manifest["metadata"], f"{name}: whoever applies it chooses the namespace"

deployment, budget, service, job = (
    found[kind] for kind in ["Deployment", "PodDisruptionBudget", "Service", "Job"]
)
pod = deployment["spec"]["template"]
labels = pod["metadata"]["labels"].items()
for selector in [
    deployment["spec"]["selector"]["matchLabels"],
    budget["spec"]["selector"]["matchLabels"],
    service["spec"]["selector"],
]:
    assert selector.items() <= labels, selector
assert deployment["spec"]["replicas"] >= 2, "a node may go"
node, migrate = pod["spec"]["containers"][0], job["spec"]["template"]["spec"]["containers"][0]
assert node["image"] == migrate["image"], "the migration is of the nodes' version"
assert node["readinessProbe"]["httpGet"]["path"] == "/readyz"
assert node["livenessProbe"]["httpGet"]["path"] == "/livez"
config = found["ConfigMap"]["data"]["ringback.toml"]
drain = int(re.search(r'drain = "(\d+)s"', config)[1])
assert pod["spec"]["terminationGracePeriodSeconds"] > drain + 5, "it is killed while it drains"

compose = yaml.safe_load((deploy / "compose" / "compose.yaml").read_text())
services = compose["services"]
nodes = [name for name in services if name.startswith("node-")]
balancer = services["balancer"]
assert len(nodes) == 2 and all(f"{name}:8202" in balancer["environment"].values() for name in nodes)
for name, service in services.items():
    for other in service.get("depends_on", {}):
        assert other in services, f"{name} depends on {other}"
    assert "image" in service, name
for name in nodes:
    assert int(services[name]["stop_grace_period"].removesuffix("s")) > drain

print(
    json.dumps(
        {
            "kubernetes": {
                "environment": [variable["name"] for variable in node["env"]],
                "config": config,
            },
            "compose": {
                "environment": services[nodes[0]]["environment"],
                "config": (deploy / "compose" / "ringback.toml").read_text(),
            },
        }
    )
)
