//! Where a database is.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::DatabaseUrlError;

/// Which database, as an URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://PATH`.
    Sqlite(PathBuf),
    /// `postgres://...`.
    Postgres(PostgresUrl),
}

impl std::str::FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        match text.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() && !path.starts_with(':') => {
                Ok(Self::Sqlite(path.into()))
            }
            Some(("postgres" | "postgresql", _)) => PostgresUrl::new(text).map(Self::Postgres),
            _ => Err(DatabaseUrlError),
        }
    }
}

/// Where a PostgreSQL database is. There may be a password in it, so it is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Zeroizing<String>);

impl PostgresUrl {
    fn new(text: &str) -> Result<Self, DatabaseUrlError> {
        match text.parse::<sqlx::postgres::PgConnectOptions>() {
            Ok(_) => Ok(Self(text.to_owned().into())),
            Err(_) => Err(DatabaseUrlError),
        }
    }

    /// The URL.
    pub(in crate::store) fn expose_text(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresUrl")
    }
}
