//! Chromium without a window, driven over a pipe by the DevTools protocol: messages of JSON, each with a zero byte behind it.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{proc, skipped};

/// How long the browser may take for one answer, or for what it is told to wait for. It has many processes to start, beside all other tests.
const LONGEST: Duration = Duration::from_secs(120);

/// What it is called.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page.
pub(super) struct Browser {
    dir: TempDir,
    child: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    number: u64,
    session: Option<String>,
    events: Vec<Value>,
}

impl Browser {
    /// A browser, if there is one; says that nothing was looked at where there is none.
    pub(super) fn start() -> Option<Browser> {
        let is_there = |name: &&str| {
            let asked = Command::new(name).arg("--version").stdin(Stdio::null()).output();
            asked.is_ok_and(|output| output.status.success())
        };
        let Some(name) = NAMES.into_iter().find(is_there) else {
            skipped("chromium is not installed, the page was not looked at");
            return None;
        };
        let mut browser = Browser::spawn(name);
        // A page is there before the first answer, or the browser has ended: containers may lack what it needs.
        let Some(targets) = browser.ask("Target.getTargets", &json!({})) else {
            let log = std::fs::read_to_string(browser.dir.path().join("log")).unwrap_or_default();
            skipped(format_args!("chromium does not start here, the page was not looked at: {log}"));
            return None;
        };
        let targets = targets["targetInfos"].as_array().unwrap();
        let page = targets.iter().find(|target| target["type"] == "page").expect("a page");
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.tell("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.tell(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    fn spawn(name: &str) -> Browser {
        let dir = tempfile::tempdir().unwrap();
        // The pipe has the descriptors 3 and 4.
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null",
            "sh",
            name,
            "--headless",
            "--remote-debugging-pipe",
        ]);
        command.args([
            "--no-sandbox",
            "--no-zygote",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ]);
        command.args([
            "--disable-background-networking",
            "--disable-extensions",
            "--no-proxy-server",
            "--user-data-dir=profile",
        ]);
        command.arg("about:blank").current_dir(&dir);
        // All that it leaves behind is left here, and all of its processes work here.
        for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] {
            command.env(variable, dir.path());
        }
        let log = File::create(dir.path().join("log")).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let (to, messages) = mpsc::channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                if to.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let requests = child.stdin.take().unwrap();
        Browser { dir, child, requests, messages, number: 0, session: None, events: Vec::new() }
    }

    /// The answer to a request; `None` if the browser has ended.
    fn ask(&mut self, method: &str, params: &Value) -> Option<Value> {
        self.number += 1;
        let number = self.number;
        let mut request = json!({ "id": number, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).ok()?;
        let answer = self.message(method, |message| message["id"] == number)?;
        assert!(answer["error"].is_null(), "{method}: {answer}");
        Some(answer["result"].clone())
    }

    /// The next message that is wanted; `None` if the browser has ended. Events on the way are kept.
    fn message(&mut self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        loop {
            match self.messages.recv_timeout(LONGEST) {
                Ok(message) if is_wanted(&message) => return Some(message),
                Ok(event) => self.events.push(event),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: nothing within {LONGEST:?}"),
            }
        }
    }

    pub(super) fn tell(&mut self, method: &str, params: &Value) -> Value {
        self.ask(method, params).unwrap_or_else(|| panic!("{method}: the browser has ended"))
    }

    /// Makes its window so wide.
    pub(super) fn resize(&mut self, width: u32) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.tell("Emulation.setDeviceMetricsOverride", &size);
    }

    pub(super) fn open(&mut self, url: &str) {
        self.tell("Page.navigate", &json!({ "url": url }));
        let is_there = |event: &Value| {
            event["method"] == "Page.frameNavigated" && event["params"]["frame"]["url"] == url
        };
        if !self.events.iter().any(is_there) {
            self.message(url, is_there).unwrap_or_else(|| panic!("{url}: the browser has ended"));
        }
        self.wait("document.readyState === 'complete'");
    }

    /// The value of an expression.
    #[track_caller]
    pub(super) fn value(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.tell("Runtime.evaluate", &ask);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub(super) fn wait(&mut self, expression: &str) {
        let see = format!(
            "new Promise(done => {{ let left = 4000; const see = () => {{ if ({expression}) done(''); \
             else if (left-- === 0) done(document.body.innerText); else setTimeout(see, 20); }}; see(); }})"
        );
        let seen = self.value(&see);
        assert_eq!(seen, "", "waited in vain for {expression}");
    }

    /// The events of this kind so far.
    pub(super) fn events<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["method"] == method).map(|event| &event["params"])
    }

    /// Has it end, and all of its processes.
    pub(super) fn close(mut self) {
        self.session = None;
        // It may end before it answers.
        let _ = self.ask("Browser.close", &json!({}));
        self.child.wait().unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It has ended unless the test has failed; a process of it may take a little longer.
        let _ = self.child.kill();
        let _ = self.child.wait();
        proc::kill_all(self.dir.path());
    }
}
