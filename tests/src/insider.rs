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
        Bundle, Change, Commit, Context, Core, Document as _, Envelope, GroupHeader, InviteRef, Leaf,
        LeafContent, LeafProof, Leaves, Member, VERSION,
    },
};

use crate::{
    canary::Canaries,
    clock::unix_ms,
    http::{Ask, Http},
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
    rekeyed: (Hash, waxwire_shared::wire::Rekey),
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
    async fn objects(&self, queue: Queue, after: u64) -> anyhow::Result<Vec<Vec<u8>>> {
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

    /// Direct messages in its mail, opened with its key and verified: context and core of each.
    ///
    /// # Errors
    /// One does not open or verify.
    pub async fn mail(&self) -> anyhow::Result<Vec<(Context, Core)>> {
        let mut mail = Vec::new();
        for bytes in self.objects(Queue::Mail, 0).await? {
            let envelope = Envelope::split(&bytes)?;
            let (_, signed) = message::open_direct(&self.secret, envelope.ciphertext)?;
            let verified = UnverifiedMessage::from_message(signed)?.verify()?;
            let (_, context, body) = verified.into_parts();
            ensure!(context.header == envelope.header, "sealed for another header");
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
            let commit = self.stranger.signed(&Commit {
                version: VERSION,
                suite: log.roster.suite(),
                group: Some(log.group),
                position: plan.position,
                previous: plan.previous,
                signer: self.stranger.identity(),
                changes: changes.to_vec(),
                rekey,
                time: unix_ms(),
            });
            let append = Append {
                commit: &commit,
                leaves: &leaves,
            };
            let path = format!("/v1/groups/{}/commits", log.group);
            let ask = self.stranger.request("POST", path).body(append.to_bytes());
            let ask = ask.header("content-type", "application/octet-stream");
            let answer = self.stranger.ask(ask).await?;
            if answer.status != 409 {
                answer.expect_status(201)?;
                return log.apply(&Verified::<Commit>::from_bytes(&commit, |commit| &commit.signer)?);
            }
            self.follow(log).await?;
        }
        anyhow::bail!("the head is always another one")
    }

    /// The key that a member's bundle shows.
    async fn leaf_key(&self, member: &Member) -> anyhow::Result<LeafKey> {
        let path = format!("/v1/agents/{}/bundle", member.handle);
        let ask: Ask = self.stranger.request("GET", path);
        let answer: BundleAnswer = self.stranger.ask(ask).await?.ok()?;
        let bundle = Bundle::decode(&SignedBytes::decode(&answer.bundle.0)?.body)?;
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
        let me = self.stranger.identity();
        let index = log.members.iter().position(|member| member.identity == me);
        let index = u32::try_from(index.context("not in this epoch")?)?;
        let path = format!("/v1/groups/{}/epochs/{}/leaves/{index}", log.group, rekey.epoch);
        let proof = LeafProof::decode(&self.octets(path).await?)?;
        let key: EpochKey = group::adopt(rekey, index, &me, &proof, |_, _| Some(&self.secret))?;
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
            let mut chains = epoch.chains.iter();
            let chain = chains.find(|(id, _)| *id == header.sender);
            let Walk { key, .. } = chain.context("no member")?.1.walk(header.i)?;
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
