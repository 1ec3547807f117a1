//! Programs that the suites run: the gateway itself and what `qa/setup/install.sh` put into the cache folder.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The `alfred` binary of this build: beside the test executables, or `ALFRED_BIN`.
pub fn alfred() -> PathBuf {
    if let Some(path) = std::env::var_os("ALFRED_BIN") {
        return path.into();
    }
    let here = std::env::current_exe().expect("an executable has a path");
    // target/<profile>/deps/<suite>, or target/<profile>/bench
    let found = here.ancestors().skip(1).take(2).map(|folder| folder.join("alfred")).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "no alfred binary beside {}: run `cargo build --workspace --all-targets` first, as `make test` does",
            here.display()
        )
    })
}

/// A command of `alfred` without the settings that lie around in this process's environment.
pub fn alfred_command(arguments: &[&str]) -> Command {
    alfred_command_by(&[], arguments)
}

/// The same, started by another program that is handed `alfred` and its arguments.
pub fn alfred_command_by(program: &[&str], arguments: &[&str]) -> Command {
    let mut command = match program.split_first() {
        None => Command::new(alfred()),
        Some((program, first)) => {
            let mut command = Command::new(program);
            command.args(first).arg(alfred());
            command
        }
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ALFRED_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs `alfred` to its end and hands back exit code, standard output and standard error.
pub fn run_alfred(arguments: &[&str]) -> (i32, String, String) {
    let done = alfred_command(arguments).output().expect("alfred runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

/// The root of the repository: the nearest folder above that has the suites' set-up. Found when asked, not when built: a cached
/// build of one clone serves another.
pub fn repository() -> PathBuf {
    let here = std::env::current_dir().expect("tests run in a folder");
    let root = here.ancestors().find(|folder| folder.join("qa/setup/install.sh").exists());
    root.expect("tests run inside the repository").to_owned()
}

/// Something that `qa/setup/install.sh` makes under `${QA_CACHE:-$HOME/.cache/alfred}`.
pub fn cached(name: &str) -> PathBuf {
    let folder = match std::env::var_os("QA_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").expect("HOME or QA_CACHE is set")).join(".cache/alfred"),
    };
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run qa/setup/install.sh, as `make test` does", path.display());
    path
}

/// The Python of the test tools.
pub fn python() -> Command {
    Command::new(cached("venv/bin/python"))
}

/// Runs a command to its end; shows all it said if it fails.
#[track_caller]
pub fn must_run(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?} failed with {}:\n{said}", done.status);
    said
}

/// A port of the loopback that nobody listens on, below the range that outgoing connections are given.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..2_000 {
        let port = 20_000 + (start.wrapping_add(NEXT.fetch_add(1, Ordering::SeqCst))) % 12_000;
        let port = u16::try_from(port).expect("below 32,000");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
