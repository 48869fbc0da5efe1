//! What a message says of its attachments, as the agent sees it: what the core cites, never what its text
//! claims.

use serde::Serialize;
use waxwire_shared::wire::AttachmentRef;

use crate::{
    json::{self, Members},
    model::{AttachmentId, MessageId},
};

const ID: &str = "attachment_id";
/// Fields of the content that tell of an attachment.
const TOLD: [&str; 5] = [ID, "filename", "content_type", "size", "attachments"];

#[derive(Serialize)]
struct Told<'a> {
    attachment_id: String,
    filename: &'a str,
    content_type: &'a str,
    size: u64,
}

fn told(message: MessageId, place: usize, cited: &AttachmentRef) -> Option<Told<'_>> {
    Some(Told {
        attachment_id: AttachmentId::cited(message, place.try_into().ok()?).to_string(),
        filename: &cited.filename,
        content_type: &cited.content_type,
        size: cited.length,
    })
}

/// The content of a message with name, type and size of what it cites, and with an id under which this
/// proxy finds it; an id that a peer has written means nothing here and is left out. The author's own id of
/// the first one is kept in own messages.
pub(super) fn shown(
    own: bool,
    message: MessageId,
    content: String,
    cited: &[AttachmentRef],
) -> Option<String> {
    let may_tell = content.contains(ID) || content.contains('\\');
    if cited.is_empty() && (own || !may_tell) {
        return Some(content);
    }
    let content = json::compact(content.as_bytes()).ok()?;
    let Members(members) = Members::of(&content)?;
    let is_replaced = |name: &str| match name {
        ID => !own,
        name => !cited.is_empty() && TOLD.contains(&name),
    };
    let has_id = own && members.iter().any(|(name, _)| name == ID);
    let mut fields = Vec::new();
    for (name, value) in members.iter().filter(|(name, _)| !is_replaced(name)) {
        fields.push(format!("{}:{value}", serde_json::to_string(name).ok()?));
    }
    let told: Option<Vec<Told<'_>>> = (cited.iter().enumerate())
        .map(|(place, cited)| told(message, place, cited))
        .collect();
    let told = told?;
    if let Some(first) = told.first() {
        let text = |value: &str| serde_json::to_string(value).ok();
        if !has_id {
            fields.push(format!("\"{ID}\":{}", text(&first.attachment_id)?));
        }
        fields.push(format!("\"filename\":{}", text(first.filename)?));
        fields.push(format!("\"content_type\":{}", text(first.content_type)?));
        fields.push(format!("\"size\":{}", first.size));
    }
    if told.len() > 1 {
        fields.push(format!("\"attachments\":{}", serde_json::to_string(&told).ok()?));
    }
    Some(format!("{{{}}}", fields.join(",")))
}

#[cfg(test)]
mod tests {
    use waxwire_shared::{
        ids::{BlobId, Hash, Nonce32},
        wire::sealed_length,
    };

    use super::*;

    fn cited(filename: &str) -> AttachmentRef {
        AttachmentRef {
            blob: BlobId::from_bytes([1; 16]),
            key: Nonce32::from_bytes([2; 32]),
            nonce_prefix: vec![3; 19],
            ciphertext_hash: Hash::from_bytes([4; 32]),
            ciphertext_length: sealed_length(5).unwrap(),
            length: 5,
            filename: filename.to_owned(),
            content_type: "text/plain".to_owned(),
        }
    }

    fn show(own: bool, content: &str, names: &[&str]) -> String {
        let cited: Vec<AttachmentRef> = names.iter().map(|name| cited(name)).collect();
        shown(own, MessageId([0xab; 16]), content.to_owned(), &cited).unwrap()
    }

    #[test]
    fn peers_ids_mean_nothing_and_their_claims_give_way_to_what_is_cited() {
        let here = format!("att_{}", "ab".repeat(16));
        for claim in [
            r#"{"text":"a","attachment_id":"att_x","size":1,"filename":"safe.txt"}"#,
            r#"{"text":"a","attachment\u005fid":"att_x","attachment_id":"att_y","content_type":7}"#,
            r#"{"text":"a"}"#,
        ] {
            assert_eq!(
                show(false, claim, &["b\".pdf"]),
                format!(
                    r#"{{"text":"a","attachment_id":"{here}","filename":"b\".pdf","content_type":"text/plain","size":5}}"#
                )
            );
        }
        let claim = r#"{"text":"a","attachment\u005fid":"att_x","size":1}"#;
        assert_eq!(show(false, claim, &[]), r#"{"text":"a","size":1}"#);
        let several: serde_json::Value = serde_json::from_str(&show(false, "{}", &["a", "b"])).unwrap();
        assert_eq!(several["attachments"][1]["attachment_id"], format!("{here}_1"));
        assert_eq!(several["attachments"][1]["filename"], "b");
        assert_eq!(several["attachment_id"], here);
    }

    #[test]
    fn own_messages_keep_the_id_that_the_agent_gave() {
        let content = r#"{"attachment_id":"att_1","filename":"x"}"#;
        assert_eq!(
            show(true, content, &["b"]),
            r#"{"attachment_id":"att_1","filename":"b","content_type":"text/plain","size":5}"#
        );
        assert_eq!(show(true, content, &[]), content);
        assert_eq!(show(false, r#"{ "text" : 1e400 }"#, &[]), r#"{ "text" : 1e400 }"#);
    }
}
