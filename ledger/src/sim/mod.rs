//! The ledger, simulated: the code that decides, seals and resolves runs as it is, on a database in memory, with the clock,
//! the failures and the order of events drawn from a seed. After every commit all rules of the books are checked against a
//! second set of books that knows nothing of the first.
//!
//! `SIM_SEED=… SIM_OPS=… cargo test -p ledger sim` repeats or lengthens a run.

mod chance;
mod check;
mod image;
mod mirror;
mod model;
mod operations;
#[path = "../../tests/contract/postgres.rs"]
#[expect(dead_code, reason = "shared with the contract tests")]
mod postgres;
mod process;
mod step;
mod world;

use std::time::Instant;

use crate::entropy::Entropy;
use image::Fault;
use mirror::Mirror;
use world::{Shape, Tally, World};

/// Nothing, or what is wrong.
type Verdict = Result<(), String>;

/// Operations of one world. Small worlds see more of the corners, and are repeated sooner.
const LENGTH: u64 = 25_000;
/// Operations on a fixed seed, and as many on a fresh one.
const OPERATIONS: u64 = 500_000;
const FIXED_SEED: u64 = 20_260_311;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

fn fresh_seed() -> u64 {
    u64::from_le_bytes(Entropy::system().bytes()) >> 16
}

/// Worlds one after the other, the first with the seed itself.
fn simulate(seed: u64, operations: u64) {
    println!("simulation: SIM_SEED={seed} SIM_OPS={operations}");
    let (begun, mut tally) = (Instant::now(), Tally::default());
    for number in 0..operations.div_ceil(LENGTH) {
        let (seed, length) = (seed.wrapping_add(number), LENGTH.min(operations - number * LENGTH));
        let mut world = World::new(seed, Shape::default());
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(length)));
        if !matches!(done, Ok(Ok(()))) {
            again_in_words(seed, length);
            panic!("simulation failed: SIM_SEED={seed} SIM_OPS={length}");
        }
        tally.add(&world.tally);
    }
    println!("simulation: {:.1} s, {tally:?}", begun.elapsed().as_secs_f64());
}

/// The same once more, this time telling what led to it.
fn again_in_words(seed: u64, operations: u64) {
    let mut world = World::new(seed, Shape::default());
    world.show();
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(operations))) {
        Ok(Ok(())) => println!("SIM_SEED={seed}: it does not happen again"),
        Ok(Err(told)) => println!("SIM_SEED={seed}: {told}"),
        Err(_) => println!("SIM_SEED={seed}: panicked in operation {}", world.tally.operations),
    }
}

#[test]
fn the_books_hold_whatever_happens_on_a_known_seed() {
    if from_environment("SIM_SEED").is_none() {
        simulate(FIXED_SEED, OPERATIONS);
    }
}

#[test]
fn the_books_hold_whatever_happens_on_a_fresh_seed() {
    let seed = from_environment("SIM_SEED").unwrap_or_else(fresh_seed);
    simulate(seed, from_environment("SIM_OPS").unwrap_or(OPERATIONS));
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let story = || {
        let mut world = World::new(7, Shape::default());
        world.run(3_000).unwrap();
        let heads: Vec<_> = world.image.audit.keys().map(|chain| (chain.clone(), world.image.head(chain))).collect();
        (heads, format!("{:?}", world.tally))
    };
    assert_eq!(story(), story());
}

#[test]
fn whatever_is_wrong_with_a_database_is_noticed() {
    for fault in [
        Fault::LimitOffByOne,
        Fault::LosesJournalRow,
        Fault::LosesCounter,
        Fault::LosesAuditEntry,
        Fault::LosesClaim,
        Fault::KeepsResolvedHold,
        Fault::SavesHalf,
        Fault::RetriesBlindly,
    ] {
        let mut world = World::new(FIXED_SEED, Shape { fault: Some(fault), ..Shape::default() });
        let told = world.run(LENGTH).expect_err(&format!("{fault:?}"));
        println!("{fault:?}: {}", told.lines().next().unwrap_or_default());
    }
}

/// The same steps on the image and on a real database, batch by batch.
fn side_by_side(url: &str, shape: Shape, operations: u64) {
    let seed = from_environment("SIM_SEED").unwrap_or(FIXED_SEED);
    println!("simulation beside {}: SIM_SEED={seed}", url.split(':').next().unwrap_or_default());
    let mut world = World::new(seed, shape);
    world.show();
    world.mirror = Some(Mirror::open(url, &world).unwrap());
    if let Err(told) = world.run(operations) {
        panic!("SIM_SEED={seed}: {told}");
    }
}

#[test]
fn sqlite_keeps_the_same_books_as_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("alfred.db").display());
    side_by_side(&url, Shape { alone: true, ..Shape::default() }, 20_000);
}

#[test]
fn postgres_keeps_the_same_books_as_the_image() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = runtime.block_on(postgres::fresh_database("simulation"));
    side_by_side(&url, Shape::default(), 20_000);
}
