//! A member of groups without a crypto proxy: raw keys, a verified log, commits of its own. For groups of
//! more members than there can be processes, and for members who do what no proxy does.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use waxwire_proxy::{
    crypto::{
        message,
        secret::{EncryptionPublic, EncryptionSecret, EpochKey},
    },
    group::{self, Chain, LeafKey, Walk},
    rng::OsRng,
};
use waxwire_shared::{
    api::{
        append::Append,
        frames::{Queue, RelayFrame},
        rest::BundleAnswer,
    },
    ids::{AgentId, GroupId, Hash},
    message::UnverifiedMessage,
    roster::{Roster, leaves_root},
    sign::{SignedBytes, Verified},
    suite::Suite,
    wire::{
        Bundle, Change, Commit, Context, Core, Document as _, Envelope, GroupHeader, InviteRef, Kind, Leaf,
        LeafContent, LeafProof, Leaves, Member, MessageBytes, Rekey, VERSION,
    },
};

use crate::{
    canary::Canaries,
    clock::unix_ms,
    http::{Answer, Ask, Http},
    stranger::Stranger,
};

/// How often a commit is built again on another head.
const RACES: usize = 20;

/// An agent whose keys the test has.
#[derive(Debug)]
pub struct Insider {
    /// Its identity and its way to the relay.
    pub stranger: Stranger,
    secret: EncryptionSecret,
}

/// A group's log as far as it was read and verified.
#[derive(Debug, Clone)]
pub struct Log {
    /// The group.
    pub group: GroupId,
    /// Who is in it at the head.
    pub roster: Roster,
    /// Hash of the commit of the latest rekey, and the rekey.
    rekeyed: (Hash, Rekey),
    /// Members that it was made for.
    members: Vec<Arc<Member>>,
}

/// An epoch as a member has adopted it.
#[derive(Debug)]
pub struct Epoch {
    /// Its number.
    pub number: u64,
    /// The chain of each member.
    chains: Vec<(AgentId, Chain)>,
}

impl Epoch {
    /// The chain of a member.
    ///
    /// # Errors
    /// It is none of this epoch.
    pub fn chain_of(&self, member: &AgentId) -> anyhow::Result<&Chain> {
        let mut chains = self.chains.iter();
        let chain = chains.find(|(id, _)| id == member);
        Ok(&chain.context("no member of the epoch")?.1)
    }
}

impl Log {
    fn begin(group: GroupId, commit: &Verified<Commit>) -> anyhow::Result<Self> {
        let roster = Roster::create(commit)?;
        let rekey = commit.body().rekey.clone().context("no first epoch")?;
        Ok(Self {
            group,
            rekeyed: (commit.hash(), rekey),
            members: roster.members().to_vec(),
            roster,
        })
    }

    /// The latest rekey.
    #[must_use]
    pub const fn rekey(&self) -> &Rekey {
        &self.rekeyed.1
    }

    fn apply(&mut self, commit: &Verified<Commit>) -> anyhow::Result<()> {
        self.roster.apply(commit)?;
        if let Some(rekey) = &commit.body().rekey {
            self.rekeyed = (commit.hash(), rekey.clone());
            self.members = self.roster.members().to_vec();
        }
        Ok(())
    }
}

impl Insider {
    /// Fresh keys, registered.
    ///
    /// # Errors
    /// The relay refuses.
    pub async fn registered(http: &Http, handle: &str, canaries: &Canaries) -> anyhow::Result<Self> {
        let secret = EncryptionSecret::generate(&mut OsRng);
        let public = secret.public().as_bytes().to_vec();
        let stranger = Stranger::registered_with(http, handle, canaries, |bundle| {
            for key in &mut bundle.keys {
                key.public.clone_from(&public);
            }
        })
        .await?;
        Ok(Self { stranger, secret })
    }

    async fn octets(&self, path: String) -> anyhow::Result<Vec<u8>> {
        let answer = self.stranger.ask(self.stranger.request("GET", path)).await?;
        answer.expect_status(200)?;
        Ok(answer.body.to_vec())
    }

