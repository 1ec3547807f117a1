//! Limits that several processes share: one script a call, in one round trip with a deadline. Gone or slow, the store is left
//! alone until it answers again, and each process keeps its part of every limit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::bucket::RateState;
use super::chain::{Chain, Cost, Part, Which, Who, parts};
use super::config::SharedConfig;
use super::memory::{Told, Turned};
use super::script;

/// A process says so often that it lives, and is believed to for so long.
const BEAT: Duration = Duration::from_secs(1);
const LIFE: Duration = Duration::from_secs(5);
/// A place lasts so long unless it is renewed, which it is at every so many beats.
const PLACE: Duration = Duration::from_secs(10);
const RENEWED_AT: u32 = 2;
/// Whatever no call waits for may take so long.
const LEISURE: Duration = Duration::from_secs(1);
/// So many answers too late in a row, and the store is taken for gone.
const MOST_LATE: u32 = 3;
/// Corrections that wait; those beyond are dropped, and counted. Places among them run out by themselves.
const MOST_NOTES: usize = 65_536;
/// So many are told together.
const TOGETHER: usize = 256;

/// What the store is to be told when there is time.
pub struct Note {
    which: Which,
    who: Who,
    limit: u64,
    /// Tokens or requests to draw; negative to give back.
    amount: i64,
    place: u64,
}

/// The store, as one process sees it.
pub struct Shared {
    client: Client,
    prefix: String,
    deadline: Duration,
    /// This process, by a name that no other has.
    me: String,
    connection: Mutex<Option<MultiplexedConnection>>,
    up: AtomicBool,
    late: AtomicU32,
    processes: AtomicU32,
    last_place: AtomicU64,
    /// Places that are held, to be renewed.
    held: Mutex<HashMap<u64, Chain>>,
    draw: Script,
    note: Script,
    beat: Script,
    notes: mpsc::Sender<Note>,
}

/// What waits to be told.
pub type Notes = mpsc::Receiver<Note>;

