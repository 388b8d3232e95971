//! Users and groups: their names or numbers, looked up on this machine.

use std::fmt;

use nix::unistd::{Group, User};

use super::{
    Owner,
    diagnostic::Diagnostic,
    keys::{Ask, Form, List, Notation},
    misfit::Found,
    quoted,
};

pub(super) const USERS: List<Owner> = List {
    example: "root",
    read: |name| owner(name, "user", user_id),
    write: |owner| owner.name.clone(),
    empty: Some(names_nobody),
};

pub(super) const GROUPS: List<Owner> = List {
    example: "adm",
    read: |name| owner(name, "group", group_id),
    write: |owner| owner.name.clone(),
    empty: Some(names_nobody),
};

fn names_nobody(key: &str) -> Diagnostic {
    let help = "write names or numbers, or take it out to let everybody in";
    Diagnostic::new(format!("`{key}` names nobody"), help)
}

pub(super) const USER: Notation<Option<Owner>> = Notation {
    form: Form::Owner,
    read: |ask| one_owner(ask, "user", user_id),
    write: |owner| owner.as_ref().map(|owner| owner.name.clone().into()),
};

pub(super) const GROUP: Notation<Option<Owner>> = Notation {
    form: Form::Owner,
    read: |ask| one_owner(ask, "group", group_id),
    write: |owner| owner.as_ref().map(|owner| owner.name.clone().into()),
};

fn user_id(name: &str) -> nix::Result<Option<u32>> {
    User::from_name(name).map(|found| found.map(|user| user.uid.as_raw()))
}

fn group_id(name: &str) -> nix::Result<Option<u32>> {
    Group::from_name(name).map(|found| found.map(|group| group.gid.as_raw()))
}

fn one_owner(
    ask: &Ask<'_>,
    kind: &str,
    look_up: fn(&str) -> nix::Result<Option<u32>>,
) -> Result<Option<Owner>, Diagnostic> {
    match (ask.found(), ask.raw.as_integer()) {
        (Found::Text(name), _) => owner(name, kind, look_up).map(Some),
        (_, Some(number)) => owner(&number.to_string(), kind, look_up).map(Some),
        (Found::Switch(switch), _) => Err(Diagnostic::new(
            format!("a {kind} cannot be `{switch}`"),
            format!("write the name in quotes, or the number of a {kind} of this machine"),
        )),
        _ => Err(ask.misfit()),
    }
}

/// A number is taken as it is: it need not have a name on this machine.
fn owner(name: &str, kind: &str, look_up: fn(&str) -> nix::Result<Option<u32>>) -> Result<Owner, Diagnostic> {
    // The highest number means "leave as it is" to chown(2).
    let number = name.parse::<u32>().ok().filter(|id| *id != u32::MAX);
    let unknown = |what: &dyn fmt::Display| {
        Diagnostic::new(
            format!("there is no {kind} {}{what}", quoted(name)),
            format!("write the name or number of a {kind} of this machine"),
        )
    };
    // A zero byte cannot be looked up, and would end the daemon in nix.
    if name.is_empty() || name.contains('\0') {
        return Err(unknown(&""));
    }
    match number.map_or_else(|| look_up(name), |id| Ok(Some(id))) {
        Ok(Some(id)) => Ok(Owner { name: name.to_owned(), id }),
        Ok(None) => Err(unknown(&"")),
        Err(errno) => Err(unknown(&format_args!(": {}", errno.desc()))),
    }
}
