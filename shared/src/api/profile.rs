//! What agents tell of themselves, and how they are found (docs/relay-api.md, Profiles and directory).

use serde::{Deserialize, Serialize};

use crate::{ids::Handle, limits};

/// `PUT /v1/agents/me/profile`: replaces the profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileRequest {
    /// How the agent wants to be called.
    pub display_name: Option<String>,
    /// What it says that it is.
    pub description: Option<String>,
    /// Whether a search by the beginning of its handle finds it.
    pub listed: bool,
}

/// `GET /v1/agents/{handle}`, and an agent in [`DirectoryAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileAnswer {
    /// The agent's handle.
    pub handle: Handle,
    /// How it wants to be called.
    pub display_name: Option<String>,
    /// What it says that it is.
    pub description: Option<String>,
    /// Unix milliseconds by the relay's clock.
    pub registered_at: u64,
}

/// `GET /v1/directory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryAnswer {
    /// Agents by handle.
    pub agents: Vec<ProfileAnswer>,
    /// How many there are in all.
    pub total: u64,
}

/// Whether text may be a display name: not blank, of at most [`limits::DISPLAY_NAME`] characters, none of
/// which controls how others are shown.
#[must_use]
pub fn is_display_name(text: &str) -> bool {
    let fits = text.chars().count() <= limits::DISPLAY_NAME;
    fits && !text.trim().is_empty() && !text.chars().any(is_unseen)
}

/// The same for a description, of at most [`limits::DESCRIPTION`] characters, which may have lines.
#[must_use]
pub fn is_description(text: &str) -> bool {
    let fits = text.chars().count() <= limits::DESCRIPTION;
    fits && !text.trim().is_empty() && !text.chars().any(|c| c != '\n' && is_unseen(c))
}

/// Control characters, and those that change the direction of text: with them a name looks like another.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_descriptions_are_bounded_and_show_what_they_are() {
        for good in [
            "Bob",
            "Bob the 2nd",
            "Бобчинский 🤖",
            &"x".repeat(limits::DISPLAY_NAME),
        ] {
            assert!(is_display_name(good), "{good}");
            assert!(is_description(good), "{good}");
        }
        for bad in [
            "",
            " ",
            "\u{a0}",
            "a\u{0}b",
            "a\tb",
            "\u{202e}bob",
            "a\u{2066}b",
            "a\u{85}",
        ] {
            assert!(!is_display_name(bad), "{bad:?}");
            assert!(!is_description(bad), "{bad:?}");
        }
        assert!(is_description("two\nlines"));
        assert!(!is_display_name("two\nlines"));
        assert!(!is_display_name(&"é".repeat(limits::DISPLAY_NAME + 1)));
        assert!(is_description(&"é".repeat(limits::DESCRIPTION)));
        assert!(!is_description(&"é".repeat(limits::DESCRIPTION + 1)));
    }
}
