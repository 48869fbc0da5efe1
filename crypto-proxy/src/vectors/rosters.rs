//! Roster logs.

use serde_json::{Value, json};
use waxwire_shared::{
    ids::SessionId,
    roster::{Equivocation, Roster},
    sign::Verified,
    wire::{Commit, CutOff},
};

use super::{
    Fault,
    input::{In, hex, number},
};

pub(super) fn run(op: &str, input: In<'_>) -> Option<Result<Value, Fault>> {
    Some(match op {
        "log" => log(input),
        "equivocation" => equivocation(input),
        "cut_off" => cut_off(input),
        _ => return None,
    })
}

fn commits(input: In<'_>) -> Result<Vec<Verified<Commit>>, Fault> {
    let verify = |bytes: &Vec<u8>| Ok(Verified::from_bytes(bytes, |commit: &Commit| &commit.signer)?);
    input.list("commits")?.iter().map(verify).collect()
}

/// A whole log; in invalid cases its last commit is the one that is refused.
fn log(input: In<'_>) -> Result<Value, Fault> {
    let log = input.list("commits")?;
    let mut roster = None;
    for (index, bytes) in log.iter().enumerate() {
        let last = index + 1 == log.len();
        match step(&mut roster, bytes) {
            Err(Fault::Layer(layer)) if !last => {
                return Err(Fault::Case(format!("commit {index} is refused by layer {layer}")));
            }
            other => other?,
        }
    }
    roster
        .map(|roster| shown(&roster))
        .ok_or_else(|| Fault::Case("an empty log".to_owned()))
}

fn step(roster: &mut Option<Roster>, bytes: &[u8]) -> Result<(), Fault> {
    let commit = Verified::from_bytes(bytes, |commit: &Commit| &commit.signer)?;
    match roster {
        Some(roster) => roster.apply(&commit).map(drop)?,
        None => *roster = Some(Roster::create(&commit)?),
    }
    Ok(())
}

fn shown(roster: &Roster) -> Value {
    let members = roster.members().iter().map(|member| {
        json!({
            "identity": hex(member.identity.to_prefixed()),
            "handle": member.handle.as_str(),
            "role": member.role.number(),
            "joined": number(member.joined),
        })
    });
    let invites = roster.invites().map(|invite| {
        json!({
            "commit": hex(invite.reference.commit.as_bytes()),
            "index": invite.reference.index,
            "identity": hex(invite.identity.to_prefixed()),
            "role": invite.role.number(),
        })
    });
    json!({
        "group": hex(roster.group().as_bytes()),
        "position": number(roster.position()),
        "head": hex(roster.head().as_bytes()),
        "epoch": number(roster.epoch()),
        "rekey_commit": hex(roster.rekey_commit().as_bytes()),
        "members": members.collect::<Value>(),
        "invites": invites.collect::<Value>(),
        "join": roster.policy().join.number(),
        "invite_role": roster.policy().invite_role.number(),
        "hard_debt": roster.hard_debt().map(number),
        "soft_debt": roster.soft_debt().map(number),
        "ended": roster.has_ended(),
        "roster_hash": hex(roster.hash().as_bytes()),
    })
}

/// Whether two commits prove a fork.
fn equivocation(input: In<'_>) -> Result<Value, Fault> {
    match commits(input)?.as_slice() {
        [a, b] => Ok(json!({"fork": Equivocation::of(a, b).is_some()})),
        _ => Err(Fault::Case("two commits are needed".to_owned())),
    }
}

/// Whether a message of the departed is still accepted.
fn cut_off(input: In<'_>) -> Result<Value, Fault> {
    let cut_off = CutOff {
        incarnation: input.number("cut_incarnation")?,
        session: SessionId::from_bytes(input.array("cut_session")?),
        n: input.number("cut_n")?,
    };
    let session = SessionId::from_bytes(input.array("session")?);
    let admits = cut_off.admits(input.number("incarnation")?, &session, input.number("n")?);
    Ok(json!({"admits": admits}))
}
