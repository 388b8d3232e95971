"""Rules, scrape examples, recipes of probers and the dashboard: held against promtool, and against the metrics that echod has."""

import json
import re
import shutil
import subprocess
import tempfile
import tomllib
import pathlib

import yaml

# A name of a metric where PromQL has one.
NAME = re.compile(r"(?<![\w:\"$])((?:echod|process)_\w+|\w+:echod_\w+(?::\w+)?)")
# What Prometheus makes of a histogram.
HISTOGRAM = ("_bucket", "_sum", "_count")
# The version of the format of dashboards: what is newer than a Grafana is not read by it.
SCHEMA_VERSION = 39
ROWS = ["Health", "Traffic", "Refusals and losses"]
# What Grafana puts in place of variables.
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def check(top, echod, report):
    folder = top / "packaging/prometheus"
    rules = [rule for file in sorted((folder / "rules").glob("*.yml")) for rule in rules_of(file)]
    dashboard = json.loads((top / "packaging/grafana/echod.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    names(echod, rules, expressions, report)
    each_alert_is_tested(folder, rules, report)
    shape(dashboard, panels, report)
    kubernetes_example(folder, report)
    if shutil.which("promtool") is None:
        report.skip("promtool is missing; apt-get install prometheus; no rule and no example is checked by it")
    else:
        promtool(folder, expressions, report)
    tool(report, "the modules for blackbox_exporter", ["prometheus-blackbox-exporter", "--config.check", f"--config.file={folder}/blackbox.yml"])
    tool(report, "yamllint", ["yamllint", "--strict", "--config-data", LINT, *yaml_files(top)])
    if echod is not None:
        telegraf(folder, echod, report)


LINT = "{extends: default, rules: {line-length: {max: 160}, document-start: disable, comments: {min-spaces-from-content: 1}, braces: {max-spaces-inside: 1}}}"


def yaml_files(top):
    return [str(file) for part in ("kubernetes", "prometheus") for file in sorted((top / "packaging" / part).rglob("*.y*ml")) if file.name != "prometheusrule.yaml"]


def rules_of(file):
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def exported(echod):
    """Name and type of each metric."""
    listed = subprocess.run([echod, "metrics", "--list"], capture_output=True, text=True, timeout=60, check=True).stdout
    return {line.split()[0]: line.split()[1] for line in listed.splitlines()}


def names(echod, rules, expressions, report):
    """Each metric that is used is one that echod exports, or one that a rule records."""
    recorded = {rule["record"] for rule in rules if "record" in rule}
    used = {name for expression in expressions + [rule["expr"] for rule in rules] for name in NAME.findall(expression)}
    report.check(f"the rules and the dashboard use {len(used)} metrics", len(used) > 20, used)
    report.none("every recorded series that is used is recorded", sorted(name for name in used if ":" in name and name not in recorded))
    if echod is None:
        return
    known = set()
    for name, kind in exported(echod).items():
        known |= {name + end for end in HISTOGRAM} if kind == "histogram" else {name}
    unknown = sorted(name for name in used if ":" not in name and name not in known)
    report.none("echod exports every metric that the rules and the dashboard use (`echod metrics --list`)", unknown)


def each_alert_is_tested(folder, rules, report):
    """Each alert has a test in which it fires, and one in which it does not."""
    tested = set()
    for file in (folder / "tests").glob("*.yml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                tested.add((case["alertname"], bool(case["exp_alerts"])))
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    wanted = {(alert, fires) for alert in alerts for fires in (True, False)}
    report.none("each alert has a test that it fires, and one that it does not", [str(case) for case in sorted(wanted - tested)])
    report.none("no test is of an alert that is not there", [str(case) for case in sorted(tested - wanted)])


def shape(dashboard, panels, report):
    """What keeps a dashboard from being imported into any Grafana, or a panel from being read."""
    wrong = []
    if dashboard["schemaVersion"] != SCHEMA_VERSION:
        wrong.append(f"schemaVersion is {dashboard['schemaVersion']}")
    if dashboard.get("id") is not None or "uid" in dashboard:
        wrong.append("it has an id of one installation")
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    if rows != ROWS:
        wrong.append(f"its rows are {rows}")
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) != len(ids):
        wrong.append("two panels have one id")
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for first, second in VARIABLE.findall(json.dumps(dashboard)):
        if (first or second) not in variables and not (first or second).startswith("__"):
            wrong.append(f"the variable {first or second} is not defined")
    for source in data_sources(dashboard):
        if source != {"type": "prometheus", "uid": "${datasource}"}:
            wrong.append(f"a data source is {source}")
    for panel in panels:
        for key, value in (("unit", panel["fieldConfig"]["defaults"].get("unit")), ("description", panel.get("description")), ("query", panel["targets"])):
            if not value:
                wrong.append(f"panel {panel['title']} has no {key}")
        at = panel["gridPos"]
        if at["x"] + at["w"] > 24:
            wrong.append(f"panel {panel['title']} is out of the grid")
        for other in panels:
            of = other["gridPos"]
            apart = at["x"] >= of["x"] + of["w"] or of["x"] >= at["x"] + at["w"] or at["y"] >= of["y"] + of["h"] or of["y"] >= at["y"] + at["h"]
            if other is not panel and not apart:
                wrong.append(f"panels {panel['title']} and {other['title']} overlap")
    report.none(f"the dashboard has {len(panels)} panels that any Grafana can show", wrong)


def data_sources(value):
    if isinstance(value, dict):
        if isinstance(value.get("datasource"), dict | str):
            yield value["datasource"]
        value = list(value.values())
    if isinstance(value, list):
        for below in value:
            yield from data_sources(below)


def kubernetes_example(folder, report):
    """The part of the example for Kubernetes that the promtool of Debian does not know."""
    [job] = yaml.safe_load((folder / "scrape-kubernetes.yml").read_text())["scrape_configs"]
    expected = [{"role": "pod", "namespaces": {"names": ["echod"]}}]
    report.check("the example for Kubernetes looks for the pods of the namespace", job["kubernetes_sd_configs"] == expected, job)


def promtool(folder, expressions, report):
    rules = sorted((folder / "rules").glob("*.yml"))
    tool(report, "promtool reads the rules", ["promtool", "check", "rules", *rules])
    tool(report, "promtool finds that the alerts fire, and do not fire", ["promtool", "test", "rules", *sorted((folder / "tests").glob("*.yml"))])
    for file in sorted(folder.glob("scrape-*.yml")):
        with tempfile.TemporaryDirectory(prefix="echod-fleet-") as work:
            shutil.copytree(folder / "rules", pathlib.Path(work) / "rules")
            shutil.copytree(folder / "targets", pathlib.Path(work) / "targets")
            config = yaml.safe_load(file.read_text())
            for job in config["scrape_configs"]:
                # Debian builds Prometheus without it.
                if job.pop("kubernetes_sd_configs", None):
                    job["static_configs"] = [{"targets": ["localhost:9862"]}]
            copied = pathlib.Path(work) / file.name
            copied.write_text(yaml.safe_dump(config))
            tool(report, f"promtool reads {file.name}", ["promtool", "check", "config", copied])
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as wrapped:
        replaced = [re.sub(r"\$\w+", lambda found: "5m" if found[0].startswith("$__") else ".*", expression) for expression in expressions]
        group = [{"record": f"panel_{number}", "expr": expression} for number, expression in enumerate(replaced)]
        yaml.safe_dump({"groups": [{"name": "panels", "rules": group}]}, wrapped)
        wrapped.flush()
        tool(report, f"promtool reads the {len(expressions)} queries of the dashboard", ["promtool", "check", "rules", wrapped.name])


def telegraf(folder, echod, report):
    """The arguments that Telegraf would give, and what it would find in the output: the lines that its plugin looks for."""
    [ping] = tomllib.loads((folder / "telegraf.conf").read_text())["inputs"]["ping"]
    daemon = subprocess.Popen(
        [echod, "-l", "udp://127.0.0.1:0?name=udp", "--announce"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        address = json.loads(daemon.stdout.readline())["address"]
        url = address if "://" in address else f"udp://{address}"
        told = subprocess.run([echod, *ping["arguments"], url], capture_output=True, text=True, timeout=120)
        count = re.search(r"^(\d+) packets transmitted, (\d+) received, ", told.stdout, re.MULTILINE)
        times = re.search(r"^rtt min/avg/max/mdev = ([\d.]+)/([\d.]+)/([\d.]+)/([\d.]+) ms$", told.stdout, re.MULTILINE)
        report.check("Telegraf's plugin finds its figures", told.returncode == 0 and count and times, told.stdout + told.stderr)
        report.check("and it has what the plugin wants to run a program", (ping["method"], ping["binary"]) == ("exec", "/usr/bin/echod"), ping)
    finally:
        daemon.terminate()
        daemon.wait(60)


def tool(report, what, command):
    """Runs a program that has to succeed; if it is there."""
    if shutil.which(command[0]) is None:
        report.skip(f"{command[0]} is missing, for: {what}")
        return
    told = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    report.check(what, told.returncode == 0, told.stdout + told.stderr)
