//! Backups (docs/protocol.md, 8.3).

use serde_json::{Value, json};

use super::{
    Fault, Layer,
    input::{In, hex},
};
use crate::{
    backup::{self, BackupError},
    crypto::secret::StoreKek,
    keystore::KeyStoreError,
};

pub(super) fn run(op: &str, input: In<'_>) -> Option<Result<Value, Fault>> {
    (op == "backup_open").then(|| open(input))
}

/// Header, commitment and chunks; what is in them are records.
fn open(input: In<'_>) -> Result<Value, Fault> {
    let kek = StoreKek::from_slice(&input.bytes("key")?)?;
    let plaintext = backup::plaintext(&input.bytes("file")?, kek);
    let plaintext = plaintext.map_err(|error| {
        Fault::Layer(match error {
            BackupError::WrongSecret | BackupError::Altered => Layer::Open,
            BackupError::Unlock(KeyStoreError::Cost(_)) => Layer::Rule,
            _ => Layer::Decode,
        })
    })?;
    Ok(json!({"plaintext": hex(plaintext)}))
}
