//! Messages that no proxy would make: an honest one to begin with, in which everything is the test's choice
//! before it is signed and sealed.

use anyhow::Context as _;
use waxwire_proxy::{
    crypto::{group as group_box, sealed_box, secret::EncryptionPublic},
    group::Walk,
    rng::OsRng,
};
use waxwire_shared::{
    hash::sha256,
    identity::Signature,
    ids::{ConversationId, Hash, Mid, SessionId},
    suite::Suite,
    wire::{
        Context, ControlBody, Core, DirectHeader, Document as _, Envelope, GroupHeader, Kind, Lane,
        MessageBytes, VERSION, pad,
    },
};

use crate::{
    Insider,
    canary::random,
    clock::unix_ms,
    insider::{Epoch, Log},
};

/// The session of everything that insiders write.
const SESSION: SessionId = SessionId::from_bytes([7; 16]);
/// Older than anything that a proxy numbers by.
const INCARNATION: u64 = 1;

/// A direct message before it is signed and sealed.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The header of the envelope.
    pub header: DirectHeader,
    /// For whom it is signed; the header is filled in when it is sealed.
    pub context: Context,
    /// What it says.
    pub core: Core,
    /// The kind in front of the plaintext.
    pub kind: Kind,
    /// Whose key it is sealed to.
    pub sealed_to: EncryptionPublic,
}

/// A message to a group before it is signed and sealed.
#[derive(Debug, Clone)]
pub struct GroupLetter {
    /// The header of the envelope; its sender's chain gives the key.
    pub header: GroupHeader,
    /// What it says.
    pub core: Core,
}

impl Letter {
    /// An envelope that holds a signed message, whoever signed it and for whom.
    ///
    /// # Errors
    /// It does not fit.
    pub fn enclose(&self, signed: &MessageBytes) -> anyhow::Result<Vec<u8>> {
        let plaintext = pad(self.kind, &signed.encode())?;
        let envelope = Envelope {
            header: &self.header.encode(),
            ciphertext: &sealed_box::seal(&mut OsRng, &self.sealed_to, &plaintext),
        };
        Ok(envelope.to_bytes())
    }
}

impl Insider {
    /// An honest first text to an agent.
    ///
    /// # Errors
    /// The relay does not know it.
    pub async fn letter(&self, to: &str, text: &str) -> anyhow::Result<Letter> {
        let bundle = self.bundle_of(to).await?;
        let key = bundle.keys.first().context("no key")?;
        let header = DirectHeader {
            suite: Suite::CLASSIC,
            lane: Lane::Mail,
            to: self.stranger.id_of(&bundle.identity),
            key_number: key.number,
            mid: Mid::from_bytes(random()?),
        };
        let context = Context {
            header: Vec::new(),
            recipient_handle: Some(bundle.handle.clone()),
            recipient: Some(bundle.identity.clone()),
            recipient_key_number: Some(key.number),
            sender_key_number: Some(1),
            sender_bundle: Some(Hash::from_bytes(random()?)),
            log_head: None,
        };
        let conversation = ConversationId::direct(&self.stranger.identity(), &bundle.identity);
        Ok(Letter {
            header,
            context,
            core: self.core(Kind::Direct, conversation, text)?,
            kind: Kind::Direct,
            sealed_to: EncryptionPublic::from_slice(&key.public)?,
        })
    }

    fn core(&self, kind: Kind, conversation: ConversationId, text: &str) -> anyhow::Result<Core> {
        Ok(Core {
            version: VERSION,
            suite: Suite::CLASSIC,
            kind,
            handle: self.stranger.handle.parse()?,
            identity: self.stranger.identity(),
            conversation,
            session: SESSION,
            incarnation: INCARNATION,
            n: 1,
            previous: None,
            void: Vec::new(),
            client_msg_id: format!("id of {text}"),
            time: unix_ms(),
            expires: None,
            ack: None,
            message_type: "text".to_owned(),
            content: serde_json::json!({ "text": text }).to_string().into_bytes(),
            metadata: None,
            reply_to: None,
            attachments: None,
        })
    }

    /// Signs and seals a letter as it is.
    ///
    /// # Errors
    /// It does not fit.
    pub fn seal(&self, letter: &Letter) -> anyhow::Result<Vec<u8>> {
        let context = Context {
            header: letter.header.encode(),
            ..letter.context.clone()
        };
        letter.enclose(&self.sign(letter.core.kind, &context, letter.core.encode()))
    }

