//! Text that people, files and relays give.

use std::{fmt::Display, str::FromStr};

use waxwire_proxy::{
    api::{ApiToken, ListenAddr},
    crypto::recovery::RecoverySecret,
    hook::HookSecret,
    json::{self, Members},
    link::RelayUrl,
    model::{AttachmentId, DeliveryId, InviteId, LocalConversation, MessageId, WebhookId},
    webhooks::AllowedHost,
};
use waxwire_shared::{
    api::frames::Queue,
    code::IdentityCode,
    fingerprint::{Address, Fingerprint},
    hook,
    ids::{AgentId, Handle, Mid},
    reach::is_disguised_address,
    target::Target,
};

use crate::feed::Feed;

table! {
    "handle" => canonical::<Handle>,
    "fingerprint" => stable::<Fingerprint>,
    "agent_id" => canonical::<AgentId>,
    "mid" => canonical::<Mid>,
    "queue" => canonical::<Queue>,
    "address" => address,
    "identity_code" => stable::<IdentityCode>,
    "relay_url" => relay_url,
    "target_url" => target_url,
    "allowed_host" => allowed_host,
    "listen_address" => listen_address,
    "local_ids" => local_ids,
    "api_token" => api_token,
    "hook_secret" => hook_secret,
    "hook_signature" => hook_signature,
    "recovery_text" => recovery_text,
    "json" => json_text,
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// What is read from text is shown as that text: there is one way to write it.
fn canonical<T: FromStr + Display>(bytes: &[u8]) -> bool {
    let Some(Ok(value)) = text(bytes).map(T::from_str) else {
        return false;
    };
    assert_eq!(value.to_string().as_bytes(), bytes);
    true
}

/// What is read from text and shown is read as the same: forms for people fold case or space.
fn stable<T: FromStr + Display + PartialEq>(bytes: &[u8]) -> bool {
    let Some(Ok(value)) = text(bytes).map(T::from_str) else {
        return false;
    };
    assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value));
    true
}

fn address(bytes: &[u8]) -> bool {
    let Some(Ok(address)) = text(bytes).map(Address::from_str) else {
        return false;
    };
    let shown = match &address.fingerprint {
        Some(fingerprint) => format!("{}#{fingerprint}", address.handle),
        None => address.handle.to_string(),
    };
    assert!(shown.parse::<Address>().is_ok_and(|again| again == address));
    true
}

/// A relay on another machine is spoken to over TLS, and what is shown of a relay leads to it.
fn relay_url(bytes: &[u8]) -> bool {
    let Some(Ok(url)) = text(bytes).map(|text| RelayUrl::parse(text, true)) else {
        return false;
    };
    let again = RelayUrl::parse(&url.to_string(), true).unwrap();
    assert_eq!(again.to_string(), url.to_string());
    assert_eq!(again.is_tls(), url.is_tls());
    if !url.is_tls() && RelayUrl::parse(&url.to_string(), false).is_ok() {
        let host = url.to_string();
        let local = ["localhost", "127.", "[::1]"];
        assert!(
            local.iter().any(|name| host["http://".len()..].starts_with(name)),
            "{host}"
        );
    }
    true
}

/// Where a webhook is called cannot be read in another way by whoever calls it.
fn target_url(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else {
        return false;
    };
    let _ = is_disguised_address(text);
    let Ok(target) = Target::parse(text) else {
        return false;
    };
    let scheme = if target.is_tls() { "https" } else { "http" };
    let again = format!("{scheme}://{}{}", target.authority(), target.path());
    assert_eq!(Target::parse(&again).as_ref(), Ok(&target), "{again}");
    assert!(!target.authority().contains('@') && target.path().starts_with('/'));
    assert!(target.path().bytes().all(|byte| byte.is_ascii_graphic()));
    true
}

fn allowed_host(bytes: &[u8]) -> bool {
    text(bytes).is_some_and(|text| text.parse::<AllowedHost>().is_ok())
}

fn listen_address(bytes: &[u8]) -> bool {
    text(bytes).is_some_and(|text| text.parse::<ListenAddr>().is_ok())
}

fn local_ids(bytes: &[u8]) -> bool {
    let accepted = [
        canonical::<MessageId>(bytes),
        canonical::<LocalConversation>(bytes),
        canonical::<DeliveryId>(bytes),
        canonical::<InviteId>(bytes),
        canonical::<AttachmentId>(bytes),
        canonical::<WebhookId>(bytes),
    ];
    accepted.contains(&true)
}

fn api_token(bytes: &[u8]) -> bool {
    let Some(line) = text(bytes) else {
        return false;
    };
    let Ok(token) = ApiToken::parse(line) else {
        return false;
    };
    let shown = line.trim_end_matches(['\r', '\n']);
    assert!(token.matches(shown.as_bytes()) && !token.matches(&shown.as_bytes()[1..]));
    assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()));
    true
}

fn hook_secret(bytes: &[u8]) -> bool {
    text(bytes).is_some_and(|text| HookSecret::parse(text).is_ok())
}

/// A header and a body: only what the secret's holder signed is heeded.
fn hook_signature(bytes: &[u8]) -> bool {
    const SECRET: &[u8] = b"a secret of a hook";
    let mut feed = Feed(bytes);
    let Some(header) = text(feed.part()) else {
        return false;
    };
    let body = feed.0;
    let Ok(digest) = hook::verify(SECRET, header, body, 1_800_000_000) else {
        return false;
    };
    let signed = (0..=600).map(|age| hook::sign(SECRET, 1_800_000_000 + 300 - age, body));
    let digest = hex::encode(digest);
    assert!(signed.into_iter().any(|header| header.ends_with(&digest)));
    true
}

fn recovery_text(bytes: &[u8]) -> bool {
    let Some(Ok(secret)) = text(bytes).map(RecoverySecret::parse) else {
        return false;
    };
    let again = RecoverySecret::parse(&secret.expose_text()).unwrap();
    assert_eq!(again.public(), secret.public());
    true
}

/// JSON of agents and peers: the strict reader takes less than a common one and carries the same meaning.
fn json_text(bytes: &[u8]) -> bool {
    let Ok(compact) = json::compact(bytes) else {
        return false;
    };
    assert_eq!(json::compact(compact.as_bytes()).as_deref(), Ok(compact.as_str()));
    assert_eq!(Members::of(&compact).is_some(), compact.starts_with('{'));
    // Numbers are carried as text, so they may be larger than the common reader's.
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&compact).unwrap(),
            value
        );
    }
    true
}
