//! A house with somebody at its door, and a normal client who must not notice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use qa::check::usd;
use qa::process::Taken;
use qa::world::{Setup, Tenant, World, hello};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// So long anything may take; what runs away takes minutes.
pub const IN_TIME: Duration = Duration::from_secs(60);
/// So much may the process have grown when a siege is over, in KiB: allocators keep what they were given.
const GROWTH: u64 = 200 << 10;
/// Calls of the normal client before the siege, to compare with.
const BEFORE: usize = 30;

/// A house before it is besieged.
pub struct Siege {
    pub world: World,
    pub tenant: Tenant,
    before: Taken,
    alone: Vec<Duration>,
    peak: Mutex<Option<Taken>>,
}

impl Siege {
    /// With these bounds on connections.
    pub async fn of(connections: Value) -> Siege {
        let setup = Setup::new().on_sqlite().with(|config| {
            config["connections"] = connections;
            config["log"] = json!({"filter": "warn"});
        });
        let mut world = setup.start().await;
        world.first.forget();
        let tenant = world.rich().await;
        let mut alone = Vec::new();
        for _ in 0..BEFORE {
            let from = Instant::now();
            world.chat(&tenant.key, &hello("chat")).await.expect(200);
            alone.push(from.elapsed());
        }
        let before = Taken::by(world.alfred().pid());
        Siege { world, tenant, before, alone, peak: Mutex::default() }
    }

    pub async fn start() -> Siege {
        Siege::of(json!({})).await
    }

    /// Runs the attack with a normal client beside it, all of whose calls must succeed; then sees to what is left of it.
    pub async fn under<T>(mut self, name: &str, attack: impl AsyncFnOnce(&Siege) -> T) -> T {
        let over = Arc::new(AtomicBool::new(false));
        let client = async {
            let mut took = Vec::new();
            while !over.load(Ordering::SeqCst) || took.is_empty() {
                let from = Instant::now();
                let asked = hello("chat");
                let call = self.world.chat(&self.tenant.key, &asked);
                let answer = tokio::time::timeout(IN_TIME, call).await.expect("the normal client is answered");
                assert_eq!(answer.status, 200, "{name}: the normal client: {}", answer.text());
                took.push(from.elapsed());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            took
        };
        let attack = async {
            let what = attack(&self).await;
            self.look();
            let peak = (*self.peak.lock().expect("whole")).expect("looked");
            over.store(true, Ordering::SeqCst);
            (what, peak)
        };
        let (took, (what, peak)) = tokio::join!(client, attack);
        let after = self.settled().await;
        println!(
            "{name}: {} calls beside it, all answered; p99 {:.1} ms, alone {:.1} ms; memory {} KiB before, {} during, {} after; \
             files {}, {}, {}",
            took.len(),
            p99(took),
            p99(std::mem::take(&mut self.alone)),
            self.before.resident,
            peak.resident,
            after.resident,
            self.before.files,
            peak.files,
            after.files,
        );
        assert!(after.resident < self.before.resident + GROWTH, "{name}: grew from {:?} to {after:?}", self.before);
        let wallet = self.world.at_rest(&self.tenant.wallet, Duration::from_secs(10)).await;
        assert!(usd(&wallet, "spent_usd") > 0);
        self.world.assert_balanced(&self.tenant).await;
        assert!(!self.world.log().contains("panicked"), "{}", self.world.log());
        what
    }

    /// Waits until the besiegers' descriptors are given back.
    async fn settled(&self) -> Taken {
        let from = Instant::now();
        loop {
            let now = Taken::by(self.pid());
            if now.files <= self.before.files + 40 {
                return now;
            }
            assert!(from.elapsed() < IN_TIME, "descriptors are not given back: {now:?}, before {:?}", self.before);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Takes note of what the process takes now, the first time that it is asked.
    pub fn look(&self) {
        self.peak.lock().expect("whole").get_or_insert_with(|| Taken::by(self.pid()));
    }

    fn pid(&self) -> u32 {
        self.world.pid()
    }

    pub fn address(&self) -> String {
        self.world.url().trim_start_matches("http://").to_owned()
    }

    pub async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    /// Sends bytes and reads until the connection is closed, or nothing has come for a while; whether it was closed.
    pub async fn tell(&self, bytes: &[u8], patience: Duration) -> (String, bool) {
        let mut stream = self.connect().await;
        // What is refused half-way need not be heard to its end.
        let _ = stream.write_all(bytes).await;
        heard(&mut stream, patience).await
    }
}

pub async fn heard(stream: &mut TcpStream, patience: Duration) -> (String, bool) {
    let (mut heard, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    let closed = loop {
        match tokio::time::timeout(patience, stream.read(&mut buffer)).await {
            Ok(Ok(read @ 1..)) => heard.extend_from_slice(&buffer[..read]),
            Ok(_) => break true,
            Err(_) => break false,
        }
    };
    (String::from_utf8_lossy(&heard).into_owned(), closed)
}

fn p99(mut took: Vec<Duration>) -> f64 {
    took.sort_unstable();
    took[(took.len() * 99 / 100).min(took.len() - 1)].as_secs_f64() * 1_000.0
}
