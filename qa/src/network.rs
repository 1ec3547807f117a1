//! A network between the gateway and its Postgres that can lose a connection at the worst moment: around a commit.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// When the writer's connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The server never hears of the commit.
    BeforeCommit,
    /// The server has committed and said so; nobody hears it.
    AfterCommit,
}

/// The way to one server. Closed when dropped.
pub struct Network {
    address: SocketAddr,
    inner: Arc<Inner>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Inner {
    armed: Mutex<Option<Cut>>,
    cuts: AtomicUsize,
}

impl Inner {
    fn armed(&self) -> MutexGuard<'_, Option<Cut>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network {
    /// The same database on another way: the network, and the URL through it.
    pub fn to(url: &str) -> (Network, String) {
        let (user, place) = url.rsplit_once('@').expect("a URL with a user");
        let (server, name) = place.split_once('/').expect("a URL with a database");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let inner = Arc::new(Inner::default());
        let (stop, stopped) = watch::channel(false);
        let (carrying, server) = (inner.clone(), server.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(carry_all(listener, server, carrying, stopped));
        });
        (Network { address, inner, stop, thread: Some(thread) }, format!("{user}@{address}/{name}"))
    }

    /// Loses the writer's connection at its next commit; returns when that has happened.
    pub async fn cut(&self, cut: Cut) {
        let before = self.inner.cuts.load(Ordering::SeqCst);
        *self.inner.armed() = Some(cut);
        let happened = async {
            while self.inner.cuts.load(Ordering::SeqCst) == before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), happened).await;
        assert!(waited.is_ok(), "no commit came by at {}", self.address);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn carry_all(
    listener: std::net::TcpListener,
    server: String,
    inner: Arc<Inner>,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut connections = JoinSet::new();
    loop {
        let client = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => match accepted { Ok((client, _)) => client, Err(_) => continue },
        };
        let (server, inner) = (server.clone(), inner.clone());
        connections.spawn(async move {
            if let Ok(server) = TcpStream::connect(server).await {
                let _ = carry(client, server, &inner).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Passes everything on, both ways, until one side ends or the connection is to be lost: dropping it loses it.
async fn carry(mut client: TcpStream, mut server: TcpStream, inner: &Inner) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut up, mut down, mut writer) = (vec![0; 65_536], vec![0; 65_536], false);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let bytes = match read? { 0 => return Ok(()), count => &up[..count] };
                // The writer says who it is when it connects.
                writer = writer || contains(bytes, b"alfred-writer");
                let commits = writer && contains(bytes, b"COMMIT\0");
                let cut = if commits { inner.armed().take() } else { None };
                if cut != Some(Cut::BeforeCommit) {
                    server.write_all(bytes).await?;
                }
                if cut == Some(Cut::AfterCommit) {
                    let _unheard = server.read(&mut down).await?;
                }
                if cut.is_some() {
                    inner.cuts.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
            }
            read = server.read(&mut down) => match read? {
                0 => return Ok(()),
                count => client.write_all(&down[..count]).await?,
            },
        }
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
