//! `docs/what-the-relay-sees.md` as data: its rows, and its examples filled in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context as _;
use rusqlite::{Connection, types::ValueRef};
use waxwire_tests::canary::files;

/// Which migrations were made, by the library that makes them.
const MIGRATIONS: &str = "_sqlx_migrations";
/// What stands for a value that was not there.
const NONE: &str = "—";
/// Characters of a text, and bytes of a byte string, that are shown.
const SHOWN: (usize, usize) = (32, 8);

/// A column by table and name, with an example, if the table has a row with one.
pub(crate) type Columns = BTreeMap<(String, String), Option<String>>;

/// A row of the document.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// Table and column.
    pub(crate) column: (String, String),
    /// What it is to the relay.
    pub(crate) class: &'a str,
    /// What it reveals.
    pub(crate) reveals: &'a str,
}

/// The cells of a row about a column.
fn cells(line: &str) -> Option<[&str; 5]> {
    let cells: Vec<&str> = line
        .strip_prefix("| `")?
        .trim_end_matches('|')
        .split('|')
        .collect();
    let cells = <[&str; 5]>::try_from(cells).ok()?;
    Some(cells.map(|cell| cell.trim().trim_end_matches('`')))
}

/// Name and rest of each line below a heading `### name`.
fn lines(document: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut table = "";
    document.lines().map(move |line| {
        if let Some(heading) = line.strip_prefix("### `") {
            table = heading.trim_end_matches('`');
        }
        (table, line)
    })
}

/// What the document says of each column.
pub(crate) fn rows(document: &str) -> Vec<Row<'_>> {
    let rows = lines(document).filter_map(|(table, line)| {
        let [column, _, _, class, reveals] = cells(line)?;
        let column = (table.to_owned(), column.to_owned());
        Some(Row {
            column,
            class,
            reveals,
        })
    });
    rows.collect()
}

/// The names of `needle` in a text: what follows it, up to a character that no name has.
pub(crate) fn names<'a>(text: &'a str, needle: &str) -> BTreeSet<&'a str> {
    let found = text.split(needle).skip(1);
    let name = |rest: &'a str| rest.split(|c: char| c != '-' && !c.is_ascii_lowercase()).next();
    found.filter_map(name).collect()
}

/// The document with these examples instead of its own.
pub(crate) fn with_examples(document: &str, columns: &Columns) -> String {
    let mut text = String::new();
    for (table, line) in lines(document) {
        match cells(line) {
            Some([column, _, is, class, reveals]) => {
                let example = columns.get(&(table.to_owned(), column.to_owned()));
                let example = example.and_then(Option::as_deref).unwrap_or(NONE);
                let row = format!("| `{column}` | {example} | {is} | {class} | {reveals} |");
                text.push_str(&row.replace("|  |", "| |"));
            }
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// What a relay's folder holds: each column of its database, and its blobs.
pub(crate) fn columns(folder: &Path, database: &Path) -> anyhow::Result<Columns> {
    let database = Connection::open(database)?;
    let tables = "SELECT t.name, c.name FROM pragma_table_list t JOIN pragma_table_info(t.name) c
        WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let mut statement = database.prepare(tables)?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found: Vec<(String, String)> = found.collect::<Result<_, _>>()?;
    let mut columns = Columns::new();
    for (table, column) in found {
        if table != MIGRATIONS {
            let example = example(&database, &table, &column)?;
            columns.insert((table, column), example);
        }
    }
    columns.extend(blobs(folder)?);
    Ok(columns)
}

/// A value of a column: of numbers and texts the greatest, for zeros and what is not set tell least; of byte strings
/// the least, which among envelopes and commits is an envelope.
fn example(database: &Connection, table: &str, column: &str) -> anyhow::Result<Option<String>> {
    let query = format!("SELECT min({column}), max({column}) FROM {table}");
    database.query_row_and_then(&query, [], |row| match (row.get_ref(0)?, row.get_ref(1)?) {
        (ValueRef::Null, _) => Ok(None),
        (least @ ValueRef::Blob(_), _) => Ok(Some(shown(least)?)),
        (_, greatest) => Ok(Some(shown(greatest)?)),
    })
}

fn shown(value: ValueRef<'_>) -> anyhow::Result<String> {
    Ok(match value {
        ValueRef::Text(bytes) => {
            let text = std::str::from_utf8(bytes)?;
            let cut: String = text.chars().take(SHOWN.0).collect();
            let dots = if cut.len() < text.len() { "..." } else { "" };
            format!("`{cut}{dots}`").replace('|', "/")
        }
        ValueRef::Blob(bytes) => start_of(bytes),
        ValueRef::Integer(number) => format!("`{number}`"),
        ValueRef::Null | ValueRef::Real(_) => anyhow::bail!("a value that no column has"),
    })
}

fn start_of(bytes: &[u8]) -> String {
    let start = hex::encode(&bytes[..bytes.len().min(SHOWN.1)]);
    let dots = if bytes.len() > SHOWN.1 { "..." } else { "" };
    format!("`{start}{dots}`, {} bytes", bytes.len())
}

/// Name and content of a file in the folder of blobs.
fn blobs(folder: &Path) -> anyhow::Result<Columns> {
    let blobs = files(folder)?;
    let blob = blobs.first();
    let name = blob
        .and_then(|file| file.file_name())
        .and_then(|name| name.to_str());
    let bytes = blob.map(fs::read).transpose().context("a blob")?;
    let column = |name: &str| ("files".to_owned(), name.to_owned());
    Ok(Columns::from([
        (column("name"), name.map(|name| format!("`{name}`"))),
        (column("bytes"), bytes.map(|bytes| start_of(&bytes))),
    ]))
}
