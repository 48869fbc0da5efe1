//! An answer of the local API, as tests look at it.

use axum::http::HeaderMap;
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
