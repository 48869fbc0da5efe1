//! `docs/what-the-relay-sees.md` against what a relay's database holds, and against SECURITY.md. With `EXAMPLES` in the
//! environment, the examples of the document are made anew (`make what-the-relay-sees`).

mod document;
mod stage;

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, ensure};
use waxwire_tests::{scenario, script::repository};

use document::{columns, names, rows, with_examples};

const DOCUMENT: &str = "docs/what-the-relay-sees.md";
const SECURITY: &str = "SECURITY.md";
/// What a column can be to the relay, and whether the document has to say what it reveals.
const CLASSES: [(&str, bool); 5] = [
    ("ciphertext", true),
    ("metadata", true),
    ("plaintext", true),
    ("hash", false),
    ("own", false),
];

/// Every column of the database is in the document, and nothing else; what must be sealed has something in it, and no
/// text of an agent lies anywhere in clear (which holds after every test).
#[test]
fn every_column_is_described() {
    scenario(async |world| {
        let relay = stage::play(world).await?;
        let columns = columns(&relay.blobs(), relay.store().file().context("a file")?)?;
        let document = fs::read_to_string(repository(DOCUMENT))?;
        let rows = rows(&document);
        let described: BTreeSet<_> = rows.iter().map(|row| &row.column).collect();
        let stored: BTreeSet<_> = columns.keys().collect();
        let unknown: Vec<_> = stored.difference(&described).collect();
        ensure!(unknown.is_empty(), "{DOCUMENT} lacks {unknown:?}");
        let gone: Vec<_> = described.difference(&stored).collect();
        ensure!(
            gone.is_empty(),
            "{DOCUMENT} describes what is not there: {gone:?}"
        );
        ensure!(
            described.len() == rows.len(),
            "{DOCUMENT} describes something twice"
        );
        for row in rows.iter().filter(|row| row.class == "ciphertext") {
            ensure!(
                columns[&row.column].is_some(),
                "nothing sealed in {:?}",
                row.column
            );
        }
        if std::env::var_os("EXAMPLES").is_some() {
            fs::write(repository(DOCUMENT), with_examples(&document, &columns))?;
        }
        Ok(())
    });
}

/// Whatever the document says that a column reveals is told in SECURITY.md, and the other way round.
#[test]
fn everything_that_is_revealed_is_told() -> anyhow::Result<()> {
    let (document, security) = (
        fs::read_to_string(repository(DOCUMENT))?,
        fs::read_to_string(repository(SECURITY))?,
    );
    for row in rows(&document) {
        let class = CLASSES.iter().find(|(class, _)| *class == row.class);
        let Some((_, reveals)) = class else {
            anyhow::bail!("{:?} is no class of {:?}", row.class, row.column);
        };
        let told = !names(row.reveals, "SECURITY.md#sees-").is_empty();
        ensure!(told == *reveals, "what does {:?} reveal?", row.column);
    }
    let told = names(&security, "<a id=\"sees-");
    ensure!(
        names(&document, "SECURITY.md#sees-") == told,
        "{DOCUMENT} and {SECURITY} tell different things: {told:?}"
    );
    Ok(())
}
