//! The report of the client: its schema, and docs/reference/report.md. Both follow from the table by which it is written.

use std::{collections::BTreeSet, fmt::Write, fs};

use echod::client::report::{
    fields,
    quantity::KNOWN,
    shape::{self, FieldShape, Form},
    warnings::WARNINGS,
};

use super::{super::house::sources, reference::begin};

/// config/report.schema.json.
pub(super) fn schema() -> String {
    let schema = shape::schema("Report of echod ping and echod bench, version 1", fields::shape);
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

/// docs/reference/report.md.
pub(super) fn markdown() -> String {
    let mut page = begin("The report of ping and bench");
    page.push_str(
        "`echod ping` and `echod bench` print a report in one of five forms (`--output`), and `--save FILE` writes it as JSON besides.\n\n\
         | form | |\n|---|---|\n\
         | `text` | for people; the last lines of `ping` are those of ping(8), so that its parsers read them |\n\
         | `json` | one object on one line, described below; `config/report.schema.json` is its JSON Schema, installed as /usr/share/doc/echod/report.schema.json |\n\
         | `jsonl` | a line `{\"probe\":{...}}` for each probe as soon as its fate is known, then that object |\n\
         | `csv` | a line of headings, then one for each target (RFC 4180); no value where there is nothing to tell |\n\
         | `markdown` | a table with a row for each target |\n\n\
         `--hdr FILE` writes the distribution of times as HdrHistogram plots it (`.hgrm`), in milliseconds: that from the planned moments in an \
         open loop, else that from the sends. Both files are written whole or not at all.\n\n\
         A percentile is told only if at least ten times lie beyond it: p99 of 1,000 times, p99.9 of 10,000. No figure is an average of percentiles: \
         rounds are merged as distributions.\n\n## Fields\n\n\
         Times are whole nanoseconds, and the names of fields say so (`_ns`). Within version 1 fields are added; none is changed or removed. \
         A field marked `?` is left out where there is nothing to tell.\n",
    );
    for shape in shape::with_parts(fields::shape) {
        let _ =
            write!(page, "\n### {}\n\n{}.\n\n| field | form | |\n|---|---|---|\n", shape.name, shape.about);
        for FieldShape { name, about, form, is_required } in shape.fields {
            let mark = if is_required { "" } else { " ?" };
            let _ = writeln!(page, "| `{name}`{mark} | {} | {about} |", form_name(&form));
        }
    }
    page.push_str(
        "\n### probe\n\nA line of `--output jsonl`. A probe has its line when its fate is known; one that is `lost` and is answered after all has \
         a second line with the fate `late`, which replaces the first.\n\n| field | form | |\n|---|---|---|\n\
         | `url` | text | The target |\n\
         | `seq` | number | The number of the probe |\n\
         | `fate` | `ok`, `late`, `lost`, `refused`, `unsent` or `skipped` | What became of it |\n\
         | `sent_ns` | number | When it was sent, after the start of the run |\n\
         | `response_ns`, `service_ns` ? | number | The time from the planned moment, and from the send, to the answer |\n\
         | `connect_ns`, `close_ns` ? | number | The time to connect, and to close |\n\
         | `flow` ? | number | Its source port, counted from 1 |\n\
         | `ttl` ? | number | The TTL or hop limit of the answer |\n",
    );
    page.push_str(
        "\n## Conditions\n\n`--fail-if 'p99>2ms || loss>0.1%'` compares quantities with values by `>`, `>=`, `<`, `<=`, `==` or `!=`. \
         If one of the conditions, joined by `||` or given with several `--fail-if`, is true for a target, the exit code is 1. A number with `%` is \
         compared as a part of the probes that were sent. `--search` of `bench` takes the same.\n\n| quantity | | unit |\n|---|---|---|\n",
    );
    for (name, about, unit) in KNOWN {
        let _ = writeln!(page, "| `{}` | {about} | {unit} |", name.replace(", ", "`, `"));
    }
    page.push_str(
        "\nA condition that cannot be told is an error of the measurement, and not silently true or false: the exit code is 75. A percentile \
         with fewer than ten times beyond it cannot be told, nor can a time that was not measured. A wrong condition is found before anything is sent.\n\
         \n## Exit codes\n\nThe first of these that fits:\n\n| code | |\n|---|---|\n\
         | 64 | The command line is wrong; nothing was sent |\n\
         | 68 | The name of a target is unknown; nothing was sent |\n\
         | 71, 77 | The system does not give a socket, or a permission is missing |\n\
         | 74 | The report cannot be printed or saved |\n\
         | 1 | A condition of `--fail-if` is true |\n\
         | 69 | A target did not answer at all |\n\
         | 75 | A condition cannot be told; or with `--strict`, a warning says that the measurement is not valid |\n\
         | 0 | Every target answered, and no condition is true |\n\n\
         ping(8) exits with 1 if nothing answers. Here 1 is for conditions alone, so that a lost probe is an alarm only where a condition says so.\n\
         \n## Warnings\n\nOn standard error, unless `--quiet` is given, and in the report. Those marked make the measurement not valid (`--strict`).\n\n\
         | id | not valid | |\n|---|---|---|\n",
    );
    for (id, about, is_fatal) in WARNINGS {
        let _ = writeln!(page, "| `{id}` | {} | {about} |", if is_fatal { "x" } else { "" });
    }
    page
}

fn form_name(form: &Form) -> String {
    match form {
        Form::Whole | Form::Real => "number".to_owned(),
        Form::Share => "number from 0 to 1".to_owned(),
        Form::Flag => "true or false".to_owned(),
        Form::Text => "text".to_owned(),
        Form::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Form::Only(number) => number.to_string(),
        Form::Moment => "time (RFC 3339)".to_owned(),
        Form::Tuple(_) => "pair".to_owned(),
        Form::List(form) => format!("list of {}", form_name(form)),
        Form::Object(shape) => format!("[{0}](#{0})", shape().name),
    }
}

/// The engines make warnings of these ids, and of no others.
#[test]
fn every_warning_is_in_the_reference() {
    let mut found = BTreeSet::new();
    for file in sources().into_iter().filter(|file| file.to_string_lossy().contains("/client/")) {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for mark in ["id: \"", "fatal(\n                \""] {
            found.extend(code.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    let known: BTreeSet<_> = WARNINGS.iter().map(|(id, ..)| (*id).to_owned()).collect();
    let unknown: Vec<_> = found.difference(&known).collect();
    assert!(unknown.is_empty(), "not in src/client/report/warnings.rs: {unknown:?}");
    assert!(found.len() > 3, "these cannot be all the warnings: {found:?}");
}
