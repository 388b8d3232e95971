//! The JSON Schema takes every file that echod takes, and refuses what it was made to refuse.

use std::fs;

use serde_json::{Value, json};

use super::{configuration::SCHEMA_LINE, read, root};

/// What is wrong with `value`, by the keywords that our schema uses.
fn misfits(schema: &Value, value: &Value, at: &str, to: &mut Vec<String>) {
    let mut refuse = |why: &dyn std::fmt::Display| to.push(format!("{at}: {why}"));
    let Some(rules) = schema.as_object() else {
        if schema == &json!(false) {
            refuse(&"must not be there");
        }
        return;
    };
    let fits = |schema: &Value, value: &Value| {
        let mut misfits_of_it = Vec::new();
        misfits(schema, value, at, &mut misfits_of_it);
        misfits_of_it.is_empty()
    };
    let is_of = |kind: &Value| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        kind => panic!("the schema has a type {kind}"),
    };
    for (keyword, rule) in rules {
        match &**keyword {
            "$schema" | "title" | "description" | "default" | "then" | "properties" => {}
            "type" => {
                let kinds = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                if !kinds.iter().any(is_of) {
                    refuse(&format_args!("is not {rule}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => refuse(&format_args!("is not in {rule}")),
            "const" if rule != value => refuse(&format_args!("is not {rule}")),
            "minimum" if value.as_i64() < rule.as_i64() => refuse(&format_args!("is less than {rule}")),
            "maximum" if value.as_i64() > rule.as_i64() => refuse(&format_args!("is more than {rule}")),
            "anyOf" if !rule.as_array().unwrap().iter().any(|one| fits(one, value)) => {
                refuse(&format_args!("is none of {rule}"));
            }
            "required" => {
                for key in
                    rule.as_array().unwrap().iter().filter(|key| value.get(key.as_str().unwrap()).is_none())
                {
                    refuse(&format_args!("has no {key}"));
                }
            }
            "enum"
            | "const"
            | "minimum"
            | "maximum"
            | "anyOf"
            | "pattern"
            | "additionalProperties"
            | "items"
            | "allOf"
            | "if" => {}
            keyword => panic!("the schema has a keyword {keyword}"),
        }
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        rules.get("items").into_iter().for_each(|items| misfits(items, item, &format!("{at}[{number}]"), to));
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let rule = rules.get("properties").and_then(|properties| properties.get(key));
        let rule = rule.or_else(|| rules.get("additionalProperties"));
        rule.into_iter().for_each(|rule| misfits(rule, value, &format!("{at}.{key}"), to));
    }
    for part in rules.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        misfits(part, value, at, to);
    }
    if let (Some(condition), Some(then)) = (rules.get("if"), rules.get("then"))
        && fits(condition, value)
    {
        misfits(then, value, at, to);
    }
}

fn misfits_of(toml: &str) -> Vec<String> {
    let table: toml::Table = toml.parse().unwrap();
    let mut found = Vec::new();
    misfits(&echod::config::schema(), &serde_json::to_value(table).unwrap(), "file", &mut found);
    found
}

/// Every file of the project says so in its first line, and does.
#[test]
fn shipped_files_fit_the_schema() {
    let folders = ["config", "config/examples"].map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let mut files: Vec<_> = folders.into_iter().flatten().map(|file| file.unwrap().path()).collect();
    files.push(root().join("packaging/container.toml"));
    let mut checked = 0;
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with(SCHEMA_LINE), "{} does not begin with {SCHEMA_LINE}", path.display());
        assert_eq!(misfits_of(&text), [""; 0], "{}", path.display());
        checked += 1;
    }
    assert!(checked > 5);
    // The commented keys as well.
    let text = read("config/echod.toml");
    let shown = text.lines().map(|line| match line.trim_start_matches('#') {
        key if line.starts_with("## ") => key.trim_start(),
        key if line.starts_with('#')
            && key.contains(" = ")
            && key.starts_with(|c: char| c.is_ascii_lowercase()) =>
        {
            key
        }
        _ => line,
    });
    assert_eq!(misfits_of(&shown.collect::<Vec<_>>().join("\n")), [""; 0]);
}

#[test]
fn what_echod_refuses_the_schema_refuses() {
    let listener = |protocol: &str, more: &str| {
        format!("[[listener]]\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:7\"\n{more}\n")
    };
    assert_eq!(misfits_of(&listener("tcp", "nodelay = true\nworkers = \"auto\"")), [""; 0]);
    for (toml, told) in [
        (listener("tpc", ""), "file.listener[0].protocol: is not in"),
        (listener("tcp", "max-conections = 1"), "file.listener[0].max-conections: must not be there"),
        (listener("udp", "nodelay = true"), "file.listener[0].nodelay: must not be there"),
        (listener("tcp", "workers = 1025"), "file.listener[0].workers: is none of"),
        (listener("tcp", "source-prefix = 129"), "file.listener[0].source-prefix: is more than 128"),
        (listener("tcp", "reuse-port = \"yes\""), "file.listener[0].reuse-port: is not \"boolean\""),
        ("[[listener]]\nprotocol = \"tcp\"\n".to_owned(), "file.listener[0]: has no \"address\""),
        ("[defaults]\nname = \"x\"\n".to_owned(), "file.defaults.name: must not be there"),
        ("[log]\ntarget = \"file\"\n".to_owned(), "file.log: has no \"file\""),
    ] {
        let found = misfits_of(&toml);
        assert!(found.len() == 1 && found[0].starts_with(told), "{toml}: {found:?}");
    }
}