    /// Objects of a queue after a position, as far as one answer goes.
    ///
    /// # Errors
    /// The relay refuses.
    pub async fn objects(&self, queue: Queue, after: u64) -> anyhow::Result<Vec<Vec<u8>>> {
        let path = format!("/v1/queues/{queue}/envelopes?after={after}&limit=1000");
        let body = self.octets(path).await?;
        let (mut rest, mut objects) = (body.as_slice(), Vec::new());
        while let Some((length, tail)) = rest.split_first_chunk() {
            let (frame, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
            let RelayFrame::Deliver(delivery) = RelayFrame::decode(frame)? else {
                anyhow::bail!("not a delivery");
            };
            objects.push(delivery.object.to_vec());
            rest = tail;
        }
        Ok(objects)
    }

    /// What lies in its mail: kind and signed message of each, opened with its key and not verified.
    ///
    /// # Errors
    /// One does not open.
    pub async fn opened(&self) -> anyhow::Result<Vec<(Kind, MessageBytes)>> {
        let mail = self.objects(Queue::Mail, 0).await?;
        let opened = mail.iter().map(|bytes| {
            let envelope = Envelope::split(bytes)?;
            let (kind, signed) = message::open_direct(&self.secret, envelope.ciphertext)?;
            let context = Context::decode(&signed.context)?;
            ensure!(context.header == envelope.header, "sealed for another header");
            Ok((kind, signed))
        });
        opened.collect()
    }

    /// Direct messages in its mail, opened with its key and verified: context and core of each.
    ///
    /// # Errors
    /// One does not open or verify.
    pub async fn mail(&self) -> anyhow::Result<Vec<(Context, Core)>> {
        let mut mail = Vec::new();
        for (_, signed) in self.opened().await? {
            let verified = UnverifiedMessage::from_message(signed)?.verify()?;
            let (_, context, body) = verified.into_parts();
            let waxwire_shared::message::Body::Content(core) = body else {
                anyhow::bail!("not a message");
            };
            mail.push((context, core));
        }
        Ok(mail)
    }

    /// The log of a group that invites this agent or has it as a member.
    ///
    /// # Errors
    /// The relay does not show it, or a commit of it is not valid.
    pub async fn read_log(&self, group: GroupId) -> anyhow::Result<Log> {
        let first = self.objects(Queue::Log(group), 0).await?;
        let first = first.first().context("an empty log")?;
        let commit = Verified::<Commit>::from_bytes(first, |commit| &commit.signer)?;
        let mut log = Log::begin(group, &commit)?;
        self.follow(&mut log).await?;
        Ok(log)
    }

    /// Reads and verifies what follows.
    ///
    /// # Errors
    /// A commit is not valid.
    pub async fn follow(&self, log: &mut Log) -> anyhow::Result<()> {
        loop {
            // Commit number p stands at position p + 1.
            let after = log.roster.position() + 1;
            let commits = self.objects(Queue::Log(log.group), after).await?;
            if commits.is_empty() {
                return Ok(());
            }
            for bytes in commits {
                log.apply(&Verified::<Commit>::from_bytes(&bytes, |commit| &commit.signer)?)?;
            }
        }
    }

    /// The open invite of this agent.
    ///
    /// # Errors
    /// There is none.
    pub fn invite(&self, log: &Log) -> anyhow::Result<InviteRef> {
        let me = self.stranger.identity();
        let mut invites = log.roster.invites();
        let mine = invites.find(|invite| invite.identity == me);
        Ok(mine.context("no invite")?.reference.clone())
    }

    /// Appends changes without a rekey, wherever the log's head is by then.
    ///
    /// # Errors
    /// The relay refuses.
    pub async fn append(&self, log: &mut Log, changes: &[Change]) -> anyhow::Result<()> {
        self.commit(log, changes, None).await
    }

    /// Appends changes with a rekey in which `spoil` has made of each leaf what it likes.
    ///
    /// # Errors
    /// The relay refuses.
    pub async fn append_with_rekey(
        &self,
        log: &mut Log,
        changes: &[Change],
        spoil: &dyn Fn(&mut Leaf),
    ) -> anyhow::Result<()> {
        self.commit(log, changes, Some(spoil)).await
    }

    async fn commit(
        &self,
        log: &mut Log,
        changes: &[Change],
        spoil: Option<&dyn Fn(&mut Leaf)>,
    ) -> anyhow::Result<()> {
        for _ in 0..RACES {
            let plan = log.roster.plan(&self.stranger.identity(), changes)?;
            let (rekey, leaves) = match spoil {
                None => (None, Vec::new()),
                Some(spoil) => {
                    let mut keys = Vec::new();
                    for member in &plan.members {
                        keys.push(self.leaf_key(member).await?);
                    }
                    let prepared = group::prepare(&mut OsRng, &plan, Suite::CLASSIC, &keys)?;
                    let mut rekey = prepared.rekey;
                    let mut leaves = Leaves::decode(&prepared.leaves)?;
                    for bytes in &mut leaves.leaves {
                        let mut leaf = Leaf::decode(bytes)?;
                        spoil(&mut leaf);
                        *bytes = leaf.encode();
                    }
                    rekey.root = leaves_root(&leaves);
                    (Some(rekey), leaves.encode())
                }
            };
            let commit = self.signed_commit(log, changes, rekey);
            let answer = self.offer(log, &commit, &leaves).await?;
            if answer.status != 409 {
                answer.expect_status(201)?;
                return log.apply(&Verified::<Commit>::from_bytes(&commit, |commit| &commit.signer)?);
            }
            self.follow(log).await?;
        }
        anyhow::bail!("the head is always another one")
    }

    /// A commit of this agent on a log's head, as it travels, whether it is valid or not.
    #[must_use]
    pub fn signed_commit(&self, log: &Log, changes: &[Change], rekey: Option<Rekey>) -> Vec<u8> {
        let (position, previous) = (log.roster.position() + 1, Some(log.roster.head()));
        self.stranger.signed(&Commit {
            version: VERSION,
            suite: log.roster.suite(),
            group: Some(log.group),
            position,
            previous,
            signer: self.stranger.identity(),
            changes: changes.to_vec(),
            rekey,
            time: unix_ms(),
        })
    }

    /// Asks the relay to append a commit with its leaves, whatever comes of it.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn offer(&self, log: &Log, commit: &[u8], leaves: &[u8]) -> anyhow::Result<Answer> {
        let path = format!("/v1/groups/{}/commits", log.group);
        let append = Append { commit, leaves };
        let ask = self.stranger.request("POST", path).body(append.to_bytes());
        self.stranger
            .ask(ask.header("content-type", "application/octet-stream"))
            .await
    }