impl Shared {
    /// Not connected yet.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(config: &SharedConfig, me: &str) -> Result<(Shared, Notes), RedisError> {
        let (notes, waiting) = mpsc::channel(MOST_NOTES);
        describe_gauge!("alfred_limits_shared_up", "1 while the shared store of limits answers in time");
        describe_gauge!("alfred_limits_processes", "processes that share limits, as last known");
        describe_counter!("alfred_limits_notes_dropped_total", "corrections that the shared store was not told");
        let shared = Shared {
            client: Client::open(config.url.as_str())?,
            // Braces: all keys lie on one node of a cluster, as a script needs them.
            prefix: format!("{{{}}}", config.prefix),
            deadline: Duration::from_millis(config.timeout_ms),
            me: me.to_owned(),
            connection: Mutex::new(None),
            up: AtomicBool::new(false),
            late: AtomicU32::new(0),
            processes: AtomicU32::new(config.processes.max(1)),
            last_place: AtomicU64::new(0),
            held: Mutex::new(HashMap::new()),
            draw: Script::new(script::DRAW),
            note: Script::new(script::NOTE),
            beat: Script::new(script::BEAT),
            notes,
        };
        Ok((shared, waiting))
    }

    /// Whether it answers.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// How many processes share a limit, as last known.
    pub fn processes(&self) -> u64 {
        u64::from(self.processes.load(Ordering::Relaxed).max(1))
    }

    /// Draws from all of the chain's limits or from none; with the number of the place, if one was asked for. Nothing where the
    /// store is not to be had: then this process's part decides.
    pub async fn draw(&self, chain: &Chain, cost: Cost) -> Option<Result<(Told, Option<u64>), Box<Turned>>> {
        let mut connection = self.connection()?;
        let place = (cost.place && chain.is_parallel()).then(|| self.last_place.fetch_add(1, Ordering::Relaxed));
        let mut call = self.draw.prepare_invoke();
        call.arg(format!("{}:{}", self.me, place.unwrap_or_default())).arg(micros(PLACE));
        for part in parts(chain, cost) {
            call.key(self.name(part.which, part.who)).arg(letter(part.which)).arg(part.limit).arg(part.cost);
        }
        if let Some(place) = place {
            self.held().insert(place, *chain);
        }
        let answered = timeout(self.deadline, call.invoke_async::<Vec<i64>>(&mut connection)).await;
        let drawn = match answered {
            Ok(Ok(answer)) => {
                self.late.store(0, Ordering::Relaxed);
                read(chain, cost, &answer)
            }
            Ok(Err(error)) => {
                self.lost(&kind(&error));
                None
            }
            Err(_) => {
                if self.late.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_LATE {
                    self.lost("it answers too late");
                }
                None
            }
        };
        match (drawn, place) {
            (Some(Ok(told)), place) => Some(Ok((told, place))),
            (drawn, Some(place)) => {
                // If it was drawn all the same, nobody has it.
                self.leave(place);
                drawn.map(|turned| turned.map(|told| (told, None)))
            }
            (drawn, None) => drawn.map(|turned| turned.map(|told| (told, None))),
        }
    }

    /// Gives a place back.
    pub fn leave(&self, place: u64) {
        let Some(chain) = self.held().remove(&place) else { return };
        for part in parts(&chain, Cost::PLACE).filter(|part| part.which == Which::Places) {
            self.tell(part, 0, place);
        }
    }

    /// Draws so many tokens more, or with a negative number gives them back.
    pub fn correct(&self, chain: &Chain, tokens: i64) {
        let all = parts(chain, Cost { requests: 0, tokens: 0, place: false });
        for part in all.filter(|part| part.which == Which::Tokens && tokens != 0) {
            self.tell(part, tokens, 0);
        }
    }

    /// Draws a request that was not asked for.
    pub fn count(&self, chain: &Chain) {
        for part in parts(chain, Cost::QUESTION).filter(|part| part.which == Which::Requests) {
            self.tell(part, 1, 0);
        }
    }

    fn tell(&self, part: Part, amount: i64, place: u64) {
        let note = Note { which: part.which, who: part.who, limit: part.limit, amount, place };
        if !self.up.load(Ordering::Relaxed) || self.notes.try_send(note).is_err() {
            counter!("alfred_limits_notes_dropped_total").increment(1);
        }
    }

    /// Keeps the store informed until everything has ended: that this process lives, which places it holds, and what calls used.
    pub async fn keep(&self, mut notes: Notes, ended: CancellationToken) {
        let mut tick = interval(BEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = 0_u32;
        let mut waiting = Vec::with_capacity(TOGETHER);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    beats = beats.wrapping_add(1);
                    self.beat(beats.is_multiple_of(RENEWED_AT)).await;
                }
                _ = notes.recv_many(&mut waiting, TOGETHER) => self.told(&mut waiting).await,
                () = ended.cancelled() => break,
            }
        }
        while let Ok(note) = notes.try_recv() {
            waiting.push(note);
            if waiting.len() == TOGETHER {
                self.told(&mut waiting).await;
            }
        }
        self.told(&mut waiting).await;
        if let Some(mut connection) = self.connection() {
            let list = format!("{}:processes", self.prefix);
            let mut farewell = redis::cmd("ZREM");
            let gone = farewell.arg(list).arg(&self.me).query_async::<i64>(&mut connection);
            let _ = timeout(LEISURE, gone).await;
        }
    }

    /// Says that this process lives; connects again if need be.
    pub async fn beat(&self, renews: bool) {
        let came_back = !self.up.load(Ordering::Relaxed);
        let answered = timeout(2 * LEISURE, self.try_beat(renews || came_back)).await;
        match answered.map_err(|_| "it does not answer".to_owned()).and_then(|it| it.map_err(|error| kind(&error))) {
            Ok(processes) => {
                self.processes.store(processes.max(1), Ordering::Relaxed);
                gauge!("alfred_limits_processes").set(processes);
                self.late.store(0, Ordering::Relaxed);
                gauge!("alfred_limits_shared_up").set(1);
                if !self.up.swap(true, Ordering::Relaxed) {
                    tracing::info!(processes, "limits are shared");
                }
            }
            Err(why) => {
                if came_back {
                    tracing::debug!(why, "the store of shared limits cannot be reached");
                    gauge!("alfred_limits_shared_up").set(0);
                }
                self.lost(&why);
            }
        }
    }

    async fn try_beat(&self, renews: bool) -> Result<u32, RedisError> {
        let known = self.slot().clone();
        let mut connection = match known {
            Some(connection) => connection,
            None => {
                let how = AsyncConnectionConfig::new().set_connection_timeout(Some(LEISURE)).set_response_timeout(None);
                let mut new = self.client.get_multiplexed_async_connection_with_config(&how).await?;
                for script in [&self.draw, &self.note] {
                    script.prepare_invoke().load_async(&mut new).await?;
                }
                *self.slot() = Some(new.clone());
                new
            }
        };
        let held: Vec<(String, u64)> = match renews {
            true => self.places(),
            false => Vec::new(),
        };
        let mut processes = 0;
        let mut some = held.chunks(TOGETHER);
        loop {
            let renewed = some.next().unwrap_or_default();
            let mut call = self.beat.prepare_invoke();
            call.key(format!("{}:processes", self.prefix)).arg(&self.me).arg(micros(LIFE)).arg(micros(PLACE));
            for (name, place) in renewed {
                call.key(name).arg(format!("{}:{place}", self.me));
            }
            processes = call.invoke_async::<u32>(&mut connection).await?.max(processes);
            if renewed.len() < TOGETHER {
                return Ok(processes);
            }
        }
    }

    fn places(&self) -> Vec<(String, u64)> {
        let held = self.held();
        let names = held.iter().flat_map(|(place, chain)| {
            let places = parts(chain, Cost::PLACE).filter(|part| part.which == Which::Places);
            places.map(|part| (self.name(part.which, part.who), *place))
        });
        names.collect()
    }

    async fn told(&self, notes: &mut Vec<Note>) {
        let Some(mut connection) = self.connection().filter(|_| !notes.is_empty()) else {
            notes.clear();
            return;
        };
        let mut call = self.note.prepare_invoke();
        for note in notes.drain(..) {
            call.key(self.name(note.which, note.who)).arg(letter(note.which)).arg(note.limit);
            match note.which {
                Which::Places => call.arg(format!("{}:{}", self.me, note.place)),
                Which::Requests | Which::Tokens => call.arg(note.amount),
            };
        }
        match timeout(LEISURE, call.invoke_async::<i64>(&mut connection)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.lost(&kind(&error)),
            Err(_) => self.lost("it does not answer"),
        }
    }

    /// The store is left alone until a beat finds it again.
    fn lost(&self, why: &str) {
        *self.slot() = None;
        if self.up.swap(false, Ordering::Relaxed) {
            gauge!("alfred_limits_shared_up").set(0);
            let processes = self.processes();
            tracing::warn!(why, processes, "the store of shared limits is gone: each process keeps its part");
        }
    }

    fn connection(&self) -> Option<MultiplexedConnection> {
        if !self.up.load(Ordering::Relaxed) {
            return None;
        }
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u64, Chain>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, which: Which, who: Who) -> String {
        format!("{}:{}:{who}", self.prefix, letter(which))
    }
}

