//! The wall clock jumps an hour ahead, and then back: calls go on, what was held is settled once, and nobody is shut out for an hour.

use std::path::{Path, PathBuf};
use std::time::Duration;

use qa::check::usd;
use qa::upstream::{Gate, Step, openai};
use qa::world::{Plan, Setup, World, hello, hello_stream};

/// Where Debian puts the library that moves a process's clock (`libfaketime`).
fn library() -> Option<PathBuf> {
    let places = std::fs::read_dir("/usr/lib").ok()?.flatten();
    places.map(|place| place.path().join("faketime/libfaketime.so.1")).find(|path| path.exists())
}

/// Moves the clock: by so many hours from the true time.
fn jump(file: &Path, hours: i32) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{hours:+}h\n")).expect("a file");
    std::fs::rename(new, file).expect("a file");
}

/// A call that must be answered before long: the view of the keys may have to be confirmed first.
async fn answered(world: &World, key: &str, when: &str) {
    let mut last = String::new();
    for _ in 0..100 {
        let answer = world.chat(key, &hello("chat")).await;
        if answer.status == 200 {
            return;
        }
        last = format!("{} {}", answer.status, answer.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{when}: not answered in ten seconds: {last}\n{}", world.log());
}

#[tokio::test]
async fn a_clock_that_jumps_an_hour_loses_no_call_and_no_money() {
    let Some(library) = library() else {
        println!("SKIPPED: libfaketime is not installed (Debian: libfaketime); qa/setup/install.sh brings it");
        assert!(std::env::var_os("CI").is_none(), "CI must have it");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clock");
    jump(&file, 0);
    let preload: &'static str = format!("LD_PRELOAD={}", library.display()).leak();
    let clock: &'static str = format!("FAKETIME_TIMESTAMP_FILE={}", file.display()).leak();
    let by: &'static [&'static str] =
        vec!["env", preload, clock, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"].leak();
    let world = Setup::new().on_sqlite().started_by(by).start().await;
    let tenant = world.tenant(Plan::new().hard("1000")).await;
    let mut streams = Vec::new();
    for (hours, when) in [(0, "before"), (1, "an hour ahead"), (-1, "two hours back"), (0, "and right again")] {
        jump(&file, hours);
        answered(&world, &tenant.key, when).await;
        // One stream of each time is open over all that follow.
        let gate = Gate::new();
        world.first.next(openai::begin(&["Hello"]).then(Step::Wait(gate.clone())).and(openai::end(Some((10, 5)))));
        let mut flow = world.stream(&tenant.key, &hello_stream("chat")).await;
        flow.until("Hello").await;
        streams.push((when, gate, flow));
        // The housekeeper and the heartbeat have their turn.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    let mut calls = Vec::new();
    for (when, gate, flow) in streams {
        gate.open();
        let answer = flow.whole().await.expect("a whole stream");
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{when}: {}", answer.text());
        calls.push((when, answer.must("x-request-id").to_owned()));
    }
    let wallet = world.at_rest(&tenant.wallet, Duration::from_secs(10)).await;
    // Each of the eight calls was charged once, as billed.
    for (when, call) in calls {
        let receipt = world.receipt(&call).await;
        assert_eq!(usd(&receipt, "price_usd"), 20_000, "{when}: {receipt}");
    }
    assert_eq!(usd(&wallet, "spent_usd"), 8 * 20_000, "{wallet}");
    world.assert_balanced(&tenant).await;
    let (export, _) = world.export(&tenant.org).await;
    let (code, out, err) = qa::tools::run_alfred(&["audit", "verify", export.to_str().expect("a UTF-8 path")]);
    assert_eq!(code, 0, "{out}{err}");
}