    /// The newest bundle of an agent, not verified.
    ///
    /// # Errors
    /// The relay shows none.
    pub async fn bundle_of(&self, handle: &str) -> anyhow::Result<Bundle> {
        let ask: Ask = self
            .stranger
            .request("GET", format!("/v1/agents/{handle}/bundle"));
        let answer: BundleAnswer = self.stranger.ask(ask).await?.ok()?;
        Ok(Bundle::decode(&SignedBytes::decode(&answer.bundle.0)?.body)?)
    }

    /// The key that a member's bundle shows.
    async fn leaf_key(&self, member: &Member) -> anyhow::Result<LeafKey> {
        let bundle = self.bundle_of(member.handle.as_str()).await?;
        ensure!(bundle.identity == member.identity, "another identity");
        let key = bundle.keys.first().context("no key")?;
        Ok(LeafKey {
            key: Ok((key.number, key.suite, EncryptionPublic::from_slice(&key.public)?)),
        })
    }

    /// Adopts the latest epoch: fetches the own leaf with its proof, opens it, derives all chains.
    ///
    /// # Errors
    /// docs/protocol.md, 6.5, says which.
    pub async fn adopt(&self, log: &Log) -> anyhow::Result<Epoch> {
        let (commit, rekey) = &log.rekeyed;
        let key = self.epoch_key(log).await?;
        let chains = group::chains(&key, &log.group, rekey.epoch, commit, &log.members);
        let ids = log
            .members
            .iter()
            .map(|member| self.stranger.id_of(&member.identity));
        Ok(Epoch {
            number: rekey.epoch,
            chains: ids.zip(chains).collect(),
        })
    }

    /// The key of the latest epoch, out of the own leaf.
    ///
    /// # Errors
    /// As for [`Self::adopt`].
    pub async fn epoch_key(&self, log: &Log) -> anyhow::Result<EpochKey> {
        let rekey = log.rekey();
        let me = self.stranger.identity();
        let index = log.members.iter().position(|member| member.identity == me);
        let index = u32::try_from(index.context("not in this epoch")?)?;
        let path = format!("/v1/groups/{}/epochs/{}/leaves/{index}", log.group, rekey.epoch);
        let proof = LeafProof::decode(&self.octets(path).await?)?;
        Ok(group::adopt(rekey, index, &me, &proof, |_, _| {
            Some(&self.secret)
        })?)
    }

    /// The contents of the messages of an epoch that the relay gives this member, opened and verified.
    ///
    /// # Errors
    /// One does not open or verify.
    pub async fn read(&self, log: &Log, epoch: &Epoch) -> anyhow::Result<Vec<String>> {
        let mut contents = Vec::new();
        for bytes in self.objects(Queue::Group(log.group), 0).await? {
            let envelope = Envelope::split(&bytes)?;
            let header = GroupHeader::decode(envelope.header)?;
            if header.epoch != epoch.number {
                continue;
            }
            let Walk { key, .. } = epoch.chain_of(&header.sender)?.walk(header.i)?;
            let (_, signed) = message::open_group(&key, envelope.header, envelope.ciphertext)?;
            let verified = UnverifiedMessage::from_message(signed)?.verify()?;
            if let (_, _, waxwire_shared::message::Body::Content(core)) = verified.into_parts() {
                contents.push(String::from_utf8(core.content.to_vec())?);
            }
        }
        Ok(contents)
    }
}

/// A box that nobody opens, in place of what is in a leaf.
pub fn spoil_box(leaf: &mut Leaf) {
    if let LeafContent::Sealed { sealed, .. } = &mut leaf.content
        && let Some(byte) = sealed.last_mut()
    {
        *byte ^= 1;
    }
}
