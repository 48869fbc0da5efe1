//! The statements of a backend, by name, for tests that look at how the database would find their rows.

/// Names and texts of the constants in a source file of SQL.
pub(super) fn statements(source: &str) -> Vec<(&str, String)> {
    let constants = source.split("const ").skip(1);
    let found = constants.filter_map(|constant| {
        let (name, rest) = constant.split_once(": &str =")?;
        let (_, rest) = rest.split_once('"')?;
        let (text, _) = rest.split_once("\";")?;
        Some((name, text.replace("\\\n", "\n")))
    });
    let is_one = |text: &str| {
        ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"]
            .iter()
            .any(|verb| text.trim_start().starts_with(verb))
    };
    found.filter(|(_, text)| is_one(text)).collect()
}

#[test]
fn every_statement_is_found() {
    let source = "pub(super) const BEGIN: &str = \"BEGIN\";\n/// Doc.\nconst ONE: &str =\n    \"SELECT 1\n    FROM x\";\nconst N: u8 = 1;";
    assert_eq!(statements(source), [("ONE", "SELECT 1\n    FROM x".to_owned())]);
}
