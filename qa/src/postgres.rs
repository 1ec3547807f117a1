//! A real Postgres 15, one for each test binary, started when first asked for; a database for each world. A watchdog
//! that reads from this process stops the server and removes its files, however the tests end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::tools;

/// How careful the server is with what it was told to keep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// No fsync: fast, and a killed *client* loses nothing all the same.
    Fast,
    /// As in production: for figures.
    Durable,
}

/// A running server.
pub struct Postgres {
    port: u16,
    care: Care,
    folder: PathBuf,
    binaries: PathBuf,
    _watchdog: Child,
}

const PASSWORD: &str = "postgres-test-password";
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The server of this test binary.
pub fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(Care::Fast))
}

impl Postgres {
    /// Starts a server in a folder of its own.
    pub fn start(care: Care) -> Postgres {
        let binaries = binaries();
        // The server's user must reach it, so it lies directly in the temporary folder.
        let folder = tempfile::Builder::new().prefix("alfred-pg-").tempdir().expect("a folder").keep();
        let password = folder.join("password");
        std::fs::write(&password, PASSWORD).expect("a file");
        if root() {
            tools::must_run(Command::new("chown").arg("-R").arg("postgres").arg(&folder));
        }
        let mut initdb = server_command(&binaries.join("initdb"));
        initdb.arg("-D").arg(folder.join("data")).arg("--pwfile").arg(&password);
        initdb.args(["-A", "scram-sha-256", "-U", "alfred", "-E", "UTF8", "--no-locale", "--no-sync"]);
        tools::must_run(&mut initdb);

        let watchdog = watchdog(&binaries, &folder);
        let server = Postgres { port: tools::free_port(), care, folder, binaries, _watchdog: watchdog };
        server.start_again();
        server
    }

    /// Starts the server again after [`Postgres::break_off`].
    pub fn start_again(&self) {
        let folder = self.folder.display();
        let mut options = format!("-c listen_addresses=127.0.0.1 -p {} -k {folder} -c max_connections=200", self.port);
        if self.care == Care::Fast {
            options.push_str(" -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_wal_size=8GB");
        }
        let mut start = self.pg_ctl();
        start.args(["-w", "-t", "60", "-l"]).arg(self.folder.join("log")).args(["-o", &options, "start"]);
        // Its own output must not hold our pipes open: it outlives this command.
        start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = start.status().expect("pg_ctl runs");
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert!(started.success(), "postgres did not start:\n{log}");
    }

    /// Ends the server at once, without a word to its clients.
    pub fn break_off(&self) {
        tools::must_run(self.pg_ctl().args(["-w", "-m", "immediate", "stop"]));
    }

    /// Restarts the server under whoever uses it: `fast` ends their sessions, `immediate` is a crash.
    pub fn restart(&self, mode: &str) {
        tools::must_run(self.pg_ctl().args(["-w", "-m", mode, "stop"]));
        self.start_again();
    }

    fn pg_ctl(&self) -> Command {
        let mut command = server_command(&self.binaries.join("pg_ctl"));
        command.arg("-D").arg(self.folder.join("data"));
        command
    }

    /// Makes an empty database and returns its URL.
    pub fn database(&self) -> String {
        let name = format!("alfred_{}", DATABASES.fetch_add(1, Ordering::SeqCst));
        self.psql("postgres", &format!("CREATE DATABASE {name}")).expect("a database can be made");
        format!("postgres://alfred:{PASSWORD}@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs SQL by `psql`, as an operator would by hand: unaligned rows, or the error text.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.env("PGPASSWORD", PASSWORD).args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "alfred"]);
        psql.args(["-d", database, "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]).stdin(Stdio::null());
        let done = psql.output().expect("psql runs");
        match done.status.success() {
            true => Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }

    /// Runs a script of `pgbench` for a span of time; transactions per second.
    pub fn pgbench(&self, database: &str, script: &str, clients: usize, seconds: u64) -> Result<f64, String> {
        let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        std::fs::write(file.path(), script).map_err(|error| error.to_string())?;
        let mut pgbench = Command::new(self.binaries.join("pgbench"));
        pgbench.env("PGPASSWORD", PASSWORD).args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "alfred"]);
        pgbench.args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string(), "-T", &seconds.to_string()]);
        let done = pgbench.arg("-f").arg(file.path()).arg(database).stdin(Stdio::null()).output();
        let done = done.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&done.stdout);
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.ok_or_else(|| format!("{said}{}", String::from_utf8_lossy(&done.stderr)))
    }

    /// The folder of the server, its log within.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The name of the database in a URL of [`Postgres::database`].
pub fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

fn binaries() -> PathBuf {
    let debian = PathBuf::from("/usr/lib/postgresql/15/bin");
    let mut places = vec![debian];
    places.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let found = places.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("psql").is_file());
    found.expect(
        "no Postgres server programs (initdb): install the Debian package postgresql-15, as qa/setup/install.sh does",
    )
}

fn root() -> bool {
    tools::must_run(Command::new("id").arg("-u")).trim() == "0"
}

/// Postgres refuses to run as root, so root runs it as the user that the Debian package made.
fn server_command(program: &Path) -> Command {
    if !root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program).current_dir("/");
    command
}

fn watchdog(binaries: &Path, folder: &Path) -> Child {
    let stop = server_command(&binaries.join("pg_ctl"));
    let mut words: Vec<String> = vec![stop.get_program().to_string_lossy().into_owned()];
    words.extend(stop.get_args().map(|a| a.to_string_lossy().into_owned()));
    // `read` ends when this process does, since nobody else holds the other end of the pipe.
    let script = format!(
        "trap '' INT TERM HUP; read nothing; {} -D '{folder}/data' -m immediate stop >/dev/null 2>&1; rm -rf '{folder}'",
        words.join(" "),
        folder = folder.display()
    );
    let mut sh = Command::new("sh");
    sh.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    sh.spawn().expect("sh runs")
}
