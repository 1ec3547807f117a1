//! A process as its writer behaves, without threads: takes a batch, loads, decides with the ledger's own code, commits or
//! fails, asks by id what became of a commit that nobody acknowledged, and keeps resolutions until they are saved.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::audit::Hash;
use crate::batch::{Answer, Batch};
use crate::clock::Timestamp;
use crate::id::{Id, Instance};
use crate::queue::Job;
use crate::rows::{ChainId, Effect, Loaded, Needs};
use crate::sim::Verdict;
use crate::sim::image::{Collision, Fault};
use crate::sim::step::Step;
use crate::sim::world::World;

pub(super) struct Process {
    pub instance: Id<Instance>,
    /// How far its clock is from the others'.
    pub skew: i64,
    pub resolutions: VecDeque<Step>,
    pub others: VecDeque<Step>,
    /// Batches to be tried again first.
    again: VecDeque<(Vec<Step>, Option<Doubt>)>,
    prepared: Option<Prepared>,
}

/// A batch that is decided, and holds its locks until it is committed or undone.
struct Prepared {
    at: Timestamp,
    steps: Vec<Step>,
    answers: Vec<Answer>,
    loaded: Loaded,
    effect: Effect,
}

/// A batch whose commit was not answered: it is there if its first entry is.
struct Doubt {
    chain: Cow<'static, str>,
    seq: i64,
    hash: Hash,
    answers: Vec<Answer>,
}

impl Process {
    pub fn new(instance: Id<Instance>, skew: i64) -> Process {
        Process {
            instance,
            skew,
            resolutions: VecDeque::new(),
            others: VecDeque::new(),
            again: VecDeque::new(),
            prepared: None,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.prepared.is_none() && self.again.is_empty() && self.resolutions.is_empty() && self.others.is_empty()
    }

    pub fn is_deciding(&self) -> bool {
        self.prepared.is_some()
    }

    // Resolutions first, as the queue hands them over.
    fn take(&mut self, most: usize) -> Vec<Step> {
        let first = self.resolutions.len().min(most);
        let mut steps: Vec<Step> = self.resolutions.drain(..first).collect();
        let then = self.others.len().min(most - first);
        steps.extend(self.others.drain(..then));
        steps
    }
}

impl World {
    /// Lets a process take the next step with its batch.
    pub fn turn(&mut self, process: usize) -> Verdict {
        match self.processes[process].prepared.take() {
            Some(prepared) => self.finish(process, prepared),
            None => self.begin(process),
        }
    }

    fn begin(&mut self, process: usize) -> Verdict {
        let most = 1 + self.chance.index(24);
        let of = &mut self.processes[process];
        let (steps, doubt) = of.again.pop_front().unwrap_or_else(|| (of.take(most), None));
        if steps.is_empty() {
            return Ok(());
        }
        let at = Timestamp::from_micros(self.now.micros() + of.skew);
        let jobs: Vec<Job> = steps.iter().map(|step| step.job(&self.desk)).collect();
        let needs = Needs::of(&jobs);
        let Some(mut loaded) = self.image.load(process, &needs, at) else {
            self.processes[process].again.push_front((steps, doubt)); // it waits for the locks
            return Ok(());
        };
        if let Some(mirror) = &mut self.mirror {
            mirror.load(process, &needs, at, &loaded, &self.image)?;
        }
        if let Some(doubt) = doubt
            && self.image.fault != Some(Fault::RetriesBlindly)
        {
            let there = self.image.committed(&doubt.chain, doubt.seq, &doubt.hash);
            if let Some(mirror) = &mut self.mirror {
                mirror.committed(process, &doubt.chain, doubt.seq, &doubt.hash, there)?;
            }
            if there {
                self.undo(process);
                return self.deliver(process, steps, doubt.answers);
            }
        }
        let mut batch = Batch::new(&mut loaded, &self.entropy, at);
        let answers: Vec<Answer> = jobs.iter().map(|job| batch.decide(job)).collect();
        let effect = batch.effect;
        self.tally.batches += 1;
        if effect.audit.is_empty() {
            self.judge(at, &steps, &answers, &effect)?;
            self.undo(process);
            return self.deliver(process, steps, answers);
        }
        self.processes[process].prepared = Some(Prepared { at, steps, answers, loaded, effect });
        Ok(())
    }

