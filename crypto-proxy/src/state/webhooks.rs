//! Webhooks, what they are still to be told, and what they could not be told.
//!
//! What waits for a webhook is a queue: `turn` orders it, only its head is tried, and what is given up
//! stays as a dead letter. A message is kept once, in its own row; everything else is sealed here.

use rand_core::CryptoRng;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ColumnKeys, Reader, StateError, Store, from_sql, to_sql, views};
use crate::model::{
    DeadLetter, DeadLetterPage, DeliveryId, HookCall, HookData, HookDeliveryId, HookDepths, HookEvent,
    HookSecret, MessageId, UnixMs, Webhook, WebhookId,
};

const WEBHOOK: &str = "webhook";
const EVENT: &str = "webhook_event";
/// The counter of rows and turns in `meta`.
const LAST: &str = "last_webhook_event";

/// What is sealed of a webhook.
#[derive(Serialize, Deserialize)]
struct Sealed {
    url: String,
    secret: String,
}

/// A webhook as the engine looks for whom to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscriber {
    /// Its row.
    pub webhook_row: i64,
    /// Its name.
    pub id: WebhookId,
    events: i64,
    /// How much waits for it.
    pub waiting: u64,
}

impl Subscriber {
    /// Whether it is called for this.
    #[must_use]
    pub const fn wants(&self, event: HookEvent) -> bool {
        self.events & bit(event) != 0
    }
}

/// Something to be told.
#[derive(Debug)]
pub struct NewHookEvent<'a> {
    /// To which webhook.
    pub webhook_row: i64,
    /// Its name.
    pub delivery: HookDeliveryId,
    /// What kind.
    pub event: HookEvent,
    /// The message, or what else happened as compact JSON.
    pub data: Result<MessageId, &'a str>,
}

const fn number(event: HookEvent) -> i64 {
    match event {
        HookEvent::MessageNew => 0,
        HookEvent::MessageRead => 1,
        HookEvent::PresenceUpdate => 2,
        HookEvent::ContactBlocked => 3,
        HookEvent::GroupInvite => 4,
        HookEvent::GroupDeleted => 5,
    }
}

const fn bit(event: HookEvent) -> i64 {
    1 << number(event)
}

fn event(found: i64, row: i64) -> Result<HookEvent, StateError> {
    let mut all = HookEvent::ALL.into_iter();
    all.find(|event| number(*event) == found)
        .ok_or(StateError::Damaged { table: EVENT, row })
}

fn webhook(row: &Row<'_>, keys: &ColumnKeys) -> Result<Webhook, StateError> {
    let webhook_row: i64 = row.get(0)?;
    let damaged = || StateError::Damaged {
        table: WEBHOOK,
        row: webhook_row,
    };
    let sealed: Vec<u8> = row.get(4)?;
    let opened = keys.open(WEBHOOK, webhook_row, &sealed)?;
    let Sealed { url, secret } = serde_json::from_slice(&opened).map_err(|_| damaged())?;
    let mask: i64 = row.get(2)?;
    let mut events = HookEvent::ALL.to_vec();
    events.retain(|event| mask & bit(*event) != 0);
    Ok(Webhook {
        id: WebhookId(row.get(1)?),
        url,
        events,
        secret: HookSecret::new(secret),
        created_at: from_sql(row.get(3)?),
    })
}

fn row_of(db: &Connection, id: &WebhookId) -> Result<Option<i64>, StateError> {
    let mut statement = db.prepare_cached("SELECT webhook_row FROM webhook WHERE webhook_id = ?1")?;
    Ok(statement.query_row([id.0], |row| row.get(0)).optional()?)
}

impl Store {
    /// Registers a webhook.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_webhook(&self, rng: &mut dyn CryptoRng, webhook: &Webhook) -> Result<(), StateError> {
        let row = to_sql(self.next_number(LAST)?);
        let body = Sealed {
            url: webhook.url.clone(),
            secret: webhook.secret.expose_text().to_owned(),
        };
        // Two texts always have a JSON form.
        let body = Zeroizing::new(serde_json::to_vec(&body).unwrap_or_default());
        let sealed = self.keys.seal(rng, WEBHOOK, row, webhook.created_at, &body);
        let events = webhook.events.iter().fold(0, |mask, event| mask | bit(*event));
        self.db
            .prepare_cached(
                "INSERT INTO webhook(webhook_row, webhook_id, events, created_at, sealed) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![row, webhook.id.0, events, to_sql(webhook.created_at), sealed])?;
        Ok(())
    }

