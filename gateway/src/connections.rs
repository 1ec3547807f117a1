//! Who is connected: how many there may be, whose turn it is to go when there are too many, and how long one may sit and say nothing.
//! A connection with a request on it is never closed from here, unless its client takes nothing of the answer that is there for it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body::{Body, Frame, SizeHint};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

/// Descriptors for everything that is not a connection of a client's or a provider's.
const RESERVED: u64 = 256;
/// No more, however many descriptors there are: each takes some memory.
const MOST: u64 = 100_000;
/// When there is no place, so large a part of those who idle gives up theirs at once: looking for them is not for each newcomer.
const PART: usize = 16;

/// The section `connections`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionConfig {
    /// How many clients may be connected; by default what the limit of open files allows.
    pub most: Option<usize>,
    /// A connection on which no whole head of a request comes for so long is closed; so is one whose client takes nothing of its
    /// answers for so long.
    pub idle_ms: u64,
    /// A request's body that stands still for so long is given up.
    pub body_idle_ms: u64,
    /// A whole body has so long.
    pub body_ms: u64,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        // Longer than the minute that load balancers keep theirs.
        ConnectionConfig { most: None, idle_ms: 75_000, body_idle_ms: 30_000, body_ms: 300_000 }
    }
}

impl ConnectionConfig {
    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    pub fn body_idle(&self) -> Duration {
        Duration::from_millis(self.body_idle_ms)
    }
    pub fn body(&self) -> Duration {
        Duration::from_millis(self.body_ms)
    }

    /// What is wrong with it, if anything: the member, and what it must be.
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self { most: Some(0), .. } => Some(("connections.most", "must be above 0")),
            Self { idle_ms: 0, .. } => Some(("connections.idle_ms", "must be above 0")),
            Self { body_idle_ms: 0, .. } | Self { body_ms: 0, .. } => {
                Some(("connections", "body_idle_ms and body_ms must be above 0"))
            }
            _ => None,
        }
    }
}

/// Takes as many descriptors as the system grants, and says how many.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let (now, most) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    if now < most && setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_ok() {
        return most;
    }
    now
}

/// How many clients may be connected: every call may need another descriptor for its provider.
fn allowed(descriptors: u64, most_calls: usize) -> usize {
    let calls = (most_calls as u64).min(descriptors / 4);
    let left = descriptors.saturating_sub(RESERVED).saturating_sub(calls).max(descriptors / 4).clamp(1, MOST);
    usize::try_from(left).unwrap_or(usize::MAX)
}

/// All connections of one door.
pub struct Connections {
    began: Instant,
    most: usize,
    idle: Duration,
    next: AtomicU64,
    seats: Mutex<HashMap<u64, Arc<Seat>>>,
}

/// One connection.
pub struct Seat {
    began: Instant,
    /// For so many milliseconds it may sit still.
    idle: u64,
    /// Requests whose answers are not over yet.
    busy: AtomicU32,
    /// Those of them that wait for us: for their answer, or for more of it. The others wait for the client to take what there is.
    ours: AtomicU32,
    /// When an answer last gave something, in milliseconds.
    moved: AtomicU64,
    /// It has had a request.
    served: AtomicBool,
    /// Since when there is none, in milliseconds.
    idle_since: AtomicU64,
    leave: CancellationToken,
}

impl Connections {
    pub fn new(config: &ConnectionConfig, descriptors: u64, most_calls: usize) -> Arc<Connections> {
        let most = config.most.unwrap_or_else(|| allowed(descriptors, most_calls));
        let (began, next) = (Instant::now(), AtomicU64::new(0));
        Arc::new(Connections { began, most, idle: config.idle(), next, seats: Mutex::default() })
    }

    pub fn most(&self) -> usize {
        self.most
    }

