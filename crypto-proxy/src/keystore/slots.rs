//! What lies in each slot (docs/protocol.md, 8.1). Slots with secrets have a fixed layout, so that no
//! growing buffer leaves copies behind; the others are CBOR.
//!
//! ```text
//! 1 identities   count u8 || (role u8 || since u64 || seed 32)...   role 1 current, 2 next, 3 former
//! 2 send id      key 32
//! 3 state        key 32
//! 4 API key      text                                               absent before registration
//! 5 encryption   count u16 || (suite u16 || number u64 || created u64 || flags u8
//!                || superseded u64 || drained u64 || length u16 || secret)...
//!                flags: 1 superseded, 2 drained; the field of a flag that is not set is 0
//! 6 account      {1: handle, 2: relay identity, 3: relay URL, 4: recovery hash}
//! 7 instance     {1: status, 2: incarnation, 3: session, 4: bundle number, 5: bundle hash?}
//!                status 1 new, 2 active, 3 restoring
//! ```

use std::{collections::BTreeMap, fmt};

use waxwire_shared::{
    identity::IdentityKey,
    ids::{Handle, Hash, SessionId},
    suite::Suite,
    wire::{DecodeError, Reader, Wire, Writer},
};
use zeroize::Zeroizing;

use super::{
    EncryptionRecord, FormerIdentity, KeyStoreError, Keys, RelayPin, Status,
    format::{Bytes, Short},
};
use crate::{
    credential::ApiKey,
    crypto::{
        SecretLengthError,
        secret::{EncryptionSecret, IdentitySecret, SendIdKey, StateMasterKey},
    },
};

/// A sealed part of the key store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The identity, the next one, former ones.
    Identities,
    /// The send-id key.
    SendId,
    /// The root of the local database's keys.
    StateMaster,
    /// The API key.
    ApiKey,
    /// Encryption keys.
    Encryption,
    /// Handle, relay, recovery hash.
    Account,
    /// Status, incarnation, session, bundle.
    Instance,
}

impl Slot {
    /// Every slot, in the order of numbers.
    pub(super) const ALL: [Self; 7] = [
        Self::Identities,
        Self::SendId,
        Self::StateMaster,
        Self::ApiKey,
        Self::Encryption,
        Self::Account,
        Self::Instance,
    ];

    /// The number in the file.
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Identities => 1,
            Self::SendId => 2,
            Self::StateMaster => 3,
            Self::ApiKey => 4,
            Self::Encryption => 5,
            Self::Account => 6,
            Self::Instance => 7,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self:?})", self.number())
    }
}

/// Slots that are not of this instance alone.
const PORTABLE: [Slot; 5] = [
    Slot::Identities,
    Slot::SendId,
    Slot::StateMaster,
    Slot::Account,
    Slot::Instance,
];

/// Number and content of a slot, as a backup holds it.
pub type PortableSlot = (u16, Zeroizing<Vec<u8>>);

/// What a backup holds of the keys: numbers and contents of slots, without the API key and without
/// encryption keys.
///
/// # Errors
/// [`KeyStoreError::Malformed`] for more records than a slot can count.
pub fn portable(keys: &Keys) -> Result<Vec<PortableSlot>, KeyStoreError> {
    let mut out = Vec::with_capacity(PORTABLE.len());
    for slot in PORTABLE {
        let content = encode(keys, slot).map_err(|TooMany| KeyStoreError::Malformed { slot })?;
        out.extend(content.map(|content| (slot.number(), content)));
    }
    Ok(out)
}

/// The keys that a backup holds.
///
/// # Errors
/// [`KeyStoreError::Slots`], [`KeyStoreError::Malformed`].
pub fn from_portable(slots: Vec<PortableSlot>) -> Result<Keys, KeyStoreError> {
    let mut contents = BTreeMap::new();
    for (number, content) in slots {
        let slot = PORTABLE.into_iter().find(|slot| slot.number() == number);
        if contents
            .insert(slot.ok_or(KeyStoreError::Slots)?, content)
            .is_some()
        {
            return Err(KeyStoreError::Slots);
        }
    }
    // None of them.
    contents.insert(Slot::Encryption, Zeroizing::new(vec![0, 0]));
    decode(contents).map_err(|slot| KeyStoreError::Malformed { slot })
}

/// The content of a slot is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// More records than a slot can count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

impl From<Short> for Malformed {
    fn from(_: Short) -> Self {
        Self
    }
}

impl From<SecretLengthError> for Malformed {
    fn from(_: SecretLengthError) -> Self {
        Self
    }
}

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

pub(super) type Plaintext = Zeroizing<Vec<u8>>;

const CURRENT: u8 = 1;
const NEXT: u8 = 2;
const FORMER: u8 = 3;

const SUPERSEDED: u8 = 1;
const DRAINED: u8 = 2;

