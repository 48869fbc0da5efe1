//! Where a database is.

use std::path::PathBuf;

use sqlx::postgres::PgConnectOptions;
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
            _ => Err(DatabaseUrlError::Kind),
        }
    }
}

/// Parameters that are understood; the library passes over all others, even one that asks for TLS.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

fn check_parameters(text: &str) -> Result<(), DatabaseUrlError> {
    let url = text.split('#').next().unwrap_or_default();
    let Some((_, query)) = url.split_once('?') else {
        return Ok(());
    };
    let names = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split('=').next().unwrap_or_default());
    for name in names {
        let is_option = name.starts_with("options[") && name.ends_with(']');
        if is_option || PARAMETERS.contains(&name) {
            continue;
        }
        // A password with a question mark in it is no parameter.
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        return Err(if is_name && !query.contains('@') {
            DatabaseUrlError::Parameter(name.to_owned())
        } else {
            DatabaseUrlError::Postgres("what follows the question mark is no parameter".to_owned())
        });
    }
    Ok(())
}

/// Where a PostgreSQL database is. There may be a password in it, so it is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Zeroizing<String>);

impl PostgresUrl {
    fn new(text: &str) -> Result<Self, DatabaseUrlError> {
        check_parameters(text)?;
        let url = Self(text.to_owned().into());
        url.options()?;
        Ok(url)
    }

    /// How to connect.
    pub(in crate::store) fn options(&self) -> Result<PgConnectOptions, DatabaseUrlError> {
        self.0.parse::<PgConnectOptions>().map_err(|error| {
            DatabaseUrlError::Postgres(match error {
                sqlx::Error::Configuration(cause) => cause.to_string(),
                _ => "it is not valid".to_owned(),
            })
        })
    }
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresUrl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<DatabaseUrl>().unwrap_err().to_string()
    }

    #[test]
    fn parameter_that_would_be_passed_over_is_refused_by_name() {
        for name in ["ssl_mode", "sslMode", "connect_timeout", ""] {
            let said = refused(&format!(
                "postgres://u:hunter2@h/db?sslmode=require&{name}=verify-full"
            ));
            assert!(said.ends_with(&format!("unknown parameter {name}")), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
        for fine in [
            "sslmode=verify-full&sslrootcert=/ca.pem",
            "host=/run/pg",
            "options[a]=b",
            "",
        ] {
            let url = format!("postgresql://u:p@h/db?{fine}");
            assert!(url.parse::<DatabaseUrl>().is_ok(), "{fine}");
        }
    }

    #[test]
    fn password_that_is_not_encoded_is_explained_and_not_told() {
        for url in [
            "postgres://u:hunter2/x@h/db",
            "postgres://u:1?hunter2@h/db",
            "postgres://u:1?hunter2=x@h/db",
            "postgres://u:1#hunter2@h:x/db",
            "postgres://u:hunter2@h:port/db",
        ] {
            if let Err(error) = url.parse::<DatabaseUrl>() {
                let said = error.to_string();
                assert!(
                    said.contains("percent-encoded") && !said.contains("hunter2"),
                    "{said}"
                );
            }
        }
        assert!(refused("postgres://u:hunter2/x@h/db").contains("%40"));
        assert!(refused("postgres://u:1?hunter2=x@h/db").contains("%40"));
    }
}
