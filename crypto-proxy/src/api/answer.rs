//! An answer of the local API, as tests look at it.

use axum::http::{HeaderMap, Method};
use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn code(&self) -> String {
        let body = self.json();
        assert!(body["message"].is_string(), "{body}");
        body["code"].as_str().unwrap().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .to_str()
            .unwrap()
    }

    /// 400 `VALIDATION_ERROR` whose first issue is about this field.
    #[track_caller]
    pub(super) fn assert_invalid(&self, path: &[&str]) {
        assert_eq!(
            (self.status, self.code().as_str()),
            (400, "VALIDATION_ERROR"),
            "{self:?}"
        );
        let issue = &self.json()["details"]["issues"][0];
        assert_eq!(issue["path"], Value::from(path.to_vec()), "{self:?}");
        assert!(issue["message"].is_string());
    }

    /// 400 that names a limit.
    #[track_caller]
    pub(super) fn assert_limit(&self, limit: &str, max: usize, actual: Option<usize>) {
        assert_eq!(
            (self.status, self.code().as_str()),
            (400, "VALIDATION_ERROR"),
            "{self:?}"
        );
        let details = &self.json()["details"];
        assert_eq!(details["limit"], limit);
        assert_eq!(details["max"], max);
        assert_eq!(
            details.get("actual").and_then(Value::as_u64),
            actual.map(|actual| actual as u64)
        );
    }
}

/// An answer of a route is one that `openapi.json` tells of.
pub(super) fn assert_documented(openapi: &[u8], method: &Method, path: &str, status: u16) {
    let document: Value = serde_json::from_slice(openapi).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let fits = |pattern: &str| {
        let (pattern, path) = (pattern.split('/'), path.split('/'));
        let same = |(a, b): (&str, &str)| a == b || (a.starts_with('{') && !b.is_empty());
        pattern.clone().count() == path.clone().count() && pattern.zip(path).all(same)
    };
    let mut found: Vec<&String> = paths.keys().filter(|pattern| fits(pattern)).collect();
    found.sort_by_key(|pattern| pattern.contains('{'));
    let Some(pattern) = found.first() else { return };
    let Some(operation) = paths[*pattern].get(method.as_str().to_lowercase()) else {
        return;
    };
    assert!(
        operation["responses"].get(status.to_string()).is_some(),
        "{method} {pattern} answered {status}, of which openapi.json does not tell"
    );
}
