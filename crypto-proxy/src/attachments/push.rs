//! A sealed upload goes to the relay, on from where the relay has it.

use std::io::SeekFrom;

use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};
use waxwire_shared::{
    api::{
        blobs::{BlobAnswer, BlobRequest},
        problem::Problem,
    },
    wire::AttachmentRef,
};

use super::{AttachmentError, Attachments, PART, Patience, is_passing};
use crate::{fault, link::CallError, model::Upload};

impl Attachments {
    /// Gives the relay what it lacks of a sealed upload. What it is given is the same whatever it says that it
    /// has, so it may be given again.
    ///
    /// # Errors
    /// [`AttachmentError`]; the upload can go on later.
    pub async fn push(&self, upload: &Upload) -> Result<(), AttachmentError> {
        let reference = &upload.reference;
        let mut file = File::open(self.spool_file(&upload.id)).await?;
        let mut patience = Patience::new();
        let mut furthest = 0;
        let mut known: Option<u64> = None;
        loop {
            let answer = match known {
                None => self.ask(reference).await,
                Some(offset) => self.give(&mut file, reference, offset).await?,
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) if is_passing(&error) || is_elsewhere(&error) => {
                    known = None;
                    patience.pause().await?;
                    continue;
                }
                Err(error) => return Err(refused(error)),
            };
            if answer.complete {
                return Ok(());
            }
            if answer.offset > reference.ciphertext_length {
                return Err(AttachmentError::Refused);
            }
            if answer.offset > furthest {
                furthest = answer.offset;
                patience.renew();
            } else if known.is_some() {
                patience.pause().await?;
            }
            known = Some(answer.offset);
        }
    }

    async fn ask(&self, reference: &AttachmentRef) -> Result<BlobAnswer, CallError> {
        let request = BlobRequest {
            blob_id: reference.blob,
            length: reference.ciphertext_length,
        };
        self.client.begin_blob(&request).await
    }

    async fn give(
        &self,
        file: &mut File,
        reference: &AttachmentRef,
        offset: u64,
    ) -> Result<Result<BlobAnswer, CallError>, AttachmentError> {
        let left = reference.ciphertext_length - offset;
        let mut part = vec![0; usize::try_from(left).unwrap_or(PART).min(PART)];
        file.seek(SeekFrom::Start(offset)).await?;
        file.read_exact(&mut part).await?;
        let answer = self
            .client
            .append_blob(&reference.blob, offset, part.into())
            .await;
        fault::point("upload.part");
        Ok(answer)
    }

    /// Has the relay forget a blob that nobody will cite. It does so by itself a day later.
    pub async fn withdraw(&self, reference: &AttachmentRef) {
        if let Err(error) = self.client.delete_blob(&reference.blob).await {
            tracing::debug!(%error, "an abandoned upload stays at the relay");
        }
    }
}

/// Whether the relay has another part of it than was believed.
fn is_elsewhere(error: &CallError) -> bool {
    matches!(error, CallError::Problem(problem) if problem.offset.is_some())
}

fn refused(error: CallError) -> AttachmentError {
    match error {
        CallError::Problem(problem) => match *problem {
            Problem {
                limit: Some(limit), ..
            } => AttachmentError::Quota {
                limit: limit.name,
                max: limit.max,
                actual: limit.actual,
            },
            _ => AttachmentError::Refused,
        },
        _ => AttachmentError::Unreachable,
    }
}
