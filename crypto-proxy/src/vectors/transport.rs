//! Plaintexts, envelopes and frames.

use serde_json::{Value, json};
use waxwire_shared::{
    api::frames::{ClientFrame, Cursor, RelayFrame},
    wire::{Document as _, Envelope, Header, Kind, pad, unpad},
};

use super::{
    Fault, Layer,
    input::{In, hex, number},
};

pub(super) fn run(op: &str, input: In<'_>) -> Option<Result<Value, Fault>> {
    Some(match op {
        "pad" => padded(input),
        "unpad" => unpadded(input),
        "envelope" => envelope(input),
        "client_frame" => client_frame(input),
        "relay_frame" => relay_frame(input),
        _ => return None,
    })
}

fn padded(input: In<'_>) -> Result<Value, Fault> {
    let number = input.small("kind")?;
    let kind = Kind::from_number(number).ok_or(Fault::Layer(Layer::Padding))?;
    Ok(json!({"plaintext": hex(pad(kind, &input.bytes("object")?)?)}))
}

fn unpadded(input: In<'_>) -> Result<Value, Fault> {
    let plaintext = input.bytes("plaintext")?;
    let (kind, object) = unpad(&plaintext)?;
    Ok(json!({"kind": kind.number(), "object": hex(object)}))
}

fn envelope(input: In<'_>) -> Result<Value, Fault> {
    let bytes = input.bytes("bytes")?;
    let envelope = Envelope::split(&bytes)?;
    if envelope.to_bytes() != bytes {
        return Err(Fault::Case("joins to something else".to_owned()));
    }
    let form = match Header::decode(envelope.header)? {
        Header::Direct(_) => "direct",
        Header::Group(_) => "group",
    };
    Ok(json!({
        "form": form,
        "header": hex(envelope.header),
        "ciphertext": hex(envelope.ciphertext),
    }))
}

fn cursor(cursor: &Cursor) -> Value {
    json!({"queue": cursor.queue.to_string(), "position": number(cursor.position)})
}

fn round_trip(same: bool, out: Value) -> Result<Value, Fault> {
    if same {
        Ok(out)
    } else {
        Err(Fault::Case("encodes to something else".to_owned()))
    }
}

fn client_frame(input: In<'_>) -> Result<Value, Fault> {
    let bytes = input.bytes("bytes")?;
    let frame = ClientFrame::decode(&bytes)?;
    let out = match &frame {
        ClientFrame::Send { request, envelope } => {
            json!({"frame": "send", "request": request, "envelope": hex(envelope)})
        }
        ClientFrame::Ack(cursors) => {
            json!({"frame": "ack", "cursors": cursors.iter().map(cursor).collect::<Value>()})
        }
        ClientFrame::Resume(cursors) => {
            json!({"frame": "resume", "cursors": cursors.iter().map(cursor).collect::<Value>()})
        }
        ClientFrame::Transient(envelope) => json!({"frame": "transient", "envelope": hex(envelope)}),
        ClientFrame::Presence { shown } => json!({"frame": "presence", "shown": shown}),
    };
    round_trip(frame.encode() == bytes, out)
}

fn relay_frame(input: In<'_>) -> Result<Value, Fault> {
    let bytes = input.bytes("bytes")?;
    let frame = RelayFrame::decode(&bytes)?;
    let out = match &frame {
        RelayFrame::Stored {
            request,
            repeated,
            envelope_id,
            hash,
        } => json!({
            "frame": "stored",
            "request": request,
            "repeated": repeated,
            "envelope_id": number(*envelope_id),
            "hash": hex(hash.as_bytes()),
        }),
        RelayFrame::Refused {
            request,
            status,
            problem,
        } => json!({"frame": "refused", "request": request, "status": status, "problem": hex(problem)}),
        RelayFrame::Deliver(delivery) => json!({
            "frame": "deliver",
            "cursor": cursor(&delivery.cursor),
            "envelope_id": number(delivery.envelope_id),
            "stored_at": number(delivery.stored_at),
            "object": hex(delivery.object),
        }),
        RelayFrame::Head(head) => json!({"frame": "head", "cursor": cursor(head)}),
        RelayFrame::Lease(lease) => json!({"frame": "lease", "lease": hex(lease)}),
        RelayFrame::Notice { request, notice } => json!({
            "frame": "notice",
            "request": request,
            "backlog": number(notice.backlog),
            "limit": number(notice.allowance.map_or(0, |allowance| allowance.limit)),
            "remaining": number(notice.allowance.map_or(0, |allowance| allowance.remaining)),
            "skipped": notice.skipped.iter().map(|agent| hex(agent.as_bytes())).collect::<Value>(),
        }),
        RelayFrame::Welcome {
            time,
            lineage,
            reaches,
        } => json!({
            "frame": "welcome", "time": number(*time), "lineage": number(*lineage), "reaches": number(*reaches),
        }),
        RelayFrame::Transient(envelope) => json!({"frame": "transient", "envelope": hex(envelope)}),
        RelayFrame::Presence(seen) => json!({
            "frame": "presence",
            "online": seen.online,
            "last_seen": number(seen.last_seen.unwrap_or(0)),
            "handle": seen.handle.as_str(),
        }),
    };
    round_trip(frame.encode() == bytes, out)
}
