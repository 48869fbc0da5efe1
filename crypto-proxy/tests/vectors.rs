//! The committed vectors: replayed, complete, and what the generator writes (docs/protocol.md, 12).

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[path = "../examples/generate_vectors/generator/mod.rs"]
mod generator;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use serde_json::Value;
use waxwire_proxy::vectors::{File, Item, Layer, Outcome, VectorsError, check};
use waxwire_shared::{labels::Label, wire::Kind};

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

/// What the generator writes. One case nests deeper than the stack of a test's thread allows.
fn generated() -> Vec<(String, String)> {
    let thread = thread::Builder::new().stack_size(16 * 1024 * 1024);
    thread.spawn(generator::files).unwrap().join().unwrap()
}

fn files() -> Vec<(String, File)> {
    let parse = |(name, text): (String, String)| (name, serde_json::from_str(&text).unwrap());
    generated().into_iter().map(parse).collect()
}

#[test]
fn committed_vectors_hold() {
    let report = check(&committed()).unwrap();
    assert_eq!(report.files, files().len());
    assert!(report.cases > 2_000, "{report:?}");
}

#[test]
fn committed_vectors_are_what_the_generator_writes() {
    let generated = generated();
    for (name, text) in &generated {
        let found = fs::read_to_string(committed().join(name)).unwrap_or_default();
        assert!(
            found == *text,
            "{name} differs: cargo run -p waxwire-proxy --example generate_vectors -- vectors"
        );
    }
    let names: BTreeSet<&str> = generated.iter().map(|(name, _)| name.as_str()).collect();
    for folder in ["", "documents/"] {
        for entry in fs::read_dir(committed().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let stray = name.ends_with(".json") && !names.contains(format!("{folder}{name}").as_str());
            assert!(!stray, "{folder}{name} comes from nowhere");
        }
    }
}

#[test]
fn every_label_kind_change_and_layer_has_a_case() {
    let files = files();
    let cases = || files.iter().flat_map(|(_, file)| &file.cases);
    let named = |op: &str, name: &str| -> BTreeSet<String> {
        let inputs = cases().filter(|case| case.op == op && case.result == Outcome::Valid);
        inputs.map(|case| case.input[name].to_string()).collect()
    };
    let labels = Label::ALL.iter().map(|label| format!("\"{label:?}\""));
    assert_eq!(named("label", "name"), labels.collect());
    let kinds = Kind::ALL.iter().map(|kind| kind.number().to_string());
    assert_eq!(named("kind", "number"), kinds.collect());
    for layer in [
        Layer::Decode,
        Layer::Rule,
        Layer::Signature,
        Layer::Open,
        Layer::Padding,
        Layer::Context,
    ] {
        assert!(cases().any(|case| case.layer == Some(layer)), "{layer}");
    }
    let commit = cases()
        .find(|case| case.op == "decode" && case.input["type"] == "Commit")
        .unwrap();
    let changes = commit.out.as_ref().unwrap()["value"]["7"].as_array().unwrap();
    let numbers: BTreeSet<u64> = changes.iter().map(|change| change[0].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=10).collect());
    // A message of every kind that travels in one.
    let sent = cases().filter(|case| case.op.ends_with("_message") && case.result == Outcome::Valid);
    let sent: BTreeSet<u64> = sent
        .map(|case| case.out.as_ref().unwrap()["kind"].as_u64().unwrap())
        .collect();
    let travels = |kind: &&Kind| **kind != Kind::EpochKey;
    assert_eq!(
        sent,
        Kind::ALL
            .iter()
            .filter(travels)
            .map(|kind| kind.number().into())
            .collect()
    );
}

