//! Plans for the tests of this room.

use crate::config::{Environment, FaultPlan, Inputs, load};

/// The first plan of a configuration.
pub(crate) fn plan(toml: &str) -> FaultPlan {
    let file = tempfile::NamedTempFile::new().unwrap();
    let listener = "[[listener]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:0\"\n";
    std::fs::write(file.path(), format!("{toml}{listener}")).unwrap();
    let inputs = Inputs { file: Some(file.path().to_owned()), listen: Vec::new() };
    (*load(&inputs, &Environment::default()).unwrap().config.faults[0]).clone()
}

/// A plan with these keys and seed 42.
pub(crate) fn plan_of(keys: &str) -> FaultPlan {
    plan(&format!("[[faults]]\nname = \"wifi\"\nseed = 42\n{keys}\n"))
}