/// The plaintext of a slot; `None` for one that is left out.
pub(super) fn encode(keys: &Keys, slot: Slot) -> Result<Option<Plaintext>, TooMany> {
    Ok(Some(match slot {
        Slot::Identities => identities(keys)?,
        Slot::SendId => exactly(&[keys.send_id.expose_bytes()]),
        Slot::StateMaster => exactly(&[keys.state_master.expose_bytes()]),
        Slot::ApiKey => match &keys.api_key {
            Some(api_key) => exactly(&[api_key.expose_text().as_bytes()]),
            None => return Ok(None),
        },
        Slot::Encryption => encryption(&keys.encryption)?,
        Slot::Account => account(keys),
        Slot::Instance => instance(keys),
    }))
}

/// Keys of all slots that were there.
///
/// # Errors
/// The slot that is missing or does not hold what it should.
pub(super) fn decode(mut contents: BTreeMap<Slot, Plaintext>) -> Result<Keys, Slot> {
    let mut take = |slot| contents.remove(&slot).ok_or(slot);
    let identities = take(Slot::Identities)?;
    let send_id = take(Slot::SendId)?;
    let state_master = take(Slot::StateMaster)?;
    let encryption = take(Slot::Encryption)?;
    let account = take(Slot::Account)?;
    let instance = take(Slot::Instance)?;
    let api_key = take(Slot::ApiKey).ok();

    let Identities {
        current,
        next,
        former,
    } = read_identities(&identities).map_err(|_| Slot::Identities)?;
    let account = read_account(&account).map_err(|_| Slot::Account)?;
    let instance = read_instance(&instance).map_err(|_| Slot::Instance)?;
    let text = |bytes: &Plaintext| {
        let text = std::str::from_utf8(bytes).map_err(|_| Slot::ApiKey)?;
        ApiKey::new(text).map_err(|_| Slot::ApiKey)
    };
    Ok(Keys {
        status: instance.status,
        handle: account.handle,
        relay: account.relay,
        recovery: account.recovery,
        identity: current,
        next_identity: next,
        former_identities: former,
        send_id: SendIdKey::from_slice(&send_id).map_err(|_| Slot::SendId)?,
        state_master: StateMasterKey::from_slice(&state_master).map_err(|_| Slot::StateMaster)?,
        api_key: api_key.as_ref().map(text).transpose()?,
        encryption: read_encryption(&encryption).map_err(|_| Slot::Encryption)?,
        incarnation: instance.incarnation,
        session: instance.session,
        bundle_number: instance.bundle_number,
        bundle: instance.bundle,
    })
}

/// The parts in a buffer of exactly their length.
fn exactly(parts: &[&[u8]]) -> Plaintext {
    Zeroizing::new(parts.concat())
}

fn identities(keys: &Keys) -> Result<Plaintext, TooMany> {
    let current = [(CURRENT, 0, &keys.identity)];
    let next = keys.next_identity.as_ref().map(|secret| (NEXT, 0, secret));
    let former = keys
        .former_identities
        .iter()
        .map(|former| (FORMER, former.since_ms, &former.secret));
    let all: Vec<_> = current.into_iter().chain(next).chain(former).collect();
    let heads: Vec<_> = all
        .iter()
        .map(|(role, since, _)| (*role, u64::to_be_bytes(*since)))
        .collect();
    let count = [u8::try_from(all.len()).map_err(|_| TooMany)?];
    let mut parts: Vec<&[u8]> = vec![&count];
    for ((role, since), (_, _, secret)) in heads.iter().zip(&all) {
        parts.extend([std::slice::from_ref(role), since, secret.expose_seed()]);
    }
    Ok(exactly(&parts))
}

struct Identities {
    current: IdentitySecret,
    next: Option<IdentitySecret>,
    former: Vec<FormerIdentity>,
}

fn read_identities(bytes: &[u8]) -> Result<Identities, Malformed> {
    let mut bytes = Bytes(bytes);
    let (mut current, mut next, mut former) = (None, None, Vec::new());
    for _ in 0..bytes.u8()? {
        let (role, since_ms) = (bytes.u8()?, bytes.u64()?);
        let secret = IdentitySecret::from_slice(bytes.slice(IdentitySecret::LENGTH)?)?;
        match (role, since_ms) {
            (CURRENT, 0) if current.is_none() => current = Some(secret),
            (NEXT, 0) if next.is_none() => next = Some(secret),
            (FORMER, since_ms) => former.push(FormerIdentity { secret, since_ms }),
            _ => return Err(Malformed),
        }
    }
    let current = current.filter(|_| bytes.is_empty()).ok_or(Malformed)?;
    Ok(Identities {
        current,
        next,
        former,
    })
}

/// Length of a record without its secret.
const RECORD: usize = 2 + 8 + 8 + 1 + 8 + 8 + 2;

