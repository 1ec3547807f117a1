//! Other gateways to stand beside: TensorZero and LiteLLM, each a process of its own with nothing governed. Installed by
//! `qa/setup/peers.sh`; where one cannot run, the tables say so and why.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use qa::tools;
use serde_json::Value;

use crate::load::{Kind, Target, probe};

/// LiteLLM takes half a minute to start on two cores, and more beside others.
const PATIENCE: Duration = Duration::from_secs(180);

/// A peer that answers. Ends when dropped.
pub struct Peer {
    child: Child,
    pub target: Target,
    /// MB of the interpreter and its module, before the gateway was started in it.
    pub bare: u64,
    _folder: tempfile::TempDir,
}

impl Peer {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts it over an upstream and waits until it answers.
    ///
    /// # Errors
    /// Why it cannot be measured.
    pub async fn start(name: &str, upstream: SocketAddr) -> Result<Peer, String> {
        let python = interpreter().ok_or("not installed: run qa/setup/peers.sh")?;
        let folder = tempfile::Builder::new().prefix("alfred-peer-").tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut child = Command::new(python)
            .arg(tools::repository().join("qa/bench/peers.py"))
            .args([name, &format!("http://{upstream}"), &tools::free_port().to_string()])
            .arg(folder.path())
            // It ends when this pipe does, however we end.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a file"))
            .current_dir(folder.path())
            .spawn()
            .map_err(|error| format!("does not start: {error}"))?;
        let from = Instant::now();
        loop {
            if child.try_wait().expect("a child").is_some() {
                return Err(format!("ended before it answered: {}", last_line(&log)));
            }
            if let Some((target, bare)) = started(&folder, name)
                && probe(&target, Kind::Json, "").await.is_ok_and(|(_, words)| words > 0)
            {
                return Ok(Peer { child, target, bare, _folder: folder });
            }
            if from.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("did not answer within {} s: {}", PATIENCE.as_secs(), last_line(&log)));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// The name of a model of ours with this peer.
    pub fn model(name: &str, model: &str) -> String {
        if name == "tensorzero" { format!("tensorzero::model_name::{model}") } else { model.to_owned() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that `qa/setup/peers.sh` has made.
fn interpreter() -> Option<PathBuf> {
    let cache = std::env::var_os("QA_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/alfred")))?;
    Some(cache.join("peers/bin/python")).filter(|path| path.exists())
}

/// Where it said that it listens.
fn started(folder: &tempfile::TempDir, name: &str) -> Option<(Target, u64)> {
    let told = std::fs::read_to_string(folder.path().join("started")).ok()?;
    let told: Value = serde_json::from_str(&told).ok()?;
    let (address, path) = told["url"].as_str()?.strip_prefix("http://")?.split_once('/')?;
    let target = Target {
        address: address.parse().ok()?,
        path: format!("/{}/chat/completions", path.trim_end_matches('/')),
        model: Peer::model(name, "bench"),
        key: "none".into(),
    };
    Some((target, told["bare_kb"].as_u64()? / 1024))
}

fn last_line(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    // It becomes a cell of a table.
    line.chars().filter(|c| !c.is_control() && *c != '|').take(160).collect()
}
