//! A provider of every dialect that nobody here wrote: `@copilotkit/aimock`, which answers after `qa/clients/aimock/fixtures.json`.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::http::Http;
use crate::tools;

/// The running server. Ends when dropped.
pub struct Aimock {
    child: Child,
    port: u16,
}

impl Drop for Aimock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Aimock {
    /// Starts it and waits until it answers.
    pub async fn start() -> Aimock {
        let port = tools::free_port();
        let mut command = Command::new("node");
        command.arg(tools::cached("node/node_modules/@copilotkit/aimock/dist/cli.js"));
        command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--log-level", "silent", "--fixtures"]);
        command.arg(tools::repository().join("qa/clients/aimock/fixtures.json"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let aimock = Aimock { child: command.spawn().expect("node starts"), port };
        let from = Instant::now();
        while Http::new().send("GET", &aimock.at("/health"), &[], "").await.is_err() {
            assert!(from.elapsed() < Duration::from_secs(60), "aimock does not start");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        aimock
    }

    /// An address of it.
    pub fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}
