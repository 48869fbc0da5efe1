//! Which course of events a database holds (docs/protocol.md, 13.9). A database that was set back gives the positions
//! behind its heads out again, for other objects; its new lineage tells agents so.

use super::{ReadError, Store, WriteError, on_each};

/// The course of events that a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// Names it; never 0.
    pub id: u64,
    /// Its first part is that of the lineage before: up to this time, Unix milliseconds. 0 without one.
    pub reaches: u64,
    /// It has begun just now, because the database was set back.
    pub is_new: bool,
}

/// Counters of the database.
pub(in crate::store) const LINEAGE: &str = "lineage";
pub(in crate::store) const REACHES: &str = "lineage_reaches_ms";
/// Not 0: the next relay that serves begins another lineage.
pub(in crate::store) const OVER: &str = "lineage_over";
/// Where the lineage was begun, as far as the database knows: which server, timeline and database.
pub(in crate::store) const PLACE: &str = "lineage_place";

/// What the counters say.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::store) struct Noted {
    pub(in crate::store) lineage: Option<u64>,
    pub(in crate::store) reaches: u64,
    pub(in crate::store) over: bool,
    pub(in crate::store) place: Option<u64>,
}

impl Noted {
    /// The lineage that goes on, if one does.
    pub(in crate::store) fn goes_on(&self, place: Option<u64>) -> Option<Lineage> {
        let moved = place.is_some() && self.place.is_some() && place != self.place;
        let id = self.lineage.filter(|_| !self.over && !moved)?;
        Some(Lineage {
            id,
            reaches: self.reaches,
            is_new: false,
        })
    }
}

impl Store {
    /// The lineage of the database. `candidate` becomes it if there is none, or if the database was set back since a
    /// relay served it last; then the transparency log begins anew, too, for what was signed of it binds.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn lineage(&self, candidate: u64) -> Result<Lineage, WriteError> {
        on_each!(self, s => s.lineage(candidate).await)
    }

    /// The lineage as another process may have changed it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn current_lineage(&self) -> Result<Lineage, ReadError> {
        on_each!(self, s => s.current_lineage().await)
    }

    /// Notes that the database was set back: the next relay that serves it begins another lineage.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn end_lineage(&self) -> Result<(), WriteError> {
        on_each!(self, s => s.end_lineage().await)
    }
}
