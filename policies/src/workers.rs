//! Engines for the threads that decide. A clone shares its tree with the engine it came from, and two threads that evaluate clones
//! of one engine wait for one another at every counter in it; so each place has an engine that was compiled by itself. The
//! first is there from the start; the others are made, one after the other and beside the calls, once calls have met.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use regorus::unstable::{Module, Ref, Rule};
use regorus::{Engine, Value};

use crate::bundle::{self, Recipe};
use crate::index::{Index, Section};
use crate::{Fault, Limits};

/// So many calls found every engine taken before another one is made.
const CROWD: usize = 16;
/// What all engines of a set may take together, by a rough estimate.
const MOST_BYTES: usize = 256 * 1024 * 1024;
/// A byte of Rego or JSON takes about so many once it is read.
const BYTES_EACH: usize = 32;

/// An engine and the rules in it, entry by entry.
pub(crate) struct Worker {
    engine: Engine,
    rules: Arc<[(Ref<Module>, Ref<Rule>)]>,
    /// The place that it goes back to; none if it is a clone that was made in passing.
    place: Option<usize>,
}

impl Worker {
    /// Knows the engine's rules in the order of the index.
    pub fn new(mut engine: Engine, index: &Index) -> Worker {
        let modules = engine.get_modules();
        let entries = index.entries.iter().map(|entry| {
            let module = &modules[entry.module];
            (module.clone(), module.policy[entry.rule].clone())
        });
        let rules = entries.collect();
        Worker { engine, rules, place: None }
    }

    /// What all that is evaluated from now on is asked about.
    pub fn ask(&mut self, input: Value) {
        self.engine.set_input(input);
    }

    /// What every single rule may take from now on.
    pub fn limit(&mut self, time: Duration) {
        self.engine.set_execution_timer_config(bundle::timer(time));
    }

    /// What one entry contributes.
    ///
    /// # Errors
    /// The interpreter's own. Such an engine must not be used again.
    pub fn contributes(&mut self, entry: usize, section: &Section) -> Result<Vec<Value>, Box<Wrong>> {
        let (module, rule) = &self.rules[entry];
        let data = self.engine.eval_rule_in_module(module, rule, false).map_err(|error| {
            let message = format!("{error:#}");
            // Some places of the interpreter pass the limit's error on as a text.
            let late = matches!(error.downcast_ref(), Some(regorus::LimitError::TimeLimitExceeded { .. }))
                || message.contains("execution exceeded time limit");
            Box::new(Wrong { late, message })
        })?;
        match section.keys.iter().fold(&data, |value, key| &value[key]) {
            Value::Set(values) => Ok(values.iter_sorted().cloned().collect()),
            Value::Undefined => Ok(Vec::new()),
            _ => Err(Box::new(Wrong { late: false, message: "a contribution is no set".into() })),
        }
    }

    fn copy(&self, place: Option<usize>) -> Worker {
        Worker { engine: self.engine.clone(), rules: Arc::clone(&self.rules), place }
    }
}

/// Why a rule has no value.
pub(crate) struct Wrong {
    pub late: bool,
    pub message: String,
}

/// The engines of one set.
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    recipe: Recipe,
    index: Arc<Index>,
    places: Vec<Mutex<Place>>,
    met: AtomicUsize,
    making: AtomicBool,
}

/// Where one thread's engine waits.
#[derive(Default)]
struct Place {
    /// Evaluated once and never used again: what a failed engine is replaced by.
    first: Option<Worker>,
    idle: Option<Worker>,
}

static THREADS: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    /// Where this thread found an engine last: it finds its own again, with what it knows still in the core's cache.
    static USUAL: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
}

impl Workers {
    /// The first is ready: it was evaluated, so that its clones are.
    pub fn new(first: Worker, recipe: Recipe, index: Arc<Index>, limits: &Limits) -> Workers {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let room = (MOST_BYTES / BYTES_EACH) / recipe.bytes().max(1);
        let most = cores.min(limits.engines).min(room).max(1);
        let places: Vec<Mutex<Place>> = (0..most).map(|_| Mutex::default()).collect();
        let idle = first.copy(Some(0));
        *locked(&places[0]) = Place { first: Some(first), idle: Some(idle) };
        let (met, making) = (AtomicUsize::new(0), AtomicBool::new(false));
        Workers { shared: Arc::new(Shared { recipe, index, places, met, making }) }
    }

    /// An engine for one call. No lock is held while it evaluates.
    pub fn take(&self) -> Worker {
        let places = &self.shared.places;
        let usual = USUAL.get() % places.len();
        for at in (usual..places.len()).chain(0..usual) {
            if let Some(worker) = locked(&places[at]).idle.take() {
                USUAL.set(at);
                return worker;
            }
        }
        if self.shared.met.fetch_add(1, Ordering::Relaxed) % CROWD == CROWD - 1 {
            self.make_another();
        }
        self.fresh()
    }

    /// An engine that no call used yet.
    pub fn fresh(&self) -> Worker {
        let first = locked(&self.shared.places[0]);
        first.first.as_ref().map(|first| first.copy(None)).expect("the first engine is there from the start")
    }

    /// It did well.
    pub fn give_back(&self, mut worker: Worker) {
        if let Some(at) = worker.place {
            worker.engine.set_input(Value::Undefined); // keep nothing of one call for the next
            locked(&self.shared.places[at]).idle = Some(worker);
        }
    }

    /// It failed, and what it knows is not to be trusted: another one takes its place.
    pub fn replace(&self, place: Option<usize>) {
        if let Some(at) = place {
            let mut place = locked(&self.shared.places[at]);
            let copy = place.first.as_ref().map(|first| first.copy(Some(at)));
            place.idle = copy;
        }
    }

    /// Makes every engine that this machine can use, now. Otherwise they are made when calls meet.
    pub fn warm(&self) {
        while self.shared.vacant().is_some() {
            if Shared::make(&Arc::downgrade(&self.shared)).is_err() {
                break;
            }
        }
    }

    /// Beside the calls, one at a time; a thread that ends by itself, at the latest with the set.
    fn make_another(&self) {
        if self.shared.vacant().is_none() || self.shared.making.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::downgrade(&self.shared);
        let made = thread::Builder::new().name("policy-engine".into()).spawn(move || {
            let _not_made = Shared::make(&shared);
            if let Some(shared) = shared.upgrade() {
                shared.making.store(false, Ordering::Release);
            }
        });
        if made.is_err() {
            self.shared.making.store(false, Ordering::Release);
        }
    }
}

impl Worker {
    /// The place that it would go back to.
    pub fn place(&self) -> Option<usize> {
        self.place
    }
}

impl Shared {
    fn vacant(&self) -> Option<usize> {
        self.places.iter().position(|place| locked(place).first.is_none())
    }

    /// Compiles one more. The set may be gone meanwhile.
    fn make(shared: &Weak<Shared>) -> Result<(), Vec<Fault>> {
        let Some((recipe, index)) = shared.upgrade().map(|it| (it.recipe.clone(), Arc::clone(&it.index))) else {
            return Ok(());
        };
        let engine = recipe.engine().map_err(|fault| vec![fault])?;
        let first = Worker::new(engine, &index);
        if let Some(shared) = shared.upgrade()
            && let Some(at) = shared.vacant()
        {
            let idle = first.copy(Some(at));
            *locked(&shared.places[at]) = Place { first: Some(first), idle: Some(idle) };
        }
        Ok(())
    }
}

fn locked(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("places", &self.shared.places.len()).finish_non_exhaustive()
    }
}