    /// What becomes of a batch that is decided.
    fn finish(&mut self, process: usize, prepared: Prepared) -> Verdict {
        match self.chance.below(1_000) {
            // The database refuses or is not there.
            0..20 => {
                if self.image.fault == Some(Fault::SavesHalf) {
                    self.image.save_wallets(&prepared.loaded);
                }
                self.undo(process);
                self.tally.failures += 1;
                self.try_again(process, prepared.steps, None);
                Ok(())
            }
            // The commit is not answered.
            lot @ 20..45 => {
                let arrived = lot % 2 == 0;
                if arrived && self.commit(process, &prepared)?.is_err() {
                    self.undo(process);
                    self.processes[process].again.push_front((prepared.steps, None));
                    return Ok(());
                }
                self.undo(process);
                self.tally.doubts += 1;
                let first = prepared.effect.audit.into_iter().next().expect("only a batch with entries is committed");
                let Prepared { steps, answers, .. } = prepared;
                self.try_again(
                    process,
                    steps,
                    Some(Doubt { chain: first.chain, seq: first.seq, hash: first.hash, answers }),
                );
                Ok(())
            }
            45..48 => self.crash(process),
            48..51 => {
                let _ = self.commit(process, &prepared)?;
                self.crash(process)
            }
            _ => {
                let done = self.commit(process, &prepared)?;
                self.undo(process);
                match done {
                    Ok(()) => self.deliver(process, prepared.steps, prepared.answers),
                    Err(Collision) => {
                        self.tally.collisions += 1;
                        self.processes[process].again.push_front((prepared.steps, None));
                        Ok(())
                    }
                }
            }
        }
    }

    /// Saves and commits; if that succeeds, judges what was done.
    fn commit(&mut self, process: usize, prepared: &Prepared) -> Result<Result<(), Collision>, String> {
        let done = self.image.commit(self.processes[process].instance, &prepared.loaded, &prepared.effect);
        if let Some(mirror) = &mut self.mirror {
            mirror.commit(process, &prepared.loaded, &prepared.effect, done.is_ok())?;
        }
        if done.is_ok() {
            self.tally.adjusted += prepared.effect.journal.iter().filter(|line| line.kind == "adjust").count() as u64;
            self.judge(prepared.at, &prepared.steps, &prepared.answers, &prepared.effect)?;
        }
        Ok(done)
    }

    fn judge(&mut self, at: Timestamp, steps: &[Step], answers: &[Answer], effect: &Effect) -> Verdict {
        for (step, answer) in steps.iter().zip(answers) {
            self.books.judge(step, at, answer).map_err(|told| format!("{told}\n  {step:?}"))?;
        }
        self.checker.after(&self.image, &mut self.books, effect)
    }

    /// The same batch again, or its end: callers hear of the failure, and resolutions are kept.
    fn try_again(&mut self, process: usize, steps: Vec<Step>, doubt: Option<Doubt>) {
        if !self.chance.permille(250) {
            self.processes[process].again.push_front((steps, doubt));
            return;
        }
        // What was not committed for certain may be tried one by one.
        if doubt.is_none() && self.chance.permille(500) {
            for step in steps.into_iter().rev() {
                self.processes[process].again.push_front((vec![step], None));
            }
            return;
        }
        for step in steps {
            match step {
                Step::Reserve { call, who, extra, .. } if doubt.is_some() => {
                    let chain = ChainId::of(who.wallet, &extra);
                    // It may be there although nobody will be told.
                    self.processes[process].resolutions.push_back(Step::GiveBack { call, who, chain });
                }
                step if step.is_resolution() => self.processes[process].resolutions.push_back(step),
                _ => {}
            }
        }
    }

    fn undo(&mut self, process: usize) {
        self.image.unlock(process);
        if let Some(mirror) = &mut self.mirror {
            mirror.undo(process);
        }
    }

    /// The process is gone, with all that it had not committed and all that it knew. Another starts in its place.
    pub fn crash(&mut self, process: usize) -> Verdict {
        self.undo(process);
        self.tally.crashes += 1;
        let instance = self.new_id();
        self.processes[process] = Process::new(instance, self.processes[process].skew);
        self.live.retain(|live| live.process != process);
        if let Some(mirror) = &mut self.mirror {
            mirror.restart(process, instance)?;
        }
        Ok(())
    }
}