fn letter(which: Which) -> &'static str {
    match which {
        Which::Requests => "r",
        Which::Tokens => "t",
        Which::Places => "p",
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What kind of error it was: its own words could name more of the store than a log should hold.
fn kind(error: &RedisError) -> String {
    match error.is_io_error() {
        true => "it cannot be reached".to_owned(),
        false => format!("it answers with an error ({:?})", error.kind()),
    }
}

/// What the script answered; nothing where it is no such answer.
fn read(chain: &Chain, cost: Cost, answer: &[i64]) -> Option<Result<Told, Box<Turned>>> {
    let [refuses, wait, states @ ..] = answer else { return None };
    let number = |it: i64| u64::try_from(it).unwrap_or(0);
    let (mut told, mut refused) = (Told::default(), None);
    for (n, part) in parts(chain, cost).enumerate() {
        let [left, reset] = states.get(2 * n..2 * n + 2)? else { return None };
        let reset = Duration::from_micros(number(*reset));
        told.add(part.which, RateState { limit: part.limit, remaining: number(*left), reset });
        if number(*refuses) == n as u64 + 1 {
            refused = Some(part);
        }
    }
    Some(refused.map_or(Ok(told), |Part { who, which, limit, .. }| {
        let retry_after = Duration::from_micros(number(*wait));
        Err(Box::new(Turned { who, which, limit, retry_after, told }))
    }))
}
