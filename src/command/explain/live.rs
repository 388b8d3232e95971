//! `--live`: what the running daemon knows of the client at the moment, and whether it refuses it for that.

use std::time::Duration;

use super::{Case, client::ClientIdentity};
use crate::{
    access::{
        sources::SourceKey,
        state::{AccessState, PeerState, SourceState},
    },
    command::cli,
    observe::{
        explain::{ClientAnswer, ClientQuery},
        fetch,
    },
    report::{
        error::{Exit, Failure},
        refusal_reason::RefusalReason,
    },
};

/// How long the daemon may take to answer: longer than its own time-out.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the daemon says.
pub(super) struct Now {
    /// In one line.
    pub(super) text: String,
    /// Why it refuses the client now.
    pub(super) refusal: Option<String>,
}

/// Asks the daemon.
///
/// # Errors
/// It cannot be asked, or has no such listener.
pub(super) fn ask(case: &Case<'_>, question: &cli::Explain) -> Result<Now, Failure> {
    let name = &case.settings.name;
    let (source, port) = match &case.client {
        ClientIdentity::Inet(ip, port) => (SourceKey::Ip(*ip), *port),
        ClientIdentity::Local { user, .. } => (SourceKey::User(*user), None),
    };
    let query = ClientQuery { source, port, listener: Some(name.clone()) };
    let places = fetch::find(question.config.as_deref(), question.now.address.as_deref())?;
    let answer = places.get(&query.target(), PATIENCE)?;
    let unavailable = |text: String| Failure::new(Exit::Unavailable, text);
    if answer.status != 200 {
        let told = answer.body.lines().next().unwrap_or_default();
        return Err(unavailable(format!(
            "the daemon does not tell of listener \"{name}\" (status {}): {told}; is it another daemon, or was the \
             configuration not reloaded (`kill -HUP`)?",
            answer.status
        )));
    }
    let answer: ClientAnswer = serde_json::from_str(&answer.body).map_err(|error| {
        unavailable(format!("the daemon answers in a way that is not known here: {error}"))
    })?;
    let view = answer.listeners.into_iter().next().ok_or_else(|| {
        unavailable(format!(
            "listener \"{name}\" of the daemon has no such clients; its settings are not those of this configuration: \
             reload it (`kill -HUP`)"
        ))
    })?;
    Ok(Now { text: text(case, &view.state), refusal: refusal(case, &view.state) })
}

/// The state in words.
fn text(case: &Case<'_>, state: &AccessState) -> String {
    let what = if case.settings.protocol.is_stream() { "connections" } else { "datagrams" };
    let mut parts = Vec::new();
    if let Some(SourceState { counted_as, open, requests, bytes, cool_down }) = &state.source {
        if let Some(open) = open {
            parts.push(format!("{} of {} connections open", open.now, open.of));
        }
        if let Some(left) = requests {
            parts.push(format!("bucket {} of {} {what}", left.now, left.of));
        }
        if let Some(left) = bytes {
            parts.push(format!("bucket {} of {} bytes", left.now, left.of));
        }
        if *cool_down > 0.0 {
            parts.push(format!("cooling down for {cool_down:.1} s more"));
        } else if requests.is_some() || bytes.is_some() {
            parts.push("not cooling down".to_owned());
        }
        parts.push(format!("counted as {counted_as}"));
    }
    if let Some(PeerState { victim, run, trusted }) = &state.peer {
        parts.push(match (victim, run) {
            _ if *trusted => "trusted, so never a victim".to_owned(),
            (Some(left), _) => format!("a victim for {left:.1} s more"),
            (None, None) if case.settings.loop_breaker > 0 => {
                "not a victim at all of its ports (ask with a port about one)".to_owned()
            }
            (None, _) => "not a victim".to_owned(),
        });
        if let Some(run) = run.filter(|_| !trusted) {
            parts.push(format!("{} answers in a row, number {} is withheld", run.now, run.of));
        }
    }
    match parts.is_empty() {
        true => "nothing is limited by source".to_owned(),
        false => parts.join(", "),
    }
}

/// Why the next request of the client is refused, if it is.
fn refusal(case: &Case<'_>, state: &AccessState) -> Option<String> {
    let reason = reason(state)?;
    let (name, client) = (&case.settings.name, &case.client);
    Some(format!("listener \"{name}\" refuses {client} at the moment ({reason}): {}", reason.line()))
}

/// In the daemon's order: the rates, the connections, the guard.
fn reason(state: &AccessState) -> Option<RefusalReason> {
    let source = state.source.as_ref();
    let victim = state.peer.as_ref().is_some_and(|peer| peer.victim.is_some() && !peer.trusted);
    if source.is_some_and(|source| source.cool_down > 0.0) {
        Some(RefusalReason::CoolDown)
    } else if source.and_then(|source| source.requests).is_some_and(|left| left.now == 0) {
        Some(RefusalReason::Rate)
    } else if source.and_then(|source| source.open).is_some_and(|open| open.now >= open.of) {
        Some(RefusalReason::SourceFull)
    } else {
        victim.then_some(RefusalReason::Victim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::state::Level;

    #[test]
    fn the_daemon_refuses_now_what_it_would_refuse_first() {
        let level = |now, of| Some(Level { now, of });
        let source = SourceState { open: level(2, 3), requests: level(1, 9), ..SourceState::default() };
        let peer = PeerState { victim: Some(1.0), ..PeerState::default() };
        let state = |source: &SourceState, peer: &PeerState| AccessState {
            source: Some(source.clone()),
            peer: Some(peer.clone()),
        };
        let calm = PeerState::default();
        assert_eq!(reason(&AccessState::default()), None);
        assert_eq!(reason(&state(&source, &calm)), None);
        assert_eq!(reason(&state(&source, &peer)), Some(RefusalReason::Victim));
        assert_eq!(reason(&state(&source, &PeerState { trusted: true, ..peer })), None);
        let full = SourceState { open: level(3, 3), ..source };
        assert_eq!(reason(&state(&full, &calm)), Some(RefusalReason::SourceFull));
        let empty = SourceState { requests: level(0, 9), ..full };
        assert_eq!(reason(&state(&empty, &calm)), Some(RefusalReason::Rate));
        let hot = SourceState { cool_down: 0.1, ..empty };
        assert_eq!(reason(&state(&hot, &calm)), Some(RefusalReason::CoolDown));
    }
}