fn encryption(records: &[EncryptionRecord]) -> Result<Plaintext, TooMany> {
    let count = u16::try_from(records.len()).map_err(|_| TooMany)?;
    let length = 2 + records.len() * (RECORD + EncryptionSecret::LENGTH);
    let mut out = Zeroizing::new(Vec::with_capacity(length));
    out.extend_from_slice(&count.to_be_bytes());
    for record in records {
        let flag = |set: Option<u64>, flag| if set.is_some() { flag } else { 0 };
        out.extend_from_slice(&record.suite.0.to_be_bytes());
        out.extend_from_slice(&record.number.to_be_bytes());
        out.extend_from_slice(&record.created_ms.to_be_bytes());
        out.push(flag(record.superseded_ms, SUPERSEDED) | flag(record.drained_running_ms, DRAINED));
        out.extend_from_slice(&record.superseded_ms.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&record.drained_running_ms.unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&32_u16.to_be_bytes());
        out.extend_from_slice(record.secret.expose_bytes());
    }
    Ok(out)
}

fn read_encryption(bytes: &[u8]) -> Result<Vec<EncryptionRecord>, Malformed> {
    let mut bytes = Bytes(bytes);
    let count = bytes.u16()?;
    let records = (0..count)
        .map(|_| read_record(&mut bytes))
        .collect::<Result<_, _>>()?;
    if bytes.is_empty() {
        Ok(records)
    } else {
        Err(Malformed)
    }
}

fn read_record(bytes: &mut Bytes<'_>) -> Result<EncryptionRecord, Malformed> {
    let suite = Suite(bytes.u16()?);
    let (number, created_ms, flags) = (bytes.u64()?, bytes.u64()?, bytes.u8()?);
    let (superseded, drained) = (bytes.u64()?, bytes.u64()?);
    let length = usize::from(bytes.u16()?);
    let field = |value, flag| match (flags & flag != 0, value) {
        (true, value) => Ok(Some(value)),
        (false, 0) => Ok(None),
        (false, _) => Err(Malformed),
    };
    if flags & !(SUPERSEDED | DRAINED) != 0 || !suite.is_known() {
        return Err(Malformed);
    }
    Ok(EncryptionRecord {
        suite,
        number,
        secret: EncryptionSecret::from_slice(bytes.slice(length)?)?,
        created_ms,
        superseded_ms: field(superseded, SUPERSEDED)?,
        drained_running_ms: field(drained, DRAINED)?,
    })
}

fn account(keys: &Keys) -> Plaintext {
    let mut w = Writer::default();
    w.map(4);
    w.uint(1);
    keys.handle.put(&mut w);
    w.uint(2);
    keys.relay.identity.put(&mut w);
    w.uint(3);
    keys.relay.url.put(&mut w);
    w.uint(4);
    keys.recovery.put(&mut w);
    Zeroizing::new(w.into_bytes())
}

struct Account {
    handle: Handle,
    relay: RelayPin,
    recovery: Hash,
}

fn read_account(bytes: &[u8]) -> Result<Account, DecodeError> {
    let mut r = Reader::new(bytes);
    let mut map = r.map()?;
    let handle = map.required(&mut r, 1)?;
    let identity: IdentityKey = map.required(&mut r, 2)?;
    let url = map.required(&mut r, 3)?;
    let recovery = map.required(&mut r, 4)?;
    map.finish(&mut r)?;
    Ok(Account {
        handle,
        relay: RelayPin { identity, url },
        recovery,
    })
}

fn instance(keys: &Keys) -> Plaintext {
    let status = match keys.status {
        Status::New => 1,
        Status::Active => 2,
        Status::Restoring => 3,
    };
    let mut w = Writer::default();
    w.map(4 + usize::from(keys.bundle.is_some()));
    for (key, value) in [(1, status), (2, keys.incarnation)] {
        w.uint(key);
        w.uint(value);
    }
    w.uint(3);
    keys.session.put(&mut w);
    w.uint(4);
    w.uint(keys.bundle_number);
    if let Some(bundle) = &keys.bundle {
        w.uint(5);
        bundle.put(&mut w);
    }
    Zeroizing::new(w.into_bytes())
}

struct Instance {
    status: Status,
    incarnation: u64,
    session: SessionId,
    bundle_number: u64,
    bundle: Option<Hash>,
}

fn read_instance(bytes: &[u8]) -> Result<Instance, DecodeError> {
    let mut r = Reader::new(bytes);
    let mut map = r.map()?;
    let status = match map.required::<u64>(&mut r, 1)? {
        1 => Status::New,
        2 => Status::Active,
        3 => Status::Restoring,
        _ => return Err(DecodeError::Value { what: "status" }),
    };
    let instance = Instance {
        status,
        incarnation: map.required(&mut r, 2)?,
        session: map.required(&mut r, 3)?,
        bundle_number: map.required(&mut r, 4)?,
        bundle: map.optional(&mut r, 5)?,
    };
    map.finish(&mut r)?;
    Ok(instance)
}