/// A checker that finds nothing wrong with wrong vectors is no checker.
#[test]
fn damaged_vectors_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("case.json");
    assert!(matches!(check(dir.path()), Err(VectorsError::Empty { .. })));
    let (_, good) = files()
        .into_iter()
        .find(|(name, _)| name == "sealed_box.json")
        .unwrap();
    let verdict = |file: &File| {
        fs::write(&path, serde_json::to_string(file).unwrap()).unwrap();
        check(dir.path()).map(drop)
    };
    verdict(&good).unwrap();
    let first_invalid = good
        .cases
        .iter()
        .position(|case| case.result == Outcome::Invalid)
        .unwrap();
    let damages: [fn(&mut File, usize); 6] = [
        |file, _| file.cases[0].out = Some(Value::Null),
        |file, _| file.cases[0].op = "unknown".to_owned(),
        |file, _| file.cases[0].input["ephemeral"] = "00".into(),
        |file, _| file.cases[0].result = Outcome::Invalid,
        |file, at| file.cases[at].layer = Some(Layer::Decode),
        |file, at| file.cases[at].input = file.cases[1].input.clone(),
    ];
    for damage in damages {
        let mut bad = good.clone();
        damage(&mut bad, first_invalid);
        assert!(matches!(verdict(&bad), Err(VectorsError::Mismatch { .. })));
    }
    fs::write(&path, "{}").unwrap();
    assert!(matches!(check(dir.path()), Err(VectorsError::Format { .. })));
    assert!(matches!(check(&path), Err(VectorsError::Read { .. })));
}

fn check_command(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waxwire-proxy"));
    command.args(["vectors", "check"]).args(arguments);
    command.output().unwrap()
}

#[test]
fn the_command_counts_and_its_status_tells() {
    let dir = committed();
    let report = check(&dir).unwrap();
    let dir = dir.to_str().unwrap();
    let text = check_command(&[dir]);
    let expected = format!("{} files, {} cases: all hold\n", report.files, report.cases);
    assert!(text.status.success());
    assert_eq!(String::from_utf8(text.stdout).unwrap(), expected);
    let json = check_command(&[dir, "--json"]);
    let found: Value = serde_json::from_slice(&json.stdout).unwrap();
    let expected = serde_json::json!({ "ok": true, "files": report.files, "cases": report.cases });
    assert!(json.status.success());
    assert_eq!(found, expected);
}

#[test]
fn the_command_names_the_case_that_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let (_, mut file) = files()
        .into_iter()
        .find(|(name, _)| name == "merkle.json")
        .unwrap();
    file.cases[2].op = "unknown".to_owned();
    let id = file.cases[2].id;
    fs::write(
        dir.path().join("case.json"),
        serde_json::to_string(&file).unwrap(),
    )
    .unwrap();
    let output = check_command(&[dir.path().to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let named = format!("case {id} ");
    assert_eq!(found["ok"], false);
    assert!(found["error"].as_str().unwrap().contains(&named), "{found}");
    assert!(String::from_utf8(output.stderr).unwrap().contains(&named));
}

#[test]
fn items_and_runs_read_back() {
    for bytes in [
        vec![],
        vec![0; 15],
        vec![0; 16],
        vec![7; 40],
        [vec![1; 20], vec![0x23], vec![2; 30]].concat(),
    ] {
        let text = waxwire_proxy::vectors::compress(&bytes);
        assert_eq!(waxwire_proxy::vectors::expand(&text), Some(bytes), "{text}");
    }
    for bad in [
        "0",
        "zz",
        "(00",
        "(00)",
        "(00)*",
        "(0000)*2",
        "(00)*99999999",
        "(00)*2x",
    ] {
        assert_eq!(waxwire_proxy::vectors::expand(bad), None, "{bad}");
    }
    let item = Item::Map(vec![
        (
            Item::Uint(1),
            Item::Array(vec![Item::Bool(true), Item::Null, Item::Text("ü".to_owned())]),
        ),
        (Item::Negative(0), Item::Bytes(vec![0; 300])),
    ]);
    assert_eq!(Item::parse(&item.encode()), Some(item));
}
