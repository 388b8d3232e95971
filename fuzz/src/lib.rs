//! What each fuzz target does with its bytes: it reads them as the daemon would, and asserts what must hold whatever they are.
//!
//! The functions need neither libFuzzer nor a nightly compiler: tests/suite/robustness/fuzz_seeds.rs calls them with every file of fuzz/seeds.

use std::{
    fs::File,
    io::Write,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use echod::{
    config::{self, Config, ConfigError, Environment, Inputs, Loaded},
    service::request::RequestAddress,
    stream::proxy::{self, Reading},
};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// What is done with the bytes of one run.
pub type Target = fn(&[u8]);

/// The targets by name; each has a folder of seeds.
pub const TARGETS: &[(&str, Target)] = &[
    ("configuration", configuration),
    ("listener_url", listener_url),
    ("proxy_header", proxy_header),
    ("network_list", network_list),
];

/// The text of a configuration file. A valid one means the same after `--print-config`.
pub fn configuration(bytes: &[u8]) {
    // It would read what this machine has under any name.
    if bytes.windows(7).any(|word| word == b"include") {
        return;
    }
    match load(&Text::new(bytes)) {
        Ok(loaded) => means_the_same_when_printed(&loaded.config),
        Err(error) => is_printable(&error),
    }
}

/// A URL after `--listen`. The URLs of a valid one, as messages show them, lead to the same addresses.
pub fn listener_url(bytes: &[u8]) {
    let Ok(url) = std::str::from_utf8(bytes) else { return };
    if url.contains("include") {
        return;
    }
    let load = |url: &str| config::load_url("--listen", url, &Environment::default());
    match load(url) {
        Ok(loaded) => {
            means_the_same_when_printed(&loaded.config);
            for listener in &loaded.config.listeners {
                for address in &listener.address {
                    let shown = listener.protocol.url(address);
                    let again =
                        load(&shown).unwrap_or_else(|error| panic!("{shown:?} is not read: {error:?}"));
                    assert_eq!(again.config.listeners[0].address, std::slice::from_ref(address), "{shown:?}");
                }
            }
        }
        Err(error) => is_printable(&error),
    }
}

/// The bytes at the beginning of a connection. What is decided stays so, however many more arrive, and it is decided in time. The
/// client that whoami tells is the one that rules and limits see.
pub fn proxy_header(bytes: &[u8]) {
    let decided = proxy::read(bytes);
    // A few hundred pieces: a long header would take its square.
    for end in 0..bytes.len().min(300) {
        let early = proxy::read(&bytes[..end]);
        assert!(early == Reading::Part || early == decided, "{end} bytes are {early:?}, all are {decided:?}");
    }
    match decided {
        Reading::Whole { length, source } => {
            assert!(length <= bytes.len() && length <= proxy::LONGEST);
            assert_eq!(proxy::read(&bytes[..length]), decided);
            assert_eq!(proxy::read(&bytes[..length - 1]), Reading::Part);
            let told = proxy::told(&bytes[..length]);
            assert!(source.is_none_or(|source| told.source == RequestAddress::Inet(source)), "{told:?}");
        }
        Reading::Part => assert!(bytes.len() < proxy::LONGEST),
        Reading::Absent | Reading::Broken => {}
    }
}

/// A file that `allow-include` names. Every network of a valid one has no bits behind its prefix.
pub fn network_list(bytes: &[u8]) {
    let list = Text::new(bytes);
    let toml = format!(
        "[[listener]]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\nallow-include = {:?}\n",
        list.path()
    );
    match load(&Text::new(toml.as_bytes())) {
        Ok(loaded) => {
            let networks = &loaded.config.listeners[0].allow;
            assert!(networks.iter().all(|network| *network == network.trunc()), "{networks:?}");
            means_the_same_when_printed(&loaded.config);
        }
        Err(error) => is_printable(&error),
    }
}

fn load(text: &Text) -> Result<Loaded, ConfigError> {
    let inputs = Inputs { file: Some(text.path()), listen: Vec::new() };
    config::load(&inputs, &Environment::default())
}

fn means_the_same_when_printed(config: &Config) {
    let printed = config.to_toml();
    let again = load(&Text::new(printed.as_bytes()));
    let again = again.unwrap_or_else(|error| panic!("what was printed is not read: {error:?}\n{printed}"));
    assert_eq!(again.config, *config, "{printed}");
}

/// A message ends up on a terminal: nothing in it may be a command to that.
fn is_printable(error: &ConfigError) {
    let text = error.plain();
    assert!(text.starts_with("error: "), "{text}");
    assert!(text.chars().all(|char| char == '\n' || !char.is_control()), "{text:?}");
}

/// A file that is nowhere but in memory.
struct Text(File);

impl Text {
    fn new(bytes: &[u8]) -> Self {
        let mut file = memfd_create("text", MFdFlags::MFD_CLOEXEC).map(File::from).expect("a file in memory");
        file.write_all(bytes).expect("room in memory");
        Self(file)
    }

    fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.0.as_raw_fd().to_string())
    }
}
