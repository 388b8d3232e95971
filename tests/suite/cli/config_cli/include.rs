//! Listeners in other files.

use std::{fs, path::Path};

use crate::harness::{Echod, Launch, listener};

/// The table comes after the key, also where a test of the sandbox adds to it.
const MAIN: &str = "include = [\"conf.d/*.toml\", \"more.toml\"]\n[daemon]\nallow-faults = true\n[defaults]\nservice = \"upper\"\n";

fn write(dir: &Path, name: &str, text: &str) {
    fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    fs::write(dir.join(name), text).unwrap();
}

/// What is told of a configuration with these files beside it.
fn check(main: &str, files: &[(&str, &str)]) -> crate::harness::Finished {
    let launch = Launch::new().config(main).args(&["--check"]);
    files.iter().for_each(|(name, text)| write(launch.dir(), name, text));
    launch.run()
}

#[test]
fn listeners_of_all_files_are_served_and_a_reload_reads_them_again() {
    let main = MAIN.to_owned() + &listener("own", "tcp", "");
    let launch = Launch::new().config(&main);
    let plan = "[[faults]]\nname = \"short\"\ntruncate = \"100% to 2B\"\n";
    write(launch.dir(), "conf.d/plan.toml", plan);
    let cut = listener("cut", "udp", "faults = \"short\"\n");
    write(launch.dir(), "more.toml", &(listener("more", "tcp", "service = \"echo\"\n") + &cut));
    write(launch.dir(), "conf.d/20.toml", &listener("second", "udp", ""));
    write(launch.dir(), "conf.d/10.toml", &(listener("first", "tcp", "") + &listener("unix", "unix", "")));
    for name in ["conf.d/.hidden.toml", "conf.d/10.toml~", "conf.d/README"] {
        write(launch.dir(), name, "nonsense");
    }
    let daemon = launch.start();
    let names = |daemon: &Echod| -> Vec<_> {
        daemon.announced.iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&daemon), ["own", "first", "unix", "second", "more", "cut"]);
    for name in ["own", "first", "unix", "second"] {
        assert_eq!(daemon.client(name).ask(b"hello"), b"HELLO", "{name}");
    }
    daemon.client("more").echo(b"hello");
    assert_eq!(daemon.client("cut").ask(b"hello"), b"HE");
    // A file that is new, one that is gone, and one that is another.
    write(&daemon.path(""), "conf.d/30.toml", &listener("third", "unix", ""));
    fs::remove_file(daemon.path("conf.d/10.toml")).unwrap();
    write(&daemon.path(""), "conf.d/20.toml", &listener("second", "udp", "service = \"echo\"\n"));
    daemon.read_again();
    assert!(daemon.log().contains("reloaded: serving 5 listeners"), "{}", daemon.log());
    let mut third = daemon.endpoint("unix");
    if let crate::harness::Endpoint::Unix(path) = &mut third {
        path.set_file_name("third.sock");
    }
    assert_eq!(crate::harness::Client::connect(&third).ask(b"hello"), b"HELLO");
    daemon.client("second").echo(b"hello");
    // What is wrong in one of them changes nothing, and is told with its place.
    write(&daemon.path(""), "conf.d/30.toml", "[[listener]]\nprotocol = \"tpc\"\n");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.wait_log(|line| line.contains("conf.d/30.toml:2:12"));
    daemon.client("second").echo(b"hello");
}

#[test]
fn an_error_points_into_the_file_that_has_it() {
    let own = MAIN.to_owned() + &listener("own", "tcp", "");
    let other = listener("other", "tcp", "");
    for (files, told) in [
        // All of it at once.
        (
            vec![("more.toml", "[[listener]]\nmode = \"fork\"\n"), ("conf.d/a.toml", "nonsense\n")],
            vec!["--> more.toml:2:8", "--> conf.d/a.toml:1:1"],
        ),
        (
            vec![("more.toml", "[[listener]]\nmode = \"fork\"\n"), ("conf.d/a.toml", "[listner]\n")],
            vec![
                "--> more.toml:2:8",
                "2 | mode = \"fork\"",
                "did you mean `forking`?",
                "--> conf.d/a.toml:1:2",
                "[[listener]]",
            ],
        ),
        (
            vec![("more.toml", other.as_str()), ("conf.d/a.toml", "\n[daemon]\nuser = \"root\"\n")],
            vec![
                "--> conf.d/a.toml:2:2",
                "`[daemon]` stands in a file that another one includes",
                "`[[listener]]` and `[[faults]]` only",
            ],
        ),
        (
            vec![("more.toml", "include = \"x.toml\"\n"), ("x.toml", other.as_str())],
            vec!["--> more.toml:1:1", "`include` stands in a file that another one includes"],
        ),
        (
            vec![("more.toml", other.as_str()), ("conf.d/b.toml", other.as_str())],
            vec!["conf.d/b.toml:2:8", "more.toml:2:8", "other"],
        ),
        (
            vec![("conf.d/b.toml", other.as_str())],
            vec!["--> echod.toml:1:29", "cannot read `more.toml`: there is no such file"],
        ),
        (vec![("more.toml/x", "")], vec!["--> echod.toml:1:29", "it is a directory"]),
    ] {
        let checked = check(&own, &files);
        checked.expect(78, &told);
    }
}

