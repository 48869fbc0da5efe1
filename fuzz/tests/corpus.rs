//! The corpus is replayed, and mutated by seed: a few hundred times each, or for seconds with `WAXWIRE_SOAK`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "an input has a time limit")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use waxwire_fuzz::{Target, mutate::mutate, seeds::seeds, targets};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Inputs of a target with their names.
fn inputs(target: Target) -> Vec<(String, Vec<u8>)> {
    let entries =
        fs::read_dir(corpus().join(target.name)).unwrap_or_else(|_| panic!("{target:?} has no corpus"));
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// The longest that one input may take in a build of tests on a busy machine.
const LONGEST: Duration = Duration::from_secs(10);

fn run(target: Target, input: &[u8], name: &str) -> bool {
    let begin = Instant::now();
    let outcome = std::panic::catch_unwind(|| (target.run)(input));
    let took = begin.elapsed();
    assert!(took < LONGEST, "{target:?} {name} took {took:?}");
    outcome.unwrap_or_else(|_| panic!("{target:?} {name}: {}", hex::encode(input)))
}

#[test]
fn every_target_has_a_corpus_that_reaches_it() {
    let names: BTreeSet<&str> = targets().iter().map(|target| target.name).collect();
    assert_eq!(names.len(), targets().len(), "a name stands for two targets");
    for entry in fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            names.contains(name.as_str()),
            "corpus/{name} belongs to no target"
        );
    }
    for target in targets() {
        let accepted = inputs(target)
            .iter()
            .any(|(name, input)| run(target, input, name));
        assert!(accepted, "{target:?} accepts nothing of its corpus");
    }
}

#[test]
fn seeds_are_those_of_the_vectors_and_encoders() {
    let mut seeds = seeds();
    // Of the state's schema of its day, which a backup may have for ever.
    seeds.remove("backup_records");
    for (target, seeds) in seeds {
        for (number, seed) in seeds.iter().enumerate() {
            let path = corpus().join(&target).join(format!("seed-{:02}", number + 1));
            let found = fs::read(&path).unwrap_or_default();
            assert!(
                found == *seed,
                "{} is another: cargo run -p waxwire-fuzz -- seeds",
                path.display()
            );
        }
    }
}

/// Nothing that was ever found breaks a rule again.
#[test]
fn corpus_is_replayed() {
    for target in targets() {
        for (name, input) in inputs(target) {
            run(target, &input, &name);
        }
    }
}

/// The same inputs in every run of `make test`; `make soak` goes on from other seeds.
#[test]
fn mutations_break_no_rule() {
    let round: Option<u64> = env::var("WAXWIRE_SOAK").ok().and_then(|round| round.parse().ok());
    let (runs, most) = match round {
        Some(_) => (u64::MAX, Duration::from_secs(5)),
        None => (400, Duration::from_secs(2)),
    };
    let halves: [Vec<Target>; 2] = [0, 1].map(|half| targets().into_iter().skip(half).step_by(2).collect());
    thread::scope(|scope| {
        for half in &halves {
            scope.spawn(move || {
                for target in half {
                    mutate_target(*target, round.unwrap_or(0), runs, most);
                }
            });
        }
    });
}

fn mutate_target(target: Target, seed: u64, runs: u64, most: Duration) {
    let inputs = inputs(target);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let begin = Instant::now();
    for number in 0..runs {
        if begin.elapsed() > most {
            break;
        }
        let at = usize::try_from(number).unwrap() % inputs.len();
        let mut input = inputs[at].1.clone();
        mutate(&mut rng, &mut input, &inputs[(at + 1) % inputs.len()].1);
        run(target, &input, "mutated");
    }
}
