//! The report in each of its forms: what is said of a server that answers, and of one that does not.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    cli::probe::url,
    harness::{Echod, Finished, Launch, has_python, it, listener, port_of_nobody, python},
};

const SCHEMA: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/report.schema.json"));

/// Holds a report against the schema that is installed with the binary, and has no field that the schema does not name.
#[track_caller]
pub(super) fn assert_valid(report: &Value) {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut misfits = Vec::new();
    check(&schema, &schema, report, "report", &mut misfits);
    assert!(misfits.is_empty(), "{misfits:#?} in {report:#}");
}

/// What is wrong with `value`, by the keywords that our schema uses.
fn check(whole: &Value, schema: &Value, value: &Value, at: &str, misfits: &mut Vec<String>) {
    let mut refuse = |why: String| misfits.push(format!("{at}: {why}"));
    for (keyword, rule) in schema.as_object().unwrap() {
        match &**keyword {
            "$schema" | "$defs" | "title" | "description" => {}
            "type" => {
                let is_right = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    kind => panic!("the schema has a type {kind}"),
                };
                if !is_right {
                    refuse(format!("{value} is not {rule}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => {
                refuse(format!("{value} is not in {rule}"))
            }
            "const" if rule != value => refuse(format!("{value} is not {rule}")),
            "minimum" if value.as_f64() < rule.as_f64() => refuse(format!("{value} is less than {rule}")),
            "maximum" if value.as_f64() > rule.as_f64() => refuse(format!("{value} is more than {rule}")),
            "format" => {
                // RFC 3339, in UTC.
                let is_moment = value.as_str().is_some_and(|text| text.len() >= 20 && text.ends_with('Z'));
                if rule != "date-time" || !is_moment {
                    refuse(format!("{value} is no {rule}"));
                }
            }
            "required" => {
                for name in
                    rule.as_array().unwrap().iter().filter(|name| value.get(name.as_str().unwrap()).is_none())
                {
                    refuse(format!("{name} is missing"));
                }
            }
            "minItems" | "maxItems" => {
                let (length, bound) = (value.as_array().map_or(0, Vec::len) as u64, rule.as_u64().unwrap());
                if if keyword == "minItems" { length < bound } else { length > bound } {
                    refuse(format!("{length} values and not {bound}"));
                }
            }
            "enum" | "const" | "minimum" | "maximum" | "properties" | "items" | "prefixItems" | "$ref" => {}
            keyword => panic!("the schema has a keyword {keyword}"),
        }
    }
    if let Some(reference) = schema.get("$ref") {
        let name = reference.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
        check(whole, &whole["$defs"][name], value, at, misfits);
    }
    if let (Some(properties), Some(fields)) = (schema.get("properties"), value.as_object()) {
        for (name, field) in fields {
            match properties.get(name) {
                Some(schema) => check(whole, schema, field, &format!("{at}.{name}"), misfits),
                None => misfits.push(format!("{at}: {name} is not in the schema")),
            }
        }
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        let of_each = schema.get("items").or_else(|| schema.get("prefixItems")?.get(number));
        if let Some(schema) = of_each {
            check(whole, schema, item, &format!("{at}[{number}]"), misfits);
        }
    }
}

/// A run that does not depend on how fast the machine is.
fn bench(url: &str, args: &[&str]) -> Finished {
    let quick = ["-W", "20s", "-d", "100ms", "--rounds", "2", "--warm-up", "0s"];
    Launch::new().args(&["bench", url]).args(&quick).args(args).run()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_report_is_valid_by_its_schema() {
    let echod = Echod::start(&it(""));
    let url = url(&echod, "it");
    for args in [&["--window", "2"][..], &["--rate", "200", "--connections", "2"]] {
        let finished =
            bench(&url, &[&["-o", "json", "--fail-if", "min>1000s || loss>50% || rate<0/s"], args].concat());
        assert_eq!(finished.stdout.lines().count(), 1, "{}", finished.stderr);
        let report = parsed(&finished.stdout);
        assert_valid(&report);
        if report["targets"][0]["probes"]["ok"] == 0 {
            // The plan was missed as a whole, where the machine stopped the client for so long.
            finished.expect(69, &["no answer"]);
            continue;
        }
        assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
        assert_eq!(report["verdict"]["failed"], false);
        let conditions = report["verdict"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 3);
        assert!(conditions[0]["value_ns"].is_u64() && conditions[1]["value_ratio"] == 0.0, "{conditions:?}");
        let times = &report["targets"][0]["service_ns"];
        let buckets = times["buckets"].as_array().unwrap();
        assert_eq!(
            buckets.iter().map(|bucket| bucket[1].as_u64().unwrap()).sum::<u64>(),
            times["n"],
            "{times}"
        );
    }
    let nobody = format!("udp://127.0.0.1:{}", port_of_nobody("udp"));
    let quick = ["-o", "json", "--rate", "100", "-W", "100ms", "-d", "100ms", "--warm-up", "0s"];
    let finished = Launch::new().args(&["bench", &nobody]).args(&quick).run();
    finished.expect(69, &["no answer from udp://"]);
    assert_valid(&parsed(&finished.stdout));
}

/// A schema of which no other program can make anything would be none.
#[test]
fn another_validator_takes_the_report_too() {
    if !has_python("the schema is held against the report by this suite alone") {
        return;
    }
    let echod = Echod::start(&it(""));
    let report = bench(&url(&echod, "it"), &["-o", "json", "--rate", "200"]).stdout;
    let script = "\
import json, sys
try:
    import jsonschema
except ImportError:
    sys.exit(0)
report, schema = (json.loads(line) for line in sys.stdin)
jsonschema.Draft202012Validator.check_schema(schema)
jsonschema.Draft202012Validator(schema).validate(report)
report['targets'][0]['probes']['lost'] = -1
assert not jsonschema.Draft202012Validator(schema).is_valid(report)
";
    let mut command = Command::new(python().unwrap());
    command.args(["-c", script]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let schema = parsed(SCHEMA).to_string();
    child.stdin.take().unwrap().write_all(format!("{report}{schema}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn files_are_saved_beside_the_report() {
    let echod = Echod::start(&it(""));
    let url = url(&echod, "it");
    let finished = bench(&url, &["--save", "report.json", "--hdr", "times.hgrm", "--plot", "times.svg"]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let read = |name: &str| fs::read_to_string(finished.dir.path().join(name)).unwrap();
    let report = parsed(&read("report.json"));
    assert_valid(&report);
    let hdr = read("times.hgrm");
    assert!(hdr.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"), "{hdr}");
    let count: u64 = hdr.trim_end().rsplit(' ').next().unwrap().trim_end_matches(']').parse().unwrap();
    assert_eq!(report["targets"][0]["service_ns"]["n"], count);
    assert!(read("times.svg").starts_with("<svg xmlns="));
    let names = fs::read_dir(finished.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let unfinished: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");

    for (option, what) in
        [("--save", "the report"), ("--hdr", "the distribution of times"), ("--plot", "the picture")]
    {
        let missing = bench(&url, &[option, "nowhere/file"]);
        missing.expect(74, &[what, " to nowhere/file", "its directory must be there"]);
        // Before anything is measured.
        assert_eq!(missing.stdout, "");
    }
    let nobody = format!("tcp://127.0.0.1:{}", port_of_nobody("tcp"));
    let failed = bench(&nobody, &["--save", "report.json", "--plot", "times.svg"]);
    failed.expect(69, &["cannot reach"]);
    let names = fs::read_dir(failed.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains("report.json")).collect();
    assert!(left.is_empty() && !failed.dir.path().join("times.svg").exists(), "{left:?}");
    let several = Launch::new().args(&["bench", &url, &url, "--hdr", "f"]).run();
    several.expect(64, &["one URL"]);
    assert!(!Path::exists(&several.dir.path().join("f")));
}

#[test]
fn each_form_says_the_same() {
    let echod = Echod::start(&listener("it", "udp", ""));
    let url = url(&echod, "it");
    // A closed loop has an answer to its first message at least, however slow the machine is.
    let csv = bench(&url, &["-o", "csv"]).stdout;
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.trim_end().split(',').collect()).collect();
    let cell = |name: &str| lines[1][lines[0].iter().position(|heading| *heading == name).unwrap()];
    assert_eq!((cell("url"), cell("model"), cell("lost")), (&*url, "closed", "0"), "{csv}");
    assert_eq!((cell("service_n"), cell("response_n")), (cell("ok"), ""), "{csv}");
    assert!(!cell("service_min_ns").is_empty() && cell("service_p99.999_ns").is_empty(), "{csv}");
    let markdown = bench(&url, &["-o", "markdown", "--fail-if", "loss>0"]).stdout;
    let rows: Vec<&str> = markdown.lines().collect();
    assert!(
        rows[0].starts_with("| target | sent | answered |") && rows[1].starts_with("|---|---:|"),
        "{markdown}"
    );
    assert!(rows[2].starts_with(&format!("| {url} | ")) && rows[2].contains(" | 0 % | "), "{markdown}");
    assert_eq!(rows[4], "- ok: loss<=0 (0)");
}

/// Each line by itself, then the whole; also if nothing answers.
#[test]
fn a_line_for_each_probe_comes_before_the_report() {
    let echod = Echod::start(&listener("it", "udp", ""));
    let nobody = format!("udp://127.0.0.1:{}", port_of_nobody("udp"));
    for (url, fate) in [(url(&echod, "it"), "ok"), (nobody, "refused")] {
        let args = ["-c", "3", "-i", "10ms", "-W", "20s", "-o", "jsonl"];
        let finished = Launch::new().args(&["ping", &url]).args(&args).run();
        let mut lines: Vec<Value> = finished.stdout.lines().map(parsed).collect();
        assert_eq!(lines.len(), 4, "{}{}", finished.stdout, finished.stderr);
        // A fate is told when it is known.
        lines[..3].sort_by_key(|line| line["probe"]["seq"].as_u64());
        for (number, line) in lines[..3].iter().enumerate() {
            let probe = &line["probe"];
            assert_eq!((&probe["url"], &probe["seq"]), (&json!(url), &json!(number + 1)), "{line}");
            // A moment may be missed where the machine stops the client.
            assert!(probe["fate"] == fate || probe["fate"] == "skipped", "{line}");
            assert_eq!(probe["service_ns"].is_u64(), probe["fate"] == "ok", "{line}");
        }
        let has_answers = lines[..3].iter().any(|line| line["probe"]["fate"] == "ok");
        assert_eq!(finished.status.code(), Some(if has_answers { 0 } else { 69 }), "{}", finished.stderr);
        assert_valid(&lines[3]);
        assert_eq!(lines[3]["kind"], "ping");
    }
}

#[test]
fn the_verdict_decides_the_exit_code() {
    let echod = Echod::start(&it(""));
    let url = url(&echod, "it");
    let told = bench(&url, &["--fail-if", "min<1000s || loss>0", "--fail-if", "max<1000s"]);
    told.expect(1, &[]);
    for line in ["failed: min<1000s (", "ok: loss<=0 (0)\n", "failed: max<1000s ("] {
        assert!(told.stdout.contains(line), "{}", told.stdout);
    }
    // No machine sends a million in that time, one after the other.
    let untold = bench(&url, &["--fail-if", "p99.999>1000s"]);
    untold.expect(75, &["cannot tell whether p99.999>1000s", "1,000,000"]);
    assert!(untold.stdout.contains("cannot tell: p99.999>1000s"), "{}", untold.stdout);
    let wrong = bench(&url, &["--fail-if", "p99>2"]);
    wrong.expect(64, &["  p99>2\n      ^\n", "flows-dead"]);
    assert_eq!(wrong.stdout, "");
    let quiet = bench(&url, &["-q", "-o", "json"]);
    assert_eq!((quiet.status.code(), quiet.stderr.as_str()), (Some(0), ""));
    let warned = parsed(&quiet.stdout);
    assert_eq!(
        warned["warnings"][0],
        json!({"id": "closed-loop", "text": warned["warnings"][0]["text"], "fatal": false})
    );
}
