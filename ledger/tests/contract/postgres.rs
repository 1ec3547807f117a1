//! A real Postgres for the suite: the one that `ALFRED_TEST_POSTGRES_URL` names, or one of our own that ends with us.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, tcp};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

const MISSING: &str = "Postgres is not installed here: install the Debian package postgresql-15 \
                       (apt-get install postgresql-15), or set ALFRED_TEST_POSTGRES_URL to a server that may create databases";

/// The url of a database that nobody else uses.
pub async fn fresh_database(name: &str) -> String {
    static SERVER: OnceLock<String> = OnceLock::new();
    let server = SERVER.get_or_init(|| std::env::var("ALFRED_TEST_POSTGRES_URL").unwrap_or_else(|_| start()));
    let name = format!("alfred_{}_{name}", std::process::id());
    let (base, _) = server.rsplit_once('/').expect("a url with a database");
    let mut admin = PgConnection::connect(server).await.expect("a Postgres that answers");
    admin
        .execute(sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}")))
        .await
        .expect("no database of that name");
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("leave to create databases");
    admin.close().await.expect("closed");
    format!("{base}/{name}")
}

/// The same database behind a network that can stop passing anything on, in both directions, without a word.
pub async fn through_a_network(url: &str) -> (String, watch::Sender<bool>) {
    let (user, place) = url.rsplit_once('@').expect("a user");
    let (server, name) = place.split_once('/').expect("a database");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let near = format!("{user}@{}/{name}", listener.local_addr().expect("an address"));
    let (passes, seen) = (watch::Sender::new(true), server.to_owned());
    let (watched, tasks) = (passes.subscribe(), TaskTracker::new());
    tasks.clone().spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&seen).await.expect("the server");
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tasks.spawn(pass_on(from_client, to_server, watched.clone()));
            tasks.spawn(pass_on(from_server, to_client, watched.clone()));
        }
    });
    (near, passes)
}

async fn pass_on(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut passes: watch::Receiver<bool>) {
    let mut bytes = [0; 8_192];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let _ = passes.wait_for(|passes| *passes).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
}

fn binaries() -> PathBuf {
    let known = std::env::var_os("ALFRED_TEST_POSTGRES_BIN").map(PathBuf::from).into_iter();
    let mut installed: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    installed.sort();
    let path =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    known
        .chain([PathBuf::from("/usr/lib/postgresql/15/bin")])
        .chain(installed.into_iter().rev())
        .chain(path)
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .expect(MISSING)
}

/// Runs as the user `postgres` where we are root, because Postgres will not run as root.
fn command(program: &Path) -> Command {
    if !am_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn am_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.starts_with(b"0\n")
}

fn run(command: &mut Command) {
    let output = command.current_dir("/").stdin(Stdio::null()).output().expect("a program that starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {told}");
}

fn start() -> String {
    let bin = binaries();
    let folder = tempfile::Builder::new().prefix("alfred-postgres-").tempdir().expect("a folder").keep();
    let word = folder.join("password");
    std::fs::File::create(&word).and_then(|mut file| file.write_all(b"alfred\n")).expect("a password file");
    if am_root() {
        run(Command::new("chown").arg("-R").arg("postgres:").arg(&folder));
    }
    let data = folder.join("data");
    run(command(&bin.join("initdb"))
        .args(["-A", "scram-sha-256", "-U", "alfred", "-E", "UTF8", "--no-locale", "--no-sync"])
        .arg("-D")
        .arg(&data)
        .arg(format!("--pwfile={}", word.display())));
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    // Nothing here outlives the tests, so nothing need be on disk.
    let options = format!(
        "-c listen_addresses=127.0.0.1 -p {port} -k {} -c max_connections=300 -c fsync=off -c synchronous_commit=off",
        folder.display()
    );
    run(command(&bin.join("pg_ctl"))
        .arg("-D")
        .arg(&data)
        .arg("-l")
        .arg(folder.join("log"))
        .args(["-w", "-o"])
        .arg(options)
        .arg("start"));
    end_with_us(&bin, &folder);
    format!("postgres://alfred:alfred@127.0.0.1:{port}/postgres")
}

/// A shell that reads from us until we are gone, however that comes, and then stops the server.
fn end_with_us(bin: &Path, folder: &Path) {
    let stop = format!(
        "cat >/dev/null; '{}' -D '{}/data' -m immediate stop; rm -rf '{}'",
        bin.join("pg_ctl").display(),
        folder.display(),
        folder.display()
    );
    let child = command(Path::new("/bin/sh"))
        .args(["-c", &stop])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    // Our end of its pipe stays open as long as we live.
    std::mem::forget(child);
}