    /// A seat for a newcomer. Where there is none, some of those who idle are asked to leave: first those who never asked for
    /// anything, then those who have been silent the longest. None at all if everybody is busy.
    pub fn enter(self: &Arc<Self>) -> Option<Seated> {
        let mut seats = self.seats();
        if seats.len() >= self.most {
            let mut idle: Vec<(u64, Arc<Seat>)> =
                seats.iter().filter(|(_, seat)| !seat.is_busy()).map(|(at, seat)| (*at, Arc::clone(seat))).collect();
            idle.sort_unstable_by_key(|(_, seat)| seat.patience());
            idle.truncate((idle.len() / PART).max(1));
            for (at, seat) in &idle {
                seat.leave.cancel();
                seats.remove(at);
            }
            if idle.is_empty() {
                return None;
            }
        }
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat {
            began: self.began,
            idle: millis(self.idle),
            busy: AtomicU32::new(0),
            ours: AtomicU32::new(0),
            moved: AtomicU64::new(0),
            served: AtomicBool::new(false),
            idle_since: AtomicU64::new(millis(self.began.elapsed())),
            leave: CancellationToken::new(),
        });
        seats.insert(at, Arc::clone(&seat));
        Some(Seated { at, seat, all: Arc::clone(self) })
    }

    /// Asks those to leave who have said nothing, or taken nothing, for too long.
    pub fn sweep(&self) {
        for seat in self.seats().values() {
            if seat.is_silent() || seat.is_stalled() {
                seat.leave.cancel();
            }
        }
    }

    /// How often to sweep.
    pub fn every(&self) -> Duration {
        (self.idle / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        // Nothing between lock and unlock can fail half-way.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Seat {
    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    fn is_silent(&self) -> bool {
        !self.is_busy() && self.is_long_ago(&self.idle_since)
    }

    /// All that it has asked for is there, and it takes none of it: a window that stays shut would keep its seat for ever.
    fn is_stalled(&self) -> bool {
        self.is_busy() && self.ours.load(Ordering::SeqCst) == 0 && self.is_long_ago(&self.moved)
    }

    fn is_long_ago(&self, at: &AtomicU64) -> bool {
        self.now().saturating_sub(at.load(Ordering::SeqCst)) > self.idle
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }

    fn patience(&self) -> (bool, u64) {
        (self.served.load(Ordering::Relaxed), self.idle_since.load(Ordering::Relaxed))
    }

    /// A request has come; it is over when what is returned is dropped.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.served.store(true, Ordering::Relaxed);
        self.ours.fetch_add(1, Ordering::SeqCst);
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy { seat: Arc::clone(self), ours: true }
    }

    /// Returns when the connection is to be closed. It has no request then, or none that its client takes the answer of.
    pub async fn left(&self) {
        self.leave.cancelled().await;
        // One may have come just then: it is answered first.
        while self.is_busy() && !self.is_stalled() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A taken seat. Free again when dropped.
pub struct Seated {
    at: u64,
    pub seat: Arc<Seat>,
    all: Arc<Connections>,
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.all.seats().remove(&self.at);
    }
}

/// A request on a connection.
pub struct Busy {
    seat: Arc<Seat>,
    /// Its next step is ours.
    ours: bool,
}

impl Busy {
    fn is_ours(&mut self) {
        if !std::mem::replace(&mut self.ours, true) {
            self.seat.ours.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn is_the_clients(&mut self) {
        self.seat.moved.store(self.seat.now(), Ordering::SeqCst);
        if std::mem::replace(&mut self.ours, false) {
            self.seat.ours.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.is_the_clients();
        self.seat.idle_since.store(self.seat.now(), Ordering::Relaxed);
        self.seat.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An answer's body, which keeps its connection busy to its end.
pub struct Answering<B> {
    body: B,
    busy: Busy,
}

impl<B> Answering<B> {
    pub fn new(body: B, mut busy: Busy) -> Answering<B> {
        // Whoever asks for the body has room for it.
        busy.is_the_clients();
        Answering { body, busy }
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.busy.is_ours();
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.busy.is_the_clients();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(most: usize) -> Arc<Connections> {
        let config = ConnectionConfig { most: Some(most), ..ConnectionConfig::default() };
        Connections::new(&config, 1_024, 10)
    }

    #[test]
    fn as_many_may_connect_as_there_are_descriptors_beside_what_calls_need() {
        for (descriptors, calls, expected) in [
            (1_024, 4_096, 512),
            (8_192, 4_096, 5_888),
            (20_000, 4_096, 15_648),
            (u64::MAX, 4_096, 100_000),
            (64, 9, 16),
            (0, 1, 1),
        ] {
            assert_eq!(allowed(descriptors, calls), expected, "{descriptors}");
        }
    }

    #[test]
    fn who_never_asked_for_anything_makes_room_first_then_who_has_idled_longest_and_never_the_busy() {
        let all = of(3);
        let [served, silent, busy] = [0, 1, 2].map(|_| all.enter().expect("a seat"));
        drop(served.seat.busy());
        let answering = busy.seat.busy();
        let left = |seated: &Seated| seated.seat.leave.is_cancelled();
        let newcomer = all.enter().expect("the silent one's seat");
        assert_eq!([left(&served), left(&silent), left(&busy)], [false, true, false]);
        drop(newcomer.seat.busy());
        served.seat.idle_since.store(0, Ordering::Relaxed);
        newcomer.seat.idle_since.store(1, Ordering::Relaxed);
        drop(silent);
        let answered = all.enter().expect("the longest idle one's seat");
        assert_eq!([left(&served), left(&newcomer), left(&busy)], [true, false, false]);
        let _more = (newcomer.seat.busy(), answered.seat.busy());
        assert!(all.enter().is_none(), "everybody is busy");
        drop(answering);
        assert!(all.enter().is_some(), "nobody was asked to leave for nothing");
    }

    #[test]
    fn who_says_nothing_for_too_long_is_asked_to_leave_and_who_waits_for_an_answer_is_not() {
        let config = ConnectionConfig { idle_ms: 1, ..ConnectionConfig::default() };
        let all = Connections::new(&config, 1_024, 10);
        let [silent, waiting] = [0, 1].map(|_| all.enter().expect("a seat"));
        let answer = waiting.seat.busy();
        std::thread::sleep(Duration::from_millis(5));
        all.sweep();
        assert!(silent.seat.leave.is_cancelled() && !waiting.seat.leave.is_cancelled());
        drop(answer);
        drop(silent);
        assert_eq!(all.seats().len(), 1);
    }

    /// A body that has more at once, or never.
    struct Has(bool);

    impl Body for Has {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
            if self.0 { Poll::Ready(Some(Ok(Frame::data(bytes::Bytes::from_static(b"x"))))) } else { Poll::Pending }
        }
    }

    #[test]
    fn who_takes_nothing_of_an_answer_for_too_long_is_asked_to_leave_and_who_waits_for_more_of_it_is_not() {
        let config = ConnectionConfig { idle_ms: 1, ..ConnectionConfig::default() };
        let all = Connections::new(&config, 1_024, 10);
        let [untouched, stuck, waiting, mixed] = [0, 1, 2, 3].map(|_| all.enter().expect("a seat"));
        let answer = |seated: &Seated, more: bool| Answering::new(Has(more), seated.seat.busy());
        let poll = |it: &mut Answering<Has>| {
            let mut context = Context::from_waker(std::task::Waker::noop());
            Pin::new(it).poll_frame(&mut context).is_ready()
        };
        let never_asked_for = answer(&untouched, true);
        let (mut begun, mut unfinished) = (answer(&stuck, true), answer(&waiting, false));
        assert!(poll(&mut begun) && !poll(&mut unfinished));
        let beside = (answer(&mixed, true), mixed.seat.busy());
        std::thread::sleep(Duration::from_millis(5));
        all.sweep();
        let left = [&untouched, &stuck, &waiting, &mixed].map(|it| it.seat.leave.is_cancelled());
        assert_eq!(left, [true, true, false, false]);
        drop((never_asked_for, begun, unfinished, beside));
        assert!(all.seats().values().all(|seat| !seat.is_busy() && seat.ours.load(Ordering::SeqCst) == 0));
    }
}
