//! A Redis server of the suite's own, on a port of its own, that can be killed and started again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::tools;

/// A running server; nothing of it is kept on disk. Ends when dropped.
pub struct Redis {
    port: u16,
    folder: tempfile::TempDir,
    server: Option<Child>,
}

impl Redis {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When the machine has none: it is a Debian package, which `qa/setup/install.sh` installs.
    pub fn start() -> Redis {
        let folder = tempfile::Builder::new().prefix("alfred-redis-").tempdir().expect("a folder");
        let mut redis = Redis { port: tools::free_port(), folder, server: None };
        redis.begin();
        redis
    }

    /// Starts it again, empty, at the same address.
    pub fn begin(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--appendonly", "no"]);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = command.spawn();
        self.server =
            Some(started.expect("redis-server runs: install the Debian package, as qa/setup/install.sh does"));
        let from = Instant::now();
        while self.ask("PING").is_none_or(|it| !it.starts_with("+PONG")) {
            assert!(from.elapsed() < Duration::from_secs(30), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// It no longer answers, and holds on to its connections (SIGSTOP); with `false` it goes on.
    pub fn stand_still(&self, still: bool) {
        let Some(server) = &self.server else { return };
        let signal = if still { "-STOP" } else { "-CONT" };
        let _ = Command::new("kill").args([signal, &server.id().to_string()]).status();
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// What it answers to a command, as it stands on the wire.
    pub fn ask(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        let mut answer = [0; 4_096];
        let length = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stand_still(false);
        self.kill();
    }
}