#[test]
fn what_is_no_file_is_told() {
    let own = listener("own", "tcp", "");
    for (include, told) in [
        ("[1]", "write texts in quotes, for example [\"conf.d/*.toml\"]"),
        ("5", "write texts in quotes, for example [\"conf.d/*.toml\"]"),
        ("true", "`include` must be"),
        ("[\"/dev/zero\"]", "it is a device, not a regular file"),
        ("[\"*/x.toml\"]", "has a pattern in the name of a directory"),
        ("\"\"", "a path cannot be empty"),
    ] {
        check(&format!("include = {include}\n{own}"), &[]).expect(78, &["--> echod.toml:1:1", told]);
    }
    for (itself, title) in
        [("echod.toml", "`echod.toml` is this file itself"), ("./echod.toml", "is this file itself")]
    {
        check(&format!("include = \"{itself}\"\n{own}"), &[])
            .expect(78, &["--> echod.toml:1:11", title, "take it out"]);
    }
    // Each has a cure beside its place, also where nothing is written wrongly.
    let launch =
        Launch::new().config(&format!("include = [\"conf.d/*.toml\", \"fifo\"]\n{own}")).args(&["--check"]);
    write(launch.dir(), "conf.d/right.toml", &listener("other", "tcp", ""));
    std::os::unix::fs::symlink("nowhere", launch.dir().join("conf.d/link.toml")).unwrap();
    nix::unistd::mkfifo(&launch.dir().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    launch.run().expect(
        78,
        &[
            "cannot read `conf.d/link.toml`: it is a link to what is not there",
            "have it lead to a file, or take it away",
            "cannot read `fifo`: it is a FIFO, not a regular file",
            "name a regular file",
        ],
    );
    // In a table it is another key.
    check(&format!("[daemon]\ninclude = \"x.toml\"\n{own}"), &[]).expect(78, &["at the top of the file"]);
    check(&format!("includes = \"x.toml\"\n{own}"), &[]).expect(78, &["did you mean `include`?"]);
}

#[test]
fn patterns_may_match_nothing_and_never_the_file_itself() {
    let own = listener("own", "tcp", "");
    for include in [
        "\"none/*.toml\"",
        "[\"*.toml\", \"./e*.toml\"]",
        "[]",
        "[\"conf.d/*.toml\", \"conf.d/a.toml\", \"conf.d/?.toml\"]",
    ] {
        let checked = check(
            &format!("include = {include}\n{own}"),
            &[("conf.d/a.toml", &listener("other", "tcp", ""))],
        );
        checked.expect(0, &[]);
        let served = if include.contains("conf.d") { 2 } else { 1 };
        assert_eq!(checked.stdout.matches("listener ").count(), served, "{include}: {}", checked.stdout);
    }
    // Without a listener of its own.
    let checked = check("include = \"conf.d/*.toml\"\n", &[("conf.d/a.toml", &listener("other", "tcp", ""))]);
    checked.expect(0, &[]);
    check("include = \"conf.d/*.toml\"\n", &[]).expect(78, &["there is no listener to serve"]);
}

/// A path counts from the file that it is written in, and what is printed needs no other file.
#[test]
fn lists_of_networks_are_beside_the_file_that_names_them() {
    let files = [
        ("conf.d/a.toml", listener("other", "tcp", "allow-include = \"networks.txt\"\n")),
        ("conf.d/networks.txt", "192.0.2.0/24\n".to_owned()),
        ("networks.txt", "198.51.100.0/24\n".to_owned()),
    ];
    let own = listener("own", "tcp", "allow-include = \"networks.txt\"\n");
    let launch =
        Launch::new().config(&format!("include = \"conf.d/*.toml\"\n{own}")).args(&["--print-config"]);
    files.iter().for_each(|(name, text)| write(launch.dir(), name, text));
    let printed = launch.run();
    printed.expect(0, &[]);
    let table: toml::Table = printed.stdout.parse().unwrap();
    let allowed: Vec<_> =
        table["listener"].as_array().unwrap().iter().map(|listener| listener["allow"].to_string()).collect();
    assert_eq!(allowed, ["[\"198.51.100.0/24\"]", "[\"192.0.2.0/24\"]"]);
    assert!(!table.contains_key("include"));
}