    /// Removes a webhook with all that waits for it; false if there is none.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn remove_webhook(&self, id: &WebhookId) -> Result<bool, StateError> {
        let Some(row) = row_of(&self.db, id)? else {
            return Ok(false);
        };
        self.db
            .prepare_cached("DELETE FROM webhook_event WHERE webhook_row = ?1")?
            .execute([row])?;
        self.db
            .prepare_cached("DELETE FROM webhook WHERE webhook_row = ?1")?
            .execute([row])?;
        Ok(true)
    }

    /// Whom to tell, in the order in which they were registered.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn subscribers(&self) -> Result<Vec<Subscriber>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT webhook_row, webhook_id, events, (SELECT count(*) FROM webhook_event e \
             WHERE e.webhook_row = w.webhook_row AND e.dead_at IS NULL) FROM webhook w ORDER BY webhook_row",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Subscriber {
                webhook_row: row.get(0)?,
                id: WebhookId(row.get(1)?),
                events: row.get(2)?,
                waiting: from_sql(row.get(3)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Queues something for a webhook.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn queue_hook_event(
        &self,
        rng: &mut dyn CryptoRng,
        new: &NewHookEvent<'_>,
        now: UnixMs,
    ) -> Result<(), StateError> {
        let row = to_sql(self.next_number(LAST)?);
        let (message, sealed) = match new.data {
            Ok(message) => (Some(message.0), None),
            Err(json) => (None, Some(self.keys.seal(rng, EVENT, row, now, json.as_bytes()))),
        };
        self.db
            .prepare_cached(
                "INSERT INTO webhook_event(event_row, webhook_row, delivery_id, turn, event, message_row, \
                 created_at, due_at, sealed) VALUES (?1, ?2, ?3, ?1, ?4, \
                 (SELECT message_row FROM message WHERE message_id = ?5), ?6, ?6, ?7)",
            )?
            .execute(params![
                row,
                new.webhook_row,
                new.delivery.0,
                number(new.event),
                message,
                to_sql(now),
                sealed
            ])?;
        Ok(())
    }

    /// What goes first when the queue of a webhook is full, and whether it is a message: the oldest that is
    /// none, or else the oldest.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn least_hook_event(&self, webhook_row: i64) -> Result<Option<(HookDeliveryId, bool)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT delivery_id, event = 0 FROM webhook_event WHERE webhook_row = ?1 AND dead_at IS NULL \
             ORDER BY event = 0, turn LIMIT 1",
        )?;
        let found = statement.query_row([webhook_row], |row| {
            Ok((HookDeliveryId(row.get(0)?), row.get(1)?))
        });
        Ok(found.optional()?)
    }

    /// Takes something that was told, or that nobody is to be told any more, out of the queue. Gives the
    /// row of its webhook if it waited, and the delivery of the message that it was about.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn take_hook_event(
        &self,
        delivery: &HookDeliveryId,
    ) -> Result<Option<(i64, Option<DeliveryId>)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "DELETE FROM webhook_event WHERE delivery_id = ?1 RETURNING webhook_row, \
             (SELECT delivery FROM message m WHERE m.message_row = webhook_event.message_row)",
        )?;
        let found = statement.query_row([delivery.0], |row| {
            Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?))
        });
        let found: Option<(i64, Option<i64>)> = found.optional()?;
        Ok(found.map(|(webhook_row, place)| {
            let delivery = place.map(|place| DeliveryId {
                store: self.tag,
                position: from_sql(place),
            });
            (webhook_row, delivery)
        }))
    }

    /// How often something that waits was tried, with the row of its webhook.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn hook_attempts(&self, delivery: &HookDeliveryId) -> Result<Option<(i64, u32)>, StateError> {
        let mut statement = self.db.prepare_cached(
            "SELECT webhook_row, attempts FROM webhook_event WHERE delivery_id = ?1 AND dead_at IS NULL",
        )?;
        let found = statement.query_row([delivery.0], |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(found.optional()?)
    }

    /// Notes an attempt that failed, and when the next one is due.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn put_off_hook_event(
        &self,
        delivery: &HookDeliveryId,
        reason: &str,
        due_at: UnixMs,
    ) -> Result<(), StateError> {
        self.db
            .prepare_cached(
                "UPDATE webhook_event SET attempts = attempts + 1, reason = ?2, due_at = ?3 WHERE delivery_id = ?1",
            )?
            .execute(params![delivery.0, reason, to_sql(due_at)])?;
        Ok(())
    }

    /// Makes something a dead letter after so many attempts. Beyond `most`, the oldest dead letter of the webhook is
    /// dropped, messages last; gives whether one was.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn give_up_hook_event(
        &self,
        delivery: &HookDeliveryId,
        (attempts, reason): (u32, &str),
        most: u64,
        now: UnixMs,
    ) -> Result<bool, StateError> {
        self.db
            .prepare_cached(
                "UPDATE webhook_event SET attempts = ?2, reason = ?3, dead_at = ?4 WHERE delivery_id = ?1",
            )?
            .execute(params![delivery.0, attempts, reason, to_sql(now)])?;
        let dropped = self
            .db
            .prepare_cached(
                "DELETE FROM webhook_event WHERE event_row = (SELECT event_row FROM webhook_event e \
                 WHERE e.dead_at IS NOT NULL AND e.webhook_row = \
                 (SELECT webhook_row FROM webhook_event WHERE delivery_id = ?1) \
                 ORDER BY e.event = 0, e.dead_at, e.event_row LIMIT 1) AND ?2 < \
                 (SELECT count(*) FROM webhook_event d WHERE d.webhook_row = webhook_event.webhook_row \
                 AND d.dead_at IS NOT NULL)",
            )?
            .execute(params![delivery.0, to_sql(most)])?;
        Ok(dropped > 0)
    }

    /// Queues a dead letter again, behind everything that waits; false if there is none.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn revive_hook_event(
        &self,
        id: &WebhookId,
        delivery: &HookDeliveryId,
        now: UnixMs,
    ) -> Result<bool, StateError> {
        let turn = self.next_number(LAST)?;
        let revived = self
            .db
            .prepare_cached(
                "UPDATE webhook_event SET turn = ?3, due_at = ?4, attempts = 0, dead_at = NULL, reason = NULL \
                 WHERE delivery_id = ?2 AND dead_at IS NOT NULL AND webhook_row = \
                 (SELECT webhook_row FROM webhook WHERE webhook_id = ?1)",
            )?
            .execute(params![id.0, delivery.0, to_sql(turn), to_sql(now)])?;
        Ok(revived == 1)
    }

    /// What waits for a webhook or is dead, in order: what, which event, how often it was tried, when it is
    /// due, and whether it is dead. For tests.
    #[cfg(test)]
    pub(crate) fn hook_queue(&self, id: &WebhookId) -> Vec<(HookDeliveryId, HookEvent, u32, UnixMs, bool)> {
        let sql = "SELECT delivery_id, event, attempts, due_at, dead_at IS NOT NULL FROM webhook_event \
                   JOIN webhook USING (webhook_row) WHERE webhook_id = ?1 ORDER BY turn";
        let mut statement = self.db.prepare(sql).unwrap();
        let rows = statement.query_map([id.0], |row| {
            let event = event(row.get(1)?, 0).unwrap();
            let due = from_sql(row.get(3)?);
            Ok((HookDeliveryId(row.get(0)?), event, row.get(2)?, due, row.get(4)?))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Whether there is such a webhook.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn has_webhook(&self, id: &WebhookId) -> Result<bool, StateError> {
        Ok(row_of(&self.db, id)?.is_some())
    }
}

impl Reader {
    /// Every webhook, in the order in which they were registered.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn webhooks(&self) -> Result<Vec<Webhook>, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT webhook_row, webhook_id, events, created_at, sealed FROM webhook ORDER BY webhook_row",
        )?;
        let mut rows = statement.query([])?;
        let mut webhooks = Vec::new();
        while let Some(row) = rows.next()? {
            webhooks.push(webhook(row, &self.keys)?);
        }
        Ok(webhooks)
    }

    /// What a webhook is to be told next.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn next_hook_call(&self, id: &WebhookId) -> Result<Option<HookCall>, StateError> {
        let Some((mut call, message_row)) = self.head_of_hook(id)? else {
            return Ok(None);
        };
        if let Some(message_row) = message_row {
            let sql = format!("{} WHERE m.message_row = ?1 AND m.deleted = 0", views::VIEW);
            let message = self.messages(&sql, &[&message_row])?.pop();
            call.data = message.map_or(HookData::Gone, |message| HookData::Message(Box::new(message)));
        }
        Ok(Some(call))
    }

    /// The head of a queue, without its message.
    fn head_of_hook(&self, id: &WebhookId) -> Result<Option<(HookCall, Option<i64>)>, StateError> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT event_row, delivery_id, event, message_row, e.created_at, due_at, e.sealed \
             FROM webhook_event e JOIN webhook USING (webhook_row) WHERE webhook_id = ?1 AND dead_at IS NULL \
             ORDER BY turn LIMIT 1",
        )?;
        let mut rows = statement.query([id.0])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let event_row: i64 = row.get(0)?;
        let data = match row.get::<_, Option<Vec<u8>>>(6)? {
            Some(sealed) => {
                let opened = self.keys.open(EVENT, event_row, &sealed)?;
                let json = String::from_utf8(opened.to_vec()).map_err(|_| StateError::Damaged {
                    table: EVENT,
                    row: event_row,
                })?;
                HookData::Json(Zeroizing::new(json))
            }
            None => HookData::Gone,
        };
        let call = HookCall {
            delivery: HookDeliveryId(row.get(1)?),
            event: event(row.get(2)?, event_row)?,
            created_at: from_sql(row.get(4)?),
            due_at: from_sql(row.get(5)?),
            data,
        };
        Ok(Some((call, row.get(3)?)))
    }

    /// What a webhook could not be told, oldest first; `None` if there is no such webhook.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn dead_letters(
        &self,
        id: &WebhookId,
        limit: usize,
        offset: usize,
    ) -> Result<Option<DeadLetterPage>, StateError> {
        let db = self.db();
        let Some(webhook_row) = row_of(&db, id)? else {
            return Ok(None);
        };
        let mut statement = db.prepare_cached(
            "SELECT event_row, delivery_id, event, m.message_id, attempts, coalesce(reason, ''), e.created_at, \
             dead_at FROM webhook_event e LEFT JOIN message m USING (message_row) \
             WHERE webhook_row = ?1 AND dead_at IS NOT NULL ORDER BY dead_at, event_row LIMIT ?2 OFFSET ?3",
        )?;
        let mut rows = statement.query([webhook_row, to_sql(limit as u64), to_sql(offset as u64)])?;
        let mut letters = Vec::new();
        while let Some(row) = rows.next()? {
            letters.push(DeadLetter {
                delivery: HookDeliveryId(row.get(1)?),
                event: event(row.get(2)?, row.get(0)?)?,
                message: row.get::<_, Option<[u8; 16]>>(3)?.map(MessageId),
                attempts: row.get(4)?,
                reason: row.get(5)?,
                created_at: from_sql(row.get(6)?),
                dead_at: from_sql(row.get(7)?),
            });
        }
        let mut statement = db.prepare_cached(
            "SELECT count(*) FROM webhook_event WHERE webhook_row = ?1 AND dead_at IS NOT NULL",
        )?;
        let total = statement.query_row([webhook_row], |row| row.get(0))?;
        Ok(Some(DeadLetterPage {
            letters,
            total: from_sql(total),
        }))
    }

    /// How much waits for webhooks, and how much was given up.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn hook_depths(&self) -> Result<HookDepths, StateError> {
        let db = self.db();
        let mut statement =
            db.prepare_cached("SELECT count(*) - count(dead_at), count(dead_at) FROM webhook_event")?;
        let depths = statement.query_row([], |row| {
            Ok(HookDepths {
                waiting: from_sql(row.get(0)?),
                dead: from_sql(row.get(1)?),
            })
        })?;
        Ok(depths)
    }
}
