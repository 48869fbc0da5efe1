//! Reads of many sockets in one statement: while it is on its way, those that come gather for the next. With several
//! nodes a socket reads whatever was stored by another node, an envelope or two at a time.

use futures_util::TryStreamExt as _;
use sqlx::PgPool;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{PostgresStore, sql};
use crate::store::{
    Page, Range, ReadError, View,
    rows::{PageOf, count},
};

/// Reads in one statement.
const AT_ONCE: usize = 64;
/// Statements that are on their way at the same time, so that one long page does not keep all others waiting.
const STATEMENTS: usize = 2;

/// What a statement asks of one queue.
struct Asked {
    view: View,
    range: Range,
    answer: oneshot::Sender<Option<Page>>,
}

/// Place of the read, head; then of an envelope, if there is one: position, id, time of storing, bytes.
type Row = (i64, i64, Option<i64>, Option<i64>, Option<i64>, Option<Vec<u8>>);

/// Reads of one kind.
#[derive(Debug, Clone)]
pub(super) struct Gathered(mpsc::Sender<Asked>);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Own,
    Messages,
}

impl Gathered {
    /// Of queues that have one reader.
    pub(super) fn own(readers: &PgPool) -> Self {
        Self::of(Kind::Own, readers)
    }

    /// Of the messages of groups, as members may see them.
    pub(super) fn messages(readers: &PgPool) -> Self {
        Self::of(Kind::Messages, readers)
    }

    /// It ends with the last of its clones.
    fn of(kind: Kind, readers: &PgPool) -> Self {
        let (sender, asked) = mpsc::channel(AT_ONCE);
        tokio::spawn(follow(kind, readers.clone(), asked));
        Self(sender)
    }

    /// None if the statement was not answered: then whoever asks reads alone, and hears why.
    async fn read(&self, view: View, range: Range) -> Option<Option<Page>> {
        let (answer, page) = oneshot::channel();
        self.0.send(Asked { view, range, answer }).await.ok()?;
        page.await.ok()
    }
}

impl PostgresStore {
    pub(in crate::store) async fn read(&self, view: View, range: Range) -> Result<Option<Page>, ReadError> {
        let page = match view {
            View::Whole(_) => self.own.read(view, range).await,
            View::Messages(_) => self.messages.read(view, range).await,
            View::Log(_) => None,
        };
        match page {
            Some(page) => Ok(page),
            None => self.read_alone(view, range).await,
        }
    }
}

async fn follow(kind: Kind, readers: PgPool, mut asked: mpsc::Receiver<Asked>) {
    let (mut gathered, mut under_way) = (Vec::new(), JoinSet::new());
    while asked.recv_many(&mut gathered, AT_ONCE).await > 0 {
        under_way.spawn(answer(kind, readers.clone(), std::mem::take(&mut gathered)));
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= STATEMENTS {
            under_way.join_next().await;
        }
    }
    under_way.join_all().await;
}

/// Answers all of them, or none.
async fn answer(kind: Kind, readers: PgPool, asked: Vec<Asked>) {
    match read(kind, &readers, &asked).await {
        Ok(pages) => {
            for (asked, page) in asked.into_iter().zip(pages) {
                // It may be gone.
                let _gone = asked.answer.send(page);
            }
        }
        Err(error) => {
            tracing::debug!(%error, reads = asked.len(), "reads that were gathered are made one by one")
        }
    }
}

/// A page for each; none where nothing may be seen.
async fn read(kind: Kind, readers: &PgPool, asked: &[Asked]) -> Result<Vec<Option<Page>>, sqlx::Error> {
    let of = |value: fn(&Asked) -> i64| asked.iter().map(value).collect::<Vec<_>>();
    let statement = match kind {
        Kind::Own => sql::ENVELOPES_OF_MANY,
        Kind::Messages => sql::MESSAGES_OF_MANY,
    };
    let mut query = sqlx::query_as::<_, Row>(statement)
        .bind(of(|asked| asked.view.queue_no().0))
        .bind(of(|asked| number(asked.range.after)))
        .bind(of(|asked| asked.range.before.map_or(i64::MAX, number)))
        .bind(of(|asked| count(asked.range.limit)))
        .bind(of(|asked| count(asked.range.max_bytes)));
    if matches!(kind, Kind::Messages) {
        query = query
            .bind(of(|asked| asked.view.seat().map_or(0, |seat| seat.group.0)))
            .bind(of(|asked| asked.view.seat().map_or(0, |seat| seat.agent.0)));
    }
    let mut pages: Vec<Option<PageOf<'_>>> = asked.iter().map(|_| None).collect();
    let mut rows = query.fetch(readers);
    while let Some((place, head, position, id, stored_at, bytes)) = rows.try_next().await? {
        // Places are counted from 1.
        let index = usize::try_from(place - 1).unwrap_or(usize::MAX);
        let (Some(page), Some(asked)) = (pages.get_mut(index), asked.get(index)) else {
            continue;
        };
        let page = page.get_or_insert_with(|| PageOf::new(&asked.range, head.cast_unsigned()));
        if let (Some(position), Some(id), Some(stored_at), Some(bytes)) = (position, id, stored_at, bytes) {
            let _full = page.take((position, id, stored_at, bytes));
        }
    }
    Ok(pages.into_iter().map(|page| page.map(PageOf::end)).collect())
}

fn number(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
