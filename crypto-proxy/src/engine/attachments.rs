//! Own attachments: keys for them, how far they are, and citing them in messages. Their bytes never come
//! here; what becomes of them is the business of [`crate::attachments`].

use waxwire_shared::{
    ids::{BlobId, Hash, Nonce32},
    wire::{AttachmentRef, sealed_length},
};

use super::{Engine, Reply};
use crate::{
    crypto::{attachment, secret::AttachmentKey},
    model::{AttachmentId, NewUpload, Refusal, SendRequest, UnixMs, Upload, UploadStage},
    state::StateError,
};

const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// How long an upload may take; as long as relays keep one that is unfinished.
pub const UPLOAD_MS: u64 = DAY_MS;
/// How long an attachment may be cited: relays delete it a day later.
const CITED_MS: u64 = 29 * DAY_MS;
/// How long own attachments are remembered.
const REMEMBERED_MS: u64 = 90 * DAY_MS;

/// What the local API wants of own attachments.
#[derive(Debug, Clone)]
pub enum AttachmentCommand {
    /// Note one that will come; answered by [`Reply::Upload`].
    Begin(NewUpload),
    /// Forget what was sealed of it and take another key; answered by [`Reply::Upload`].
    BeginAgain(AttachmentId),
    /// All of it is sealed and has this hash; answered by [`Reply::Upload`].
    Sealed(AttachmentId, Hash),
    /// The relay has all of it; answered by [`Reply::Upload`].
    Stored(AttachmentId),
}

impl Engine {
    pub(super) fn attachment_command(
        &mut self,
        command: AttachmentCommand,
        now: UnixMs,
    ) -> Result<Result<Reply, Refusal>, StateError> {
        let (id, stage) = match &command {
            AttachmentCommand::Begin(new) => return self.begin_upload(new, now),
            AttachmentCommand::BeginAgain(id) => (*id, UploadStage::Open),
            AttachmentCommand::Sealed(id, _) => (*id, UploadStage::Sealed),
            AttachmentCommand::Stored(id) => (*id, UploadStage::Stored),
        };
        let Some(mut upload) = self.store.upload(&id, now.saturating_sub(UPLOAD_MS))? else {
            return Ok(Err(Refusal::AttachmentNotFound));
        };
        // Bytes under a key that is out are never sealed again, and only what is sealed can be stored.
        let may_follow = match stage {
            UploadStage::Open => upload.stage < UploadStage::Stored,
            UploadStage::Sealed => upload.stage == UploadStage::Open,
            UploadStage::Stored => upload.stage >= UploadStage::Sealed,
        };
        if !may_follow {
            return Ok(Err(Refusal::AttachmentNotFound));
        }
        match command {
            AttachmentCommand::BeginAgain(_) => upload.reference = self.fresh(upload.reference),
            AttachmentCommand::Sealed(_, hash) => upload.reference.ciphertext_hash = hash,
            _ => {}
        }
        upload.stage = stage;
        self.store.put_upload(&mut *self.rng, &upload, now)?;
        Ok(Ok(Reply::Upload(Box::new(upload))))
    }

    fn begin_upload(&mut self, new: &NewUpload, now: UnixMs) -> Result<Result<Reply, Refusal>, StateError> {
        let Some(ciphertext_length) = sealed_length(new.size) else {
            return Ok(Err(Refusal::Invalid("the attachment is too large")));
        };
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        let blank = AttachmentRef {
            blob: BlobId::from_bytes([0; 16]),
            key: Nonce32::from_bytes([0; 32]),
            nonce_prefix: Vec::new(),
            ciphertext_hash: Hash::from_bytes([0; 32]),
            ciphertext_length,
            length: new.size,
            filename: new.filename.clone(),
            content_type: new.content_type.clone(),
        };
        let upload = Upload {
            id: AttachmentId::upload(id),
            reference: self.fresh(blank),
            sha256: new.sha256,
            stage: UploadStage::Open,
        };
        let forget = (
            now.saturating_sub(REMEMBERED_MS),
            now.saturating_sub(2 * UPLOAD_MS),
        );
        self.store
            .begin_upload(&mut *self.rng, &upload, &new.ticket, forget, now)?;
        Ok(Ok(Reply::Upload(Box::new(upload))))
    }

    /// The same attachment under a random key, nonce prefix and blob id.
    fn fresh(&mut self, reference: AttachmentRef) -> AttachmentRef {
        let key = AttachmentKey::generate(&mut *self.rng);
        let mut blob = [0; 16];
        let mut nonce_prefix = vec![0; attachment::PREFIX];
        self.rng.fill_bytes(&mut blob);
        self.rng.fill_bytes(&mut nonce_prefix);
        AttachmentRef {
            blob: BlobId::from_bytes(blob),
            key: Nonce32::from_bytes(*key.expose_bytes()),
            nonce_prefix,
            ciphertext_hash: Hash::from_bytes([0; 32]),
            ..reference
        }
    }

    /// Why a message may not cite what it names.
    pub(super) fn check_cited(
        &self,
        request: &SendRequest,
        now: UnixMs,
    ) -> Result<Result<(), Refusal>, StateError> {
        let Some(id) = &request.attachment else {
            return Ok(Ok(()));
        };
        let upload = self.store.upload(id, now.saturating_sub(CITED_MS))?;
        Ok(match upload.map(|upload| upload.stage) {
            None => Err(Refusal::AttachmentNotFound),
            Some(UploadStage::Stored) => Ok(()),
            Some(_) => Err(Refusal::AttachmentIncomplete),
        })
    }

    /// What a message cites. It was checked when the message was asked for.
    pub(super) fn cited(&self, request: &SendRequest) -> Result<Option<Vec<AttachmentRef>>, StateError> {
        let Some(id) = &request.attachment else {
            return Ok(None);
        };
        let upload = self.store.upload(id, 0)?;
        Ok(upload.map(|upload| vec![upload.reference]))
    }
}
