//! An upstream that goes wrong byte for byte, below what an HTTP library would let it: it takes the request off the wire by hand,
//! looks up what the path asks for, and does exactly that. Nothing in it is random.

pub mod answers;
pub mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// One thing that a faulty server does with a connection, after it has taken the request.
#[derive(Debug, Clone)]
pub enum Act {
    /// One write.
    Send(Vec<u8>),
    /// A write a byte, so long apart.
    Drip(Vec<u8>, Duration),
    /// Nothing for a while.
    Pause(Duration),
    /// Nothing, until the other side has gone.
    Stall,
    /// Says that it has ended, and goes on listening until the other side has gone.
    HalfClose,
    /// Breaks the connection off with a reset.
    Reset,
}

/// What is done, by whether a stream is asked for.
pub type Faults = BTreeMap<String, [Vec<Act>; 2]>;

/// The most that it reads of one request.
const MOST: usize = 4 << 20;

#[derive(Default)]
struct Inner {
    faults: Mutex<Faults>,
    asked: Mutex<BTreeMap<String, usize>>,
    heard: Mutex<Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server: `http://address/<fault>-<anything>/v1` is the base URL of a provider with that fault. Stops when dropped.
pub struct Faulty {
    address: SocketAddr,
    inner: Arc<Inner>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Faulty {
    /// Starts on a free port of the loopback, on a thread of its own.
    pub fn start(faults: Faults) -> Faulty {
        Faulty::serving(faults, None)
    }

    /// The same behind TLS.
    pub fn behind(faults: Faults, tls: TlsAcceptor) -> Faulty {
        Faulty::serving(faults, Some(tls))
    }

    fn serving(faults: Faults, tls: Option<TlsAcceptor>) -> Faulty {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let inner = Arc::new(Inner { faults: Mutex::new(faults), ..Inner::default() });
        let (stop, stopped) = watch::channel(false);
        let told = Arc::clone(&inner);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(listener, told, tls, stopped));
        });
        Faulty { address, inner, stop, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL of the provider that is named so.
    pub fn base(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}://{}/{name}/v1", self.address)
    }

    /// How often the provider of this name was asked.
    pub fn asked(&self, name: &str) -> usize {
        lock(&self.inner.asked).get(name).copied().unwrap_or(0)
    }

    /// How many requests came in all.
    pub fn count(&self) -> usize {
        lock(&self.inner.asked).values().sum()
    }

    /// All that was sent here, whether it was a request or not.
    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&lock(&self.inner.heard)).into_owned()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    inner: Arc<Inner>,
    tls: Option<TlsAcceptor>,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => match accepted { Ok((stream, _)) => stream, Err(_) => continue },
        };
        let _ = stream.set_nodelay(true);
        let (inner, tls) = (Arc::clone(&inner), tls.clone());
        connections.spawn(async move {
            match tls {
                None => plain(stream, &inner).await,
                Some(tls) => {
                    if let Ok(mut stream) = tls.accept(stream).await {
                        act(&mut stream, &inner).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn plain(mut stream: TcpStream, inner: &Inner) {
    if act(&mut stream, inner).await {
        let _ = stream.set_zero_linger();
    }
}

/// One request, and what is done with it; whether the connection is to be reset.
async fn act<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, inner: &Inner) -> bool {
    let Some((name, streamed)) = request(stream, inner).await else { return false };
    *lock(&inner.asked).entry(name.clone()).or_default() += 1;
    let acts = {
        let faults = lock(&inner.faults);
        // `slow-3` is the fault `slow`, met by the provider of that name.
        let fault = faults.get(&name).or_else(|| faults.get(name.rsplit_once('-').map_or("", |(fault, _)| fault)));
        fault.map(|acts| acts[usize::from(streamed)].clone()).unwrap_or_default()
    };
    for act in acts {
        let done = match act {
            Act::Send(bytes) => stream.write_all(&bytes).await,
            Act::Drip(bytes, wait) => drip(stream, &bytes, wait).await,
            Act::Pause(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            Act::Stall => {
                until_gone(stream).await;
                return false;
            }
            Act::HalfClose => {
                let ended = stream.shutdown().await;
                until_gone(stream).await;
                ended
            }
            // What was written before is given time to arrive: a reset may overtake it.
            Act::Reset => {
                tokio::time::sleep(Duration::from_millis(30)).await;
                return true;
            }
        };
        if done.is_err() {
            return false;
        }
    }
    let _ = stream.shutdown().await;
    false
}

async fn drip<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8], wait: Duration) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(std::slice::from_ref(byte)).await?;
        if wait.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(wait).await;
        }
    }
    Ok(())
}

async fn until_gone<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut rest = [0; 1024];
    while let Ok(1..) = stream.read(&mut rest).await {}
}

/// The first segment of the path that is asked for, and whether a stream is.
async fn request<S: AsyncRead + Unpin>(stream: &mut S, inner: &Inner) -> Option<(String, bool)> {
    let (mut taken, mut piece) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        taken.extend_from_slice(&piece[..read]);
        lock(&inner.heard).extend_from_slice(&piece[..read]);
        let Some(end) = taken.windows(4).position(|it| it == b"\r\n\r\n") else {
            if taken.len() > MOST {
                return None;
            }
            continue;
        };
        let head = String::from_utf8_lossy(&taken[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if taken.len() >= end + 4 + length.unwrap_or(0usize) {
            let name = head.split(' ').nth(1)?.trim_start_matches('/').split('/').next()?.to_owned();
            let body = String::from_utf8_lossy(&taken[end + 4..]).replace(' ', "");
            return Some((name, body.contains("\"stream\":true")));
        }
    }
}