    /// A control message to an agent, in the conversation with it.
    ///
    /// # Errors
    /// The relay does not know it, or it does not fit.
    pub async fn note(&self, to: &str, kind: Kind, body: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let mut letter = self.letter(to, "").await?;
        letter.kind = kind;
        letter.header.lane = kind.direct_lane().context("not for agents")?;
        letter.context.header = letter.header.encode();
        let body = self.control(kind, letter.core.conversation, body)?;
        letter.enclose(&self.sign(kind, &letter.context, body.encode()))
    }

    fn control(
        &self,
        kind: Kind,
        conversation: ConversationId,
        body: Vec<u8>,
    ) -> anyhow::Result<ControlBody> {
        Ok(ControlBody {
            version: VERSION,
            suite: Suite::CLASSIC,
            kind,
            handle: self.stranger.handle.parse()?,
            identity: self.stranger.identity(),
            conversation,
            session: SESSION,
            incarnation: INCARNATION,
            time: unix_ms(),
            body,
        })
    }

    fn sign(&self, kind: Kind, context: &Context, core: Vec<u8>) -> MessageBytes {
        let context = context.encode();
        let hashes = MessageBytes::signed_hashes(&context, &core);
        let signature = Signature::new(self.stranger.sign(MessageBytes::label(kind), &hashes));
        MessageBytes {
            context,
            core,
            signature,
        }
    }

    /// An honest text to a group under an epoch, the first of this agent in it.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn group_letter(&self, log: &Log, epoch: &Epoch, text: &str) -> anyhow::Result<GroupLetter> {
        let header = GroupHeader {
            suite: Suite::CLASSIC,
            mid: Mid::from_bytes(random()?),
            group: log.group,
            epoch: epoch.number,
            roster_head: log.roster.head(),
            sender: self.stranger.id(),
            i: 0,
        };
        let conversation = ConversationId::group(&log.group);
        let core = self.core(Kind::Group, conversation, text)?;
        Ok(GroupLetter { header, core })
    }

    /// Signs and seals a message to a group as it is.
    ///
    /// # Errors
    /// The header's sender has no chain in the epoch, or it does not fit.
    pub fn seal_group(&self, letter: &GroupLetter, epoch: &Epoch) -> anyhow::Result<Vec<u8>> {
        self.seal_in_group(&letter.header, epoch, letter.core.kind, letter.core.encode())
    }

    /// A control message to a group, with a header like that of a message.
    ///
    /// # Errors
    /// As [`Self::seal_group`].
    pub fn group_note(
        &self,
        header: &GroupHeader,
        epoch: &Epoch,
        kind: Kind,
        body: Vec<u8>,
    ) -> anyhow::Result<Vec<u8>> {
        let body = self.control(kind, ConversationId::group(&header.group), body)?;
        self.seal_in_group(header, epoch, kind, body.encode())
    }

    fn seal_in_group(
        &self,
        header: &GroupHeader,
        epoch: &Epoch,
        kind: Kind,
        core: Vec<u8>,
    ) -> anyhow::Result<Vec<u8>> {
        let Walk { key, .. } = epoch.chain_of(&header.sender)?.walk(header.i)?;
        let header = header.encode();
        let context = Context {
            header: header.clone(),
            recipient_handle: None,
            recipient: None,
            recipient_key_number: None,
            sender_key_number: None,
            sender_bundle: None,
            log_head: None,
        };
        let plaintext = pad(kind, &self.sign(kind, &context, core).encode())?;
        let envelope = Envelope {
            header: &header,
            ciphertext: &group_box::seal(&mut OsRng, key, &header, &plaintext),
        };
        Ok(envelope.to_bytes())
    }

    /// Sends an envelope by the relay, which must store it.
    ///
    /// # Errors
    /// It does not.
    pub async fn post(&self, envelope: &[u8]) -> anyhow::Result<()> {
        self.stranger.store(envelope).await
    }
}

/// The `mid` and hash by which an envelope is reported.
///
/// # Errors
/// It is no direct envelope.
pub fn report_of(envelope: &[u8]) -> anyhow::Result<(Mid, Hash)> {
    let header = DirectHeader::decode(Envelope::split(envelope)?.header)?;
    Ok((header.mid, sha256(envelope)))
}
