"""The Pod Security profile `restricted`, and what echod's pods promise beyond it, as assertions; and that each of them is needed."""

import copy

from manifests import one, pod_of

# Sysctls that the profile admits.
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def violations(pod):
    """What of a pod the profile, or our promise, does not admit."""
    wrong = []
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            wrong.append(key)
    for volume in pod.get("volumes", []):
        wrong += [f"volume {kind}" for kind in set(volume) - {"name"} - VOLUMES]
    of_pod = pod.get("securityContext") or {}
    wrong += [f"sysctl {sysctl['name']}" for sysctl in of_pod.get("sysctls", []) if sysctl["name"] not in SAFE_SYSCTLS]
    if pod.get("automountServiceAccountToken") is not False:
        wrong.append("automountServiceAccountToken")
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container.get("securityContext") or {}
        both = {**of_pod, **own}
        if both.get("runAsNonRoot") is not True:
            wrong.append("runAsNonRoot")
        wrong += [key for key in ("runAsUser", "runAsGroup") if not both.get(key)]
        if both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            wrong.append("seccompProfile")
        if own.get("privileged"):
            wrong.append("privileged")
        if own.get("allowPrivilegeEscalation") is not False:
            wrong.append("allowPrivilegeEscalation")
        if own.get("readOnlyRootFilesystem") is not True:
            wrong.append("readOnlyRootFilesystem")
        capabilities = own.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or []) or capabilities.get("add"):
            wrong.append("capabilities")
        wrong += [f"hostPort {port['hostPort']}" for port in container.get("ports", []) if port.get("hostPort")]
        if "cpu" in container["resources"].get("limits", {}) or "memory" not in container["resources"].get("limits", {}):
            wrong.append("resources")
    return wrong


def check(variants, report):
    for name, objects in variants.items():
        found = violations(pod_of(objects))
        profile = one(objects, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        if "host-network" in name:
            expected = {"hostNetwork", "hostPort 7007", "hostPort 9862"}
            report.check(f"{name}: nothing but the network of the node is not `restricted`", set(found) == expected, found)
            report.check(f"{name}: its namespace says so", profile == "privileged", profile)
        else:
            report.none(f"{name}: the pod is `restricted`", found)
            report.check(f"{name}: and so is its namespace", profile == "restricted", profile)
    pod = pod_of(variants["base"])
    lines = list(security_lines(pod))
    report.check(f"{len(lines)} lines of securityContext are there to be left out", len(lines) >= 7, lines)
    for path in lines:
        without = copy.deepcopy(pod)
        remove(without, path)
        report.check(f"the pod is not `restricted` without {'.'.join(map(str, path))}", violations(without) != [])


def security_lines(pod):
    """The paths of all that a securityContext says."""
    for start in (["securityContext"], *(["containers", number, "securityContext"] for number in range(len(pod["containers"])))):
        yield from leaves(value_at(pod, start), start)


def leaves(value, path):
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, [*path, key])
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from leaves(below, [*path, number])
    else:
        yield path


def value_at(value, path):
    for step in path:
        value = value[step]
    return value


def remove(pod, path):
    del value_at(pod, path[:-1])[path[-1]]
